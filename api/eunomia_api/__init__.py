# SPDX-License-Identifier: Apache-2.0
"""What users, operator and agent agree on: resources, tracker descriptions, wire protocol."""

from typing import Final

GROUP: Final = "eunomia.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "eunomia.dev/v1alpha1"
