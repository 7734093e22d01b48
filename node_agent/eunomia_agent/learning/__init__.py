# SPDX-License-Identifier: Apache-2.0
"""What containers call and may do: recorded in the kernel, added up over the runs of each."""
