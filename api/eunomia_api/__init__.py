# SPDX-License-Identifier: Apache-2.0
"""What users, operator and agent agree on: resources, tracker descriptions, wire protocol."""

GROUP = "eunomia.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
