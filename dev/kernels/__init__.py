# SPDX-License-Identifier: Apache-2.0
"""Other kernels: Debian's own, booted in an emulator over this machine's files."""
