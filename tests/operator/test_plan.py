# SPDX-License-Identifier: Apache-2.0
"""Each node is told just the jobs that are meant for it."""

from typing import Any

from eunomia_api import agent_pb2
from eunomia_api.library import Library
from eunomia_api.policy_acceptance import accept_policy
from eunomia_api.tracejob import ClusterTraceJobSpec, TraceJobSpec
from eunomia_api.tracker import Catalogue
from eunomia_operator.planning.plan import (
    Bodies,
    Namespace,
    Node,
    Placement,
    PlannedJob,
    PlannedPolicy,
    desired_jobs,
    desired_state,
    job_message,
)

NODES = [
    Node("node-a", "1", {"pool": "web"}),
    Node("node-b", "2", {"pool": "web", "disk": "ssd"}),
    Node("node-c", "3", {"pool": "db"}),
]
NAMESPACES = [
    Namespace("shop", {"team": "a"}),
    Namespace("bank", {"team": "b"}),
    Namespace("blog", {"team": "a"}),
]
TRACKERS = [
    {
        "name": "process",
        "params": {"args": True, "maxArgs": 64, "prefix": "/x"},
        "where": 'comm == "sh"',
        "sample": 10,
    }
]


def trace_job(uid: str, **target: Any) -> PlannedJob:
    spec = TraceJobSpec.model_validate(
        {"target": {"podSelector": {}, **target}, "trackers": TRACKERS, "interval": "1m30s"}
    )
    return PlannedJob(uid, "TraceJob", "shop", f"job-{uid}", 3, spec, 1700000000.5)


def cluster_job(**target: Any) -> PlannedJob:
    spec = ClusterTraceJobSpec.model_validate({"target": target, "trackers": TRACKERS})
    return PlannedJob("c", "ClusterTraceJob", "", "cluster", 1, spec, None)


def told(job: PlannedJob) -> agent_pb2.Job:
    return job_message(job, job.selected(NAMESPACES))


def test_a_node_needs_all_the_labels() -> None:
    assert Placement(NODES).nodes_of(trace_job("1").spec.target.node_selector) == {
        "node-a",
        "node-b",
        "node-c",
    }
    ssd = trace_job("1", nodeSelector={"pool": "web", "disk": "ssd"})
    assert Placement(NODES).nodes_of(ssd.spec.target.node_selector) == {"node-b"}
    assert (
        Placement(NODES).nodes_of(
            trace_job("1", nodeSelector={"pool": "none"}).spec.target.node_selector
        )
        == frozenset()
    )


def test_a_trace_job_is_told_whole_and_reaches_its_own_namespace_only() -> None:
    message = told(trace_job("1", containers=["app"]))
    assert message == agent_pb2.Job(
        uid="1",
        kind="TraceJob",
        namespace="shop",
        name="job-1",
        generation=3,
        target=agent_pb2.Target(
            pods=True,
            pod_selector=agent_pb2.LabelSelector(),
            namespaces=["shop"],
            containers=["app"],
        ),
        trackers=[
            agent_pb2.Tracker(
                name="process",
                params={
                    "args": agent_pb2.Param(boolean=True),
                    "maxArgs": agent_pb2.Param(integer=64),
                    "prefix": agent_pb2.Param(text="/x"),
                },
                where='comm == "sh"',
                sample=10,
            )
        ],
        outputs=["log"],
        budget=agent_pb2.Budget(events_per_second=10_000, memory_bytes=8 << 20),
        deadline_ms=1700000000500,
        interval_ms=90_000,
    )


def test_a_cluster_trace_job_selects_namespaces_by_their_labels() -> None:
    by_label = cluster_job(
        podSelector={"matchLabels": {"app": "web"}},
        namespaceSelector={
            "matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]
        },
    )
    target = told(by_label).target
    assert (target.all_namespaces, list(target.namespaces)) == (False, ["blog", "shop"])
    assert dict(target.pod_selector.match_labels) == {"app": "web"}
    everywhere = told(cluster_job(podSelector={}, namespaceSelector={})).target
    assert (everywhere.all_namespaces, list(everywhere.namespaces)) == (True, [])


def test_a_job_for_the_host_alone_selects_no_pods() -> None:
    target = told(cluster_job(host=True)).target
    assert (target.host, target.pods) == (True, False)


