# SPDX-License-Identifier: Apache-2.0
"""What developers of Eunomia run on their machine: a real cluster, images, packages."""
