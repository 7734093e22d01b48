# SPDX-License-Identifier: Apache-2.0
"""Which containers of a new pod get which seccomp profile. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from eunomia_api.seccomp import SeccompProfile
from eunomia_api.selector import LabelSelector

PROFILE_LABEL = "eunomia.dev/seccomp-profile"
"""On a pod that got a profile: the name of the SeccompProfile, which the agents count by."""

Json = Mapping[str, Any]
Operation = dict[str, object]
"""Of a JSON patch, RFC 6902."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A profile that lies on every node, and the containers that it is for."""

    namespace: str
    name: str
    """Of the SeccompProfile."""
    selector: LabelSelector
    """Pods, by their labels."""
    container: str
    path: str
    """Below the kubelet's seccomp folder."""
    overrides: bool = False
    """Whether it takes the place of a profile that the pod itself names."""
    namespaces: LabelSelector | None = None
    """By their labels; None: the profile's own alone."""

    def reaches(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Tell whether pods of a namespace are among those that it may be for."""
        if self.namespaces is None:
            return self.namespace == namespace
        return self.namespaces.matches(labels)


def binding_of(body: Json, own_namespace: str) -> Binding | None:
    """Return what a SeccompProfile binds: nothing before it lies on every node, or unless it is to.

    One that cannot be read binds nothing. own_namespace: the operator's. A profile elsewhere
    reaches no further than its namespace, whatever it says.
    """
    try:
        profile = SeccompProfile.model_validate(body)
    except ValidationError:
        return None
    wanted, status = profile.spec.binding, profile.status
    ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions)
    if wanted is None or not ready or not status.localhost_profile:
        return None
    namespace = profile.metadata["namespace"]
    return Binding(
        namespace=namespace,
        name=profile.metadata["name"],
        selector=wanted.pod_selector,
        container=profile.spec.container,
        path=status.localhost_profile,
        overrides=wanted.override_pods,
        namespaces=wanted.namespace_selector if namespace == own_namespace else None,
    )


@dataclass(slots=True)
class Bound:
    """What becomes of one pod."""

    patch: list[Operation] = field(default_factory=list[Operation])
    warnings: list[str] = field(default_factory=list[str])
    """For who made the pod; kubectl shows them."""


def bind(pod: Json, bindings: Iterable[Binding]) -> Bound:
    """Return the patch that binds profiles to the containers of a pod that they are for.

    bindings: those that reach the pod's namespace.

    A container that is privileged, or for which the pod itself names a profile, is left alone, and
    so are ephemeral containers and pods of Windows. Of two profiles for one container that of the
    pod's own namespace goes before one of the whole cluster, and then the first by name; where the
    pod names one itself, only those that override it count.
    """
    bound = Bound()
    spec = pod.get("spec") or {}
    if (spec.get("os") or {}).get("name") == "windows":
        return bound
    labels = (pod.get("metadata") or {}).get("labels") or {}
    matching = [each for each in bindings if each.selector.matches(labels)]
    taken: list[str] = []
    for path, container in _containers(spec):
        of_it = sorted(
            (each for each in matching if each.container == container.get("name")),
            key=lambda each: (each.namespaces is not None, each.name),
        )
        if of_it and (name := _bind_one(bound, path, container, spec, of_it)):
            taken.append(name)
    if taken:
        bound.patch.extend(_labelled(pod, taken[0]))
    return bound


def _containers(spec: Json) -> Iterator[tuple[str, Json]]:
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield f"/spec/{kind}/{index}", container


def _bind_one(
    bound: Bound, path: str, container: Json, spec: Json, bindings: Sequence[Binding]
) -> str | None:
    """Bind the first that may be, unless the container has it already; return its name."""
    context = container.get("securityContext")
    of_pod = spec.get("securityContext") or {}
    told = [(each, _left_alone(context or {}, of_pod, each)) for each in bindings]
    binding, why = next((each for each in told if not each[1]), told[0])
    if why is not None:
        if why:
            bound.warnings.append(f"container {container['name']} {why}: {binding.name} is not set")
        return None
    if len(bindings) > 1:
        others = ", ".join(each.name for each in bindings if each is not binding)
        bound.warnings.append(
            f"container {container['name']} gets {binding.name}; {others} would be for it as well"
        )
    if context is None:
        bound.patch.append({"op": "add", "path": f"{path}/securityContext", "value": {}})
    profile = {"type": "Localhost", "localhostProfile": binding.path}
    bound.patch.append(
        {"op": "add", "path": f"{path}/securityContext/seccompProfile", "value": profile}
    )
    return binding.name


def _left_alone(context: Json, of_pod: Json, binding: Binding) -> str | None:
    """Return why a container gets no profile, empty where it has it already; None: it gets it."""
    if context.get("privileged"):
        return "is privileged"
    own = context.get("seccompProfile")
    if own and own.get("localhostProfile") == binding.path:
        return ""
    if (own or of_pod.get("seccompProfile")) and not binding.overrides:
        return "has a seccomp profile of its own"
    return None


def _labelled(pod: Json, name: str) -> Iterator[Operation]:
    if (pod.get("metadata") or {}).get("labels") is None:
        yield {"op": "add", "path": "/metadata/labels", "value": {}}
    key = PROFILE_LABEL.replace("~", "~0").replace("/", "~1")
    yield {"op": "add", "path": f"/metadata/labels/{key}", "value": name}
