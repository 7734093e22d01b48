# SPDX-License-Identifier: Apache-2.0
"""What the operator asks of the Kubernetes API, what it watches there, and what it writes.

Of kopf only `kopf.on.event` is used: it puts no finalizers and no annotations on users' objects.
"""
