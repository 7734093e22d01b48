# SPDX-License-Identifier: Apache-2.0
"""From the bytes that programs send to columns: layouts out of BTF, batches, renderers."""
