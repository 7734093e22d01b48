# SPDX-License-Identifier: Apache-2.0
"""The examples of what is counted in the kernel tell what was done, to the byte."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest


@pytest.fixture
def running(kubectl):
    """Wait until jobs of a namespace run."""

    def wait(namespace, *jobs):
        names = [f"tracejob/{job}" for job in jobs]
        kubectl("-n", namespace, "wait", "--for=condition=Running", "--timeout=30s", *names)

    return wait


def total(rows, column, **of):
    return sum(row[column] for row in rows if of.items() <= row.items())


def moment(text):
    return datetime.fromisoformat(text).timestamp()


def counts(kubectl, namespace, job):
    return kubectl.get("-n", namespace, "tracejob", job)["status"].get("events", {})


def test_system_calls(cluster, applied, running, workload, until):
    applied("05-system-calls")
    running("demo", "system-calls")
    cluster.shell(
        "demo", "reader", "dd if=/dev/zero of=/dev/null bs=1 count=1000 2>/dev/null; true"
    )
    cluster.shell("demo", "reader", "cat /etc/no-such-file || true")

    def of_dd():
        rows = [row for row in cluster.logged("demo/system-calls") if row["comm"] == "dd"]
        return rows if total(rows, "count", syscall="read") >= 1000 else None

    rows = until(of_dd, 20, "a thousand reads of dd")
    assert total(rows, "count", syscall="read") == 1000
    assert total(rows, "count", syscall="write") == 1000 + 1  # its report at the end
    assert total(rows, "errors", syscall="read") == total(rows, "errors", syscall="write") == 0
    assert all(0 < row["max_duration"] <= row["duration"] for row in rows if row["count"])
    assert {(row["pod"], row["container"], row["source"]) for row in rows} == {
        ("reader", "cat", "counts")
    }
    failed = [row for row in cluster.logged("demo/system-calls") if row["comm"] == "cat"]
    assert total(failed, "errors", syscall="openat", pod="reader") > 0


def test_files_by_path(cluster, applied, running, workload, until):
    applied("06-files-by-path")
    running("demo", "files-by-path")
    cluster.shell("demo", "worker", "dd if=/dev/zero of=/tmp/ledger bs=4096 count=250 2>/dev/null")
    cluster.shell("demo", "worker", "md5sum /tmp/ledger")

    def of_the_ledger():
        rows = [row for row in cluster.logged("demo/files-by-path") if row["path"] == "/tmp/ledger"]
        return rows if {row["comm"] for row in rows} == {"dd", "md5sum"} else None

    rows = until(of_the_ledger, 20, "both programs' rows of the ledger")
    done = {
        comm: {
            column: total(rows, column, comm=comm)
            for column in ("opens", "writes", "write_bytes", "read_bytes")
        }
        for comm in ("dd", "md5sum")
    }
    assert done == {
        "dd": {"opens": 1, "writes": 250, "write_bytes": 1_024_000, "read_bytes": 0},
        "md5sum": {"opens": 1, "writes": 0, "write_bytes": 0, "read_bytes": 1_024_000},
    }
    assert {(row["pod"], row["file_type"]) for row in rows} == {("worker", "file")}
    assert not any(row["path"].startswith("/proc/") for row in cluster.logged("demo/files-by-path"))


def test_both_ends_of_tcp(cluster, kubectl, applied, running, until):
    applied("07-both-ends-of-tcp")
    running("talk", "guests", "greeters")
    status = kubectl.get("-n", "talk", "pod", "greeter")["status"]
    service = kubectl.get("-n", "talk", "service", "greeter")["spec"]

    def ended(job, port):
        rows = [row for row in cluster.logged(f"talk/{job}") if not row["error"]]
        begun = {row[port] for row in rows if row["kind"] in ("connect", "accept") and row["comm"]}
        closed = {row[port]: row for row in rows if row["kind"] == "close"}
        # Without those whose first SYN was sent before the job was there: nobody knows whose.
        return {port: row for port, row in closed.items() if port in begun}

    def both():
        of_guests, of_greeters = ended("guests", "sport"), ended("greeters", "dport")
        ports = of_guests.keys() & of_greeters.keys()
        return [(of_guests[port], of_greeters[port]) for port in ports] if len(ports) > 2 else None

    for guest, greeter in until(both, 30, "three connections that both ends have closed"):
        assert (guest["pod"], guest["comm"], greeter["pod"]) == ("guest", "wget", "greeter")
        assert (guest["daddr"], guest["dport"]) == (service["clusterIP"], 80)
        assert (greeter["saddr"], greeter["sport"]) == (status["podIP"], 8080)
        assert guest["saddr"] == greeter["daddr"]
        assert guest["tx_bytes"] == greeter["rx_bytes"] > 0
        assert guest["rx_bytes"] == greeter["tx_bytes"] > len("Good day\n")
        assert guest["duration"] > 0
    kinds = {
        job: {row["kind"] for row in cluster.logged(f"talk/{job}")}
        for job in ("guests", "greeters")
    }
    assert kinds == {"guests": {"connect", "close"}, "greeters": {"accept", "close"}}


def test_who_talks_to_whom(cluster, applied, running, workload, until):
    applied("08-who-talks-to-whom")
    running("demo", "who-talks-to-whom")
    cluster.shell("demo", "worker", "dd if=/dev/zero bs=1000 count=500 2>/dev/null | md5sum")
    cluster.shell("demo", "worker", "sleep 60 & sleep 1; kill -TERM $!; wait")

    def of_the_pipe():
        rows = [
            row
            for row in cluster.logged("demo/who-talks-to-whom")
            if row.get("source") == "counts" and row["comm"] in ("dd", "md5sum")
        ]
        read = total(rows, "read_bytes", comm="md5sum")
        return rows if read >= 500_000 else None

    rows = until(of_the_pipe, 20, "half a million bytes through a pipe")
    (pipe,) = {row["object"] for row in rows if row["comm"] == "dd" and row["write_bytes"]}
    assert total(rows, "write_bytes", comm="dd", object=pipe) == 500_000
    assert total(rows, "writes", comm="dd", object=pipe) == 500
    assert total(rows, "read_bytes", comm="md5sum", object=pipe) == 500_000
    signals = [
        row
        for row in cluster.logged("demo/who-talks-to-whom")
        if row["kind"] == "signal" and row["signal"] == "SIGTERM"
    ]
    (sent,) = [(row["action"], row["comm"], row["tcomm"]) for row in signals]
    assert sent in [("send", "sh", "sleep"), ("send", "sh", "exe")]  # busybox starts /proc/self/exe


def test_container_figures(cluster, kubectl, applied, running, until):
    def rows(**of):
        found = cluster.logged("figures/container-figures")
        return [row for row in found if of.items() <= row.items()]

    def usage():
        """What the kubelet knows of the container."""
        summary = json.loads(
            kubectl("get", "--raw", "/api/v1/nodes/eunomia-dev/proxy/stats/summary")
        )
        (pod,) = (pod for pod in summary["pods"] if pod["podRef"]["name"] == "busy")
        return pod["containers"][0] if pod.get("containers") else None

    applied("09-container-figures")
    running("figures", "container-figures")
    before = until(usage, 30, "the kubelet has looked at the pod")
    kubectl(
        "-n", "figures", "exec", "busy", "--", "ping", "-q", "-c", "5", "-s", "972", "10.213.0.1"
    )

    found = until(lambda: (seen := rows(source="counts"))[5:] and seen, 40, "six intervals")
    assert {(row["pod"], row["container"]) for row in found} == {("busy", "loop")}
    assert {row["memory_limit"] for row in found} == {32 << 20}
    assert {row["processes"] for row in found} <= {1, 2}
    # The pings, and some words of IPv6 with its neighbours.
    assert 5000 <= total(found, "tx_bytes") <= 8000
    assert 5000 <= total(found, "rx_bytes") <= 8000

    seconds = total(found, "interval")
    cpu = (total(found, "cpu_user") + total(found, "cpu_system")) / 1e9 / seconds
    throttled = total(found, "throttled_periods") / total(found, "periods")
    assert 0.04 < cpu < 0.13
    assert throttled > 0.5
    after = until(
        lambda: (now := usage()) and now["cpu"]["time"] > before["cpu"]["time"] and now, 30, ""
    )
    spent = after["cpu"]["usageCoreNanoSeconds"] - before["cpu"]["usageCoreNanoSeconds"]
    passed = moment(after["cpu"]["time"]) - moment(before["cpu"]["time"])
    # Not the same span: the kubelet looks when it likes.
    assert cpu == pytest.approx(spent / 1e9 / passed, rel=0.4)
    assert abs(found[-1]["memory"] - after["memory"]["usageBytes"]) < 4 << 20

    kubectl("-n", "figures", "delete", "pod", "busy")
    (stop,) = until(lambda: rows(kind="stop"), 20, "the container's end")
    assert (stop["pod"], stop["comm"], stop["signal"]) == ("busy", "sh", "SIGKILL")
    assert stop["duration"] > 10**9


def test_one_in_ten(cluster, kubectl, applied, running, workload, until):
    applied("10-one-in-ten")
    running("demo", "one-in-ten")
    cluster.shell("demo", "reader", "for i in $(seq 2000); do true </tmp/none-$i; done 2>&-; true")

    def settled():
        found = counts(kubectl, "demo", "one-in-ten")
        return found if found.get("matched", 0) >= 2000 else None

    found = until(settled, 20, "two thousand opens")
    assert found["delivered"] + found["sampledOut"] == found["matched"]
    assert (found["lost"], found["limited"]) == (0, 0)
    assert 100 <= found["delivered"] <= 320
    rows = [row for row in cluster.logged("demo/one-in-ten") if "none-" in row["path"]]
    assert max(Counter(row["path"] for row in rows).values()) == 1


def counted_only(degraded):
    told = degraded.get("message", "")
    return told if "opensnoop: events are only counted: " in told else ""


def test_a_flood(cluster, kubectl, applied, running, until):
    applied("11-a-flood")
    running("flood", "a-flood")
    job = cluster.job("flood", "a-flood")
    loop = "timeout 12 sh -c 'while :; do : </etc/hostname; done'"
    flood = f"{loop} & {loop}; wait"

    with ThreadPoolExecutor() as meanwhile:
        ended = meanwhile.submit(cluster.shell, "flood", "river", flood)
        told = until(lambda: counted_only(job.condition("Degraded")), 20, "it is only counted")
        ended.result()

    assert "are far above its budget of 1,000/s" in told
    assert job.status()["phase"] == "Running"
    job.wait("Degraded", 40, holds=False)
    before = job.status()["events"]
    cluster.shell("flood", "river", "for i in $(seq 200); do : </etc/hostname; done")
    found = job.events(lambda found: found["delivered"] >= before["delivered"] + 200)
    assert found["matched"] == sum(
        found[name] for name in ("delivered", "lost", "limited", "sampledOut")
    )
    assert found["limited"] > 100_000


def labels_of(series):
    return series.partition("{")[2].rstrip("}").split(",")


def test_metrics(cluster, kubectl, applied, running, workload, until):
    applied("12-metrics")
    running("demo", "figures-of-the-shop")
    cluster.shell(
        "demo", "worker", "dd if=/dev/zero of=/tmp/book bs=1000 count=300 2>/dev/null; true"
    )

    def of(name, **labels):
        wanted = {"tracejob": "demo/figures-of-the-shop", **labels}
        return {
            series: value
            for series, value in cluster.metrics().items()
            if series.startswith(f"{name}{{")
            and {f'{label}="{text}"' for label, text in wanted.items()} <= set(labels_of(series))
        }

    def written():
        return of("eunomia_observed_files_write_bytes_total", comm="dd", filename="/tmp/book")

    ((series, value),) = until(written, 20, "the bytes of dd").items()
    assert value == 300_000
    assert {'namespace="demo"', 'pod="worker"', 'container="shell"'} <= set(labels_of(series))
    assert set(of("eunomia_observed_files_write_count_total", comm="dd").values()) == {300}
    calls = of("eunomia_observed_syscall_count_total", comm="dd", syscall="write")
    assert set(calls.values()) == {300 + 1}
    assert sum(of("eunomia_observed_process_start_total", comm="true").values()) > 0
    assert sum(of("eunomia_observed_process_end_total", comm="true").values()) > 0
    for pod in ("reader", "worker"):
        (memory,) = of("eunomia_observed_container_memory_bytes", pod=pod).values()
        assert memory > 0
