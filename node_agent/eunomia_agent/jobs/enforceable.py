# SPDX-License-Identifier: Apache-2.0
"""Which rules the kernel can enforce, asked of what decides it for the jobs of a node."""

from collections.abc import Mapping
from pathlib import Path

from eunomia_agent.errors import NotInKernel
from eunomia_agent.jobs.keys import Keys
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers import denying
from eunomia_agent.trackers.catalogue import OBJECTS, Catalogue
from eunomia_agent.trackers.key import Enforcement as Enforced
from eunomia_api import agent_pb2
from eunomia_api.enforcement import ENFORCEMENTS, Enforcement


class Enforceable:
    """Says of rules which responses of the kernel they can have.

    The kernel is taken to have all hooks: what a node lacks is its own.
    """

    def __init__(self, catalogue: Catalogue, objects: Path = OBJECTS) -> None:
        self._trackers = catalogue.trackers
        self._objects = objects
        self._keys = Keys(catalogue, objects)

    def why_not(self, rule: agent_pb2.Rule) -> Mapping[str, str]:
        """Return, by response, why the kernel cannot give it in few words; empty where it can.

        Raises TrackerError for a rule that is wrong.
        """
        return {each.response: self._why_not(rule, each) for each in ENFORCEMENTS}

    def _why_not(self, rule: agent_pb2.Rule, how: Enforcement) -> str:
        uses = [agent_pb2.Tracker(name=name, sample=1) for name in rule.trackers]
        job = agent_pb2.Job(enforcement=how.wire, trackers=uses, rules=[rule])
        try:
            for use in uses:
                key = self._keys.use(job, use).key
                if key.enforcement == Enforced.DENY:
                    btf = Btf.of_object((self._objects / f"{use.name}.bpf.o").read_bytes())
                    denying.chosen(self._trackers[use.name], key, btf, missing={})
        except NotInKernel as error:
            return error.brief
        return ""


def told(why_not: Mapping[str, str]) -> str:
    """Return what `why_not` comes to: the responses that can be had, and why others cannot."""
    can = [response for response, why in why_not.items() if not why]
    cannot = {response: why for response, why in why_not.items() if why}
    if not can and len({*cannot.values()}) == 1:
        return f"no: {next(iter(cannot.values()))}"
    parts = [", ".join(can)] if can else []
    return "; ".join([*parts, *(f"not {each}: {why}" for each, why in cannot.items())])
