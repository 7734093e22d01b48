# SPDX-License-Identifier: Apache-2.0
"""Who may speak for a node: the agent's account, by a token that is bound to a pod on it. Pure.

The facts come from a TokenReview; `extra` holds what a bound token says of its pod and node
(KEP-4193, "Improve service account tokens").
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eunomia_operator.errors import Forbidden, Unauthenticated
from eunomia_operator.settings import Settings

LONGEST_TOKEN = 16_384
_EXTRA = "authentication.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Identity:
    """The agent that holds a token."""

    node: str
    node_uid: str
    """Empty when the API server does not tell it."""
    pod: str
    pod_uid: str
    expires: float
    """Unix time at which the token ends."""


def bearer(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the token of a call's metadata. Raises Unauthenticated when there is none."""
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and 0 < len(token) <= LONGEST_TOKEN:
                return token
    raise Unauthenticated("show a token: authorization: Bearer TOKEN")


def identify(token: str, review: Mapping[str, Any], settings: Settings) -> Identity:
    """Return who holds a token, from the `status` of its TokenReview.

    Raises Unauthenticated when it is no token of our audience, Forbidden when it is not that of
    an agent on a node.
    """
    if review.get("authenticated") is not True:
        raise Unauthenticated(f"the token was not accepted: {_bounded(review.get('error'))}")
    if settings.audience not in (review.get("audiences") or ()):
        raise Unauthenticated(f"the token is not for the audience {settings.audience}")
    user = review.get("user") or {}
    wanted = f"system:serviceaccount:{settings.namespace}:{settings.agent_account}"
    if user.get("username") != wanted:
        raise Forbidden(f"{_bounded(user.get('username'))} may not connect, only {wanted} may")
    extra: Mapping[str, Any] = user.get("extra") or {}
    node, pod_uid = _one(extra, "node-name"), _one(extra, "pod-uid")
    if pod_uid and not node:
        raise Forbidden("the token does not name its node: Kubernetes 1.30 or newer is needed")
    if not node or not pod_uid:
        raise Forbidden("the token is bound to no pod on a node")
    return Identity(
        node=node,
        node_uid=_one(extra, "node-uid"),
        pod=_one(extra, "pod-name"),
        pod_uid=pod_uid,
        expires=expiry(token),
    )


def check_same(before: Identity, after: Identity) -> None:
    """Raise Forbidden unless a fresh token is that of the same pod on the same node."""
    if (before.node, before.pod_uid) != (after.node, after.pod_uid):
        raise Forbidden("the fresh token is another pod's")


def expiry(token: str) -> float:
    """Return when a JSON Web Token ends (RFC 7519, `exp`), as Unix time.

    The signature is the API server's to check, and was. Raises Unauthenticated when the token
    tells no end.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        raise Unauthenticated("the token does not tell when it ends") from None


def _one(extra: Mapping[str, Any], name: str) -> str:
    values = extra.get(_EXTRA + name)
    return str(values[0]) if isinstance(values, list) and len(values) == 1 else ""


def _bounded(text: object) -> str:
    return str(text or "unknown")[:200]
