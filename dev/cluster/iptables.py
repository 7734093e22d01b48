# SPDX-License-Identifier: Apache-2.0
"""The packet filter: what is let through for pods, and what is taken out again.

kube-proxy, the kubelet and portmap write chains of their own. Chains that were there before
us are never touched, except for the rules in them that are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dev.cluster import layout
from dev.command import found, output

FAMILIES = ("iptables", "ip6tables")
PREFIXES = ("KUBE-", "CNI-")
ACCEPT = (
    *("-i", layout.POD_BRIDGE, "-o", layout.POD_BRIDGE),
    *("-m", "comment", "--comment", layout.NAME, "-j", "ACCEPT"),
)


def chains(saved: str) -> frozenset[str]:
    """The chains in the output of iptables-save, each as TABLE/CHAIN."""
    names: set[str] = set()
    for table, lines in _tables(saved):
        names |= {f"{table}/{line[1:].split()[0]}" for line in lines if line.startswith(":")}
    return frozenset(names)


def removal(saved: str, before: frozenset[str]) -> str:
    """What iptables-restore --noflush must read to take our chains and rules out.

    `saved` is the output of iptables-save, `before` the chains that are not ours.
    """
    script: list[str] = []
    for table, lines in _tables(saved):
        declared = [line[1:].split()[0] for line in lines if line.startswith(":")]
        own = [
            chain
            for chain in declared
            if chain.startswith(PREFIXES) and f"{table}/{chain}" not in before
        ]
        rules = [line for line in lines if line.startswith("-A ") and _ours(line, own)]
        if own or rules:
            script += [f"*{table}", *(f"-D {rule[3:]}" for rule in rules)]
            script += [f"-F {chain}" for chain in own] + [f"-X {chain}" for chain in own]
            script.append("COMMIT")
    return "".join(f"{line}\n" for line in script)


def accept_pods() -> None:
    """Let pods of the bridge speak to each other where FORWARD drops by default."""
    listed = output(["iptables-save", "-t", "filter"])
    if f"--comment {layout.NAME} " not in listed:
        output(["iptables", "-w", "-I", "FORWARD", *ACCEPT])


def snapshot() -> dict[str, list[str]]:
    """All chains of both families as they are now."""
    return {family: sorted(chains(output([f"{family}-save"]))) for family in _families()}


def restore(before: dict[str, list[str]]) -> None:
    """Take out what came after the snapshot."""
    for family in _families():
        script = removal(output([f"{family}-save"]), frozenset(before.get(family, ())))
        if script:
            output([f"{family}-restore", "-w", "--noflush"], text=script)


def _families() -> Iterable[str]:
    return [family for family in FAMILIES if found(family)]


def _tables(saved: str) -> Iterator[tuple[str, list[str]]]:
    for block in saved.split("*")[1:] if saved.startswith("*") else saved.split("\n*")[1:]:
        table, *lines = block.splitlines()
        yield table, lines


def _ours(rule: str, own: list[str]) -> bool:
    """Whether a rule outside of our chains leads into one, or carries our name."""
    words = rule.split()
    if words[1] in own:
        return False
    return any(words[i] in ("-j", "-g") and words[i + 1] in own for i in range(len(words) - 1)) or (
        "--comment" in words and layout.NAME in rule
    )