def test_a_cluster_policy_selects_namespaces_and_kills_in_none_of_those_that_are_spared(
    catalogue: Catalogue,
) -> None:
    rule = {"name": "r", "events": ["opensnoop"], "when": "pid > 0", "message": "m"}
    spec = {
        "target": {"podSelector": {}, "namespaceSelector": {"matchLabels": {"team": "a"}}},
        "rules": {"custom": [{**rule, "response": "Kill"}]},
    }
    accepted = accept_policy("ClusterSecurityPolicy", spec, catalogue, Library({}))
    policy = PlannedPolicy("p", "ClusterSecurityPolicy", "", "all", 1, accepted, spared=("own",))
    judges, kills = policy.messages(policy.selected(NAMESPACES))
    assert list(judges.target.namespaces) == list(kills.target.namespaces) == ["blog", "shop"]
    assert {"own", "kube-system"} <= set(kills.target.excluded_namespaces)
    assert list(judges.target.excluded_namespaces) == []


def test_nodes_with_the_same_jobs_share_one_desired_state() -> None:
    jobs = [trace_job("1"), trace_job("2", nodeSelector={"pool": "web"})]
    assigned = {job.uid: Placement(NODES).nodes_of(job.spec.target.node_selector) for job in jobs}
    desired = desired_jobs(jobs, assigned, NAMESPACES).jobs
    assert desired["node-a"] is desired["node-b"]
    told = agent_pb2.ToAgent.FromString(desired_state(7, desired["node-a"])).desired_state
    assert (told.generation, [job.uid for job in told.jobs]) == (7, ["1", "2"])
    told = agent_pb2.ToAgent.FromString(desired_state(7, desired["node-c"])).desired_state
    assert [job.uid for job in told.jobs] == ["1"]
    assert desired_jobs(reversed(jobs), assigned, NAMESPACES).jobs == desired


def test_what_did_not_change_is_not_made_anew() -> None:
    asked: list[str] = []

    class Watched(PlannedJob):
        def messages(self, selected: list[str] | None) -> list[agent_pb2.Job]:
            asked.append(self.uid)
            return super().messages(selected)

    def job(uid: str, generation: int = 1, selector: Any = None) -> PlannedJob:
        target = {"podSelector": {}, "namespaceSelector": selector}
        spec = ClusterTraceJobSpec.model_validate({"target": target, "trackers": TRACKERS})
        return Watched(uid, "ClusterTraceJob", "", uid, generation, spec, None)

    def plan(*jobs: PlannedJob, namespaces: list[Namespace] = NAMESPACES) -> list[str]:
        """Plan for one node; return whose messages were made."""
        asked.clear()
        desired = desired_jobs(
            jobs, {job.uid: frozenset({"node-a"}) for job in jobs}, namespaces, made
        )
        fresh = desired_jobs(jobs, {job.uid: frozenset({"node-a"}) for job in jobs}, namespaces)
        assert desired == fresh
        return asked[: len(asked) - len(jobs)]

    made = Bodies()
    plain, picky = job("plain"), job("picky", selector={"matchLabels": {"team": "a"}})
    assert plan(plain, picky) == ["picky", "plain"]
    assert plan(plain, picky) == []
    more = [*NAMESPACES, Namespace("farm", {"team": "b"})]
    assert plan(plain, picky, namespaces=more) == []
    more.append(Namespace("club", {"team": "a"}))
    assert plan(plain, picky, namespaces=more) == ["picky"]
    assert plan(job("plain", generation=2), picky, namespaces=more) == ["plain"]
    assert plan(picky, namespaces=more) == []
    back = job("plain", generation=2)
    assert plan(back, picky, namespaces=more) == ["plain"], "what is gone is forgotten"


def test_a_node_is_told_no_more_than_it_can_take_and_others_are_not_affected() -> None:
    jobs = [trace_job(f"{number:03}", nodeSelector={"pool": "web"}) for number in range(70)]
    jobs.append(trace_job("everywhere"))
    assigned = {job.uid: Placement(NODES).nodes_of(job.spec.target.node_selector) for job in jobs}
    desired = desired_jobs(jobs, assigned, NAMESPACES)
    assert [len(desired.jobs[node.name]) for node in NODES] == [64, 64, 1]
    assert desired.left_out.keys() == {*(f"{number:03}" for number in range(64, 70)), "everywhere"}
    assert set(desired.left_out.values()) == {frozenset({"node-a", "node-b"})}
