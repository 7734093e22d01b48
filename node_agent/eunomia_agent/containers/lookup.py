# SPDX-License-Identifier: Apache-2.0
"""The containers that a person means by a word. Pure."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from eunomia_agent.containers.runtime import Container
from eunomia_agent.containers.target import LEAST_PREFIX
from eunomia_agent.errors import ContainerUnknown

MOST_SHOWN = 12
_HEX = re.compile(r"[0-9a-f]+")

By = Literal["name", "pod", "id"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a word stands for. by: what it is of the containers. containers: one at least."""

    by: By
    containers: list[Container]


def find(containers: Iterable[Container], text: str) -> Found:
    """Return the containers of that NAME, POD, NAMESPACE/POD or with an id that begins so.

    Several may have the name, and those of a pod are all meant; of a pod that is called like one of
    its containers, that one is. Raises ContainerUnknown, saying
    what there is, where nothing fits or where it could mean different things.
    """
    known = [each for each in containers if not each.problem]
    named = [each for each in known if each.name == text]
    in_pod = [each for each in known if text in _pod_names(each)]
    pods = sorted({_pod_names(each)[1] for each in in_pod})
    if len(pods) > 1:
        raise ContainerUnknown(f"there are several pods {text!r}: say which, {_listed(pods)}")
    if in_pod and not {each.id for each in named} <= {each.id for each in in_pod}:
        raise ContainerUnknown(
            f"{text!r} is a pod and the name of containers in others: say {pods[0]} for the pod, "
            f"or give an id: {_listed(map(full_name, named))}"
        )
    if named:
        return Found("name", named)
    if in_pod:
        return Found("pod", in_pod)
    return Found("id", [_by_id(known, text)])


def full_name(container: Container) -> str:
    """Return NAMESPACE/POD/NAME (SHORT ID), without what the container does not have."""
    name = "/".join(filter(None, (*_pod_names(container)[1:], container.name)))
    return f"{name} ({container.id[:12]})"


def _by_id(containers: Sequence[Container], text: str) -> Container:
    is_prefix = bool(_HEX.fullmatch(text))
    if is_prefix and len(text) >= LEAST_PREFIX:
        found = [each for each in containers if each.id.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ContainerUnknown(
                f"the ids of {len(found)} containers begin with {text!r}: give more digits, "
                f"{_listed(map(full_name, found))}"
            )
    short = (
        f"; of an id, {LEAST_PREFIX} digits are needed at least"
        if is_prefix and len(text) < LEAST_PREFIX
        else ""
    )
    raise ContainerUnknown(f"there is no container or pod {text!r}{short}{_near(containers, text)}")


def _near(containers: Sequence[Container], text: str) -> str:
    if not containers:
        return ": no container runtime knows of any"
    words = {name for each in containers for name in (each.name, *_pod_names(each)) if name}
    near = difflib.get_close_matches(text, sorted(words), MOST_SHOWN, 0.6)
    if near:
        return f"; near to it: {', '.join(near)}"
    return f"; there are {_listed(sorted(map(full_name, containers)))}"


def _pod_names(container: Container) -> tuple[str, ...]:
    """Return POD and NAMESPACE/POD; nothing for a container in no pod."""
    sandbox = container.sandbox
    return (sandbox.pod, f"{sandbox.namespace}/{sandbox.pod}") if sandbox.pod else ()


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
    return ", ".join(shown[:MOST_SHOWN]) + more
