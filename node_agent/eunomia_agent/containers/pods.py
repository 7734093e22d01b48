# SPDX-License-Identifier: Apache-2.0
"""The pods that have a cgroup now."""

from eunomia_agent.containers.owner import Owner


class Pods:
    """Owners of live cgroups that are a pod's own, its sandbox's or its containers', by pod uid."""

    def __init__(self) -> None:
        self._pods = dict[str, dict[int, Owner]]()

    def add(self, owner: Owner) -> None:
        """Take in the owner of a cgroup, where it is a pod's."""
        if owner.pod_uid and owner.kind in ("pod", "sandbox", "container"):
            self._pods.setdefault(owner.pod_uid, {})[owner.cgroup_id] = owner

    def remove(self, owner: Owner) -> None:
        """Forget a cgroup: it is gone, or its owner is another now."""
        owners = self._pods.get(owner.pod_uid)
        if owners and owners.pop(owner.cgroup_id, None) and not owners:
            del self._pods[owner.pod_uid]

    def of(self, pod_uid: str) -> list[Owner]:
        """Return all owners of one pod."""
        return list(self._pods.get(pod_uid, {}).values())

    def told(self) -> list[Owner]:
        """Return one owner for each pod that the runtime has told of."""
        found = (
            next((owner for owner in owners.values() if owner.namespace), None)
            for owners in self._pods.values()
        )
        return [owner for owner in found if owner]
