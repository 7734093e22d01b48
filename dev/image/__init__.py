# SPDX-License-Identifier: Apache-2.0
"""Container images for the development cluster, made without a registry or an engine."""
