# SPDX-License-Identifier: Apache-2.0
"""What agents find out by themselves, and tell as alerts of a policy that has no such rule."""

FLOOD = "alert-flood"
"""Alerts of a container that are not told one by one."""
CALL_REFUSED = "call-refused"
"""A system call that a seccomp profile refused or, in a dry run, would refuse."""
CAPABILITY_REFUSED = "capability-refused"
"""A capability that a container was refused or, in a dry run, would be by what is recommended."""
PROFILE_MISSING = "profile-missing"
"""A container that started without the seccomp profile that new pods get."""

FINDINGS = frozenset({FLOOD, CALL_REFUSED, CAPABILITY_REFUSED, PROFILE_MISSING})
"""Names that no rule of a policy can have."""
