# SPDX-License-Identifier: Apache-2.0
"""Everything that the operator raises by itself."""


class OperatorError(Exception):
    """Root of the operator's errors."""


class SettingsInvalid(OperatorError):
    """An environment variable is missing or cannot be used."""


class AccessDenied(OperatorError):
    """A caller showed no token that lets it speak for a node."""


class Unauthenticated(AccessDenied):
    """There is no token, or the API server does not take it for one of our audience."""


class Forbidden(AccessDenied):
    """The token is good, but not for this."""


class ClusterError(OperatorError):
    """The API server did not do what was asked."""

    def __init__(self, attempted: str, why: str, status: int = 0) -> None:
        super().__init__(f"{attempted}: {why}")
        self.status = status
        """HTTP status; 0 when there was no answer."""

    @property
    def gone(self) -> bool:
        """The object is not there, or another one has its name: nothing is left to do."""
        return self.status in (404, 409)

    @property
    def refused(self) -> bool:
        """Asking again would be answered in the same way."""
        return 400 <= self.status < 500 and self.status not in (401, 408, 429)


class AuthorityInvalid(OperatorError):
    """The certificates in the Secret cannot be read."""


class LeaseLost(OperatorError):
    """Another replica may lead by now."""
