# SPDX-License-Identifier: Apache-2.0
"""kopf's part: watch the objects and hand on what it sees.

`kopf.on.event` alone is used: it puts neither finalizers nor annotations on users' objects.
"""
