# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a TraceJob on a real Kubernetes of one node, from nothing to nothing.

Every command that it runs is shown as one could type it. Ends with 0 only if all of it held.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, cast

from dev import kernel
from dev.cluster import layout
from dev.command import environment, output
from dev.errors import DevError
from dev.folders import PROJECT

EXAMPLE = "examples/01-opens-and-execs"
JOB = "opens-and-execs"
COUNTING = {"system-calls": "syscall", "files-by-path": "files"}
"""Jobs that count, of the examples after that one, and their trackers."""
COPY = "dd if=/dev/zero of=/tmp/ledger bs=4096 count=250 2>/dev/null; true"
COPIED = 4096 * 250
PHASES = ["Pending", "Running", "Complete"]
ROWS_SHOWN = 4
"""Of each pod and tracker."""
COUNTS_SHOWN = 5
GONE_SECONDS = 2.0
"""How soon after the end of the last job its programs have left the kernel."""

Row = dict[str, object]


class DemoError(DevError):
    """Something did not come out as it should."""


def main(arguments: list[str]) -> int:
    """Run the demo; gives the exit status."""
    options = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__)
    options.add_argument("--keep", action="store_true", help="leave the cluster up at the end")
    keep = options.parse_args(arguments).keep
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        show()
        if keep:
            tell_how_to_go_on()
        return 0
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except DevError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    finally:
        if not keep:
            take_down()


def show() -> None:
    """Bring everything up, trace two pods, and check what came of it."""
    title("A real Kubernetes of one node")
    tool("dev.cluster", "up")
    before = kernel.programs()

    title("The images, from the Dockerfile")
    tool("dev.image", "build")
    tool("dev.image", "load")

    title("Eunomia on the cluster")
    install()

    title("A workload of two pods")
    kubectl("apply", "-f", f"{EXAMPLE}/workload.yaml")
    kubectl("-n", "demo", "wait", "--for=condition=Ready", "--timeout=120s", "pod", "--all")

    title("A TraceJob, from its beginning to its end")
    follow_the_job(before)

    title("Events, by pod and container")
    show_rows()
    kubectl("-n", "demo", "get", "tracejobs")

    title("Counted in the kernel: system calls, and what is read and written")
    count()

    title("The jobs are deleted, and nothing of them is left in the kernel")
    kubectl("-n", "demo", "delete", "tracejob", JOB, *COUNTING)
    left = wait_for_none(before)
    echo("bpftool prog list")
    print(f"{len(left)} tracing programs more than before the first job")
    if left:
        raise DemoError(f"still loaded: {names(left)}")


def install() -> None:
    """Apply everything, and wait until it runs; pods of an older image are replaced."""
    again = bool(captured("get", "deployments", "-A", "-l", "app.kubernetes.io/name=eunomia"))
    kubectl("apply", "--server-side", "-k", "crds")
    kubectl("apply", "-k", "manifests/overlays/local")
    workloads = ("deployment/eunomia-operator", "daemonset/eunomia-agent")
    if again:
        kubectl("-n", "eunomia-system", "rollout", "restart", *workloads)
    for workload in workloads:
        kubectl("-n", "eunomia-system", "rollout", "status", "--timeout=180s", workload)


def follow_the_job(before: frozenset[kernel.Object]) -> None:
    """Apply the job and show every change of it until it is Complete."""
    kubectl("-n", "demo", "delete", "tracejob", JOB, "--ignore-not-found")
    with watched("-n", "demo", "get", "tracejobs") as phases:
        kubectl("apply", "-f", f"{EXAMPLE}/tracejob.yaml")
        kubectl("-n", "demo", "wait", "--for=condition=Running", "--timeout=60s", f"tracejob/{JOB}")
        at_work = kernel.programs() - before
        echo("bpftool prog list")
        print(f"{len(at_work)} tracing programs more than before: {names(at_work)}")
        kubectl(
            "-n", "demo", "wait", "--for=condition=Complete", "--timeout=90s", f"tracejob/{JOB}"
        )
        until(lambda: "Complete" in phases, 5)
    if not at_work:
        raise DemoError("the job was Running without a tracing program in the kernel")
    if missing := [phase for phase in PHASES if phase not in phases]:
        raise DemoError(f"phases {', '.join(missing)} were not seen; seen: {', '.join(phases)}")


def show_rows() -> None:
    """Show a few rows of the job for each pod and tracker; all four must be there."""
    echo(f"kubectl -n eunomia-system logs daemonset/eunomia-agent | grep '\"demo/{JOB}\"'")
    rows = [row for row in agent_rows() if row.get("job") == f"demo/{JOB}"]
    strangers = {str(row.get("pod")) for row in rows} - {"reader", "worker"}
    if strangers:
        raise DemoError(f"rows name pods that the job does not select: {', '.join(strangers)}")
    show_table(
        row
        for pod in ("reader", "worker")
        for tracker in ("opensnoop", "process")
        for row in of(rows, pod, tracker)[-ROWS_SHOWN:]
    )
    print(f"{len(rows)} rows in all")


def of(rows: list[Row], pod: str, tracker: str) -> list[Row]:
    """Give the rows of a tracker for a pod; there must be some."""
    found = [row for row in rows if row.get("pod") == pod and row.get("tracker") == tracker]
    if not found:
        raise DemoError(f"no row of tracker {tracker} names the pod {pod}")
    return found


def count() -> None:
    """Copy a megabyte under two jobs that count, and show that not a byte is missing."""
    for number, job in enumerate(COUNTING, start=5):
        kubectl("-n", "demo", "delete", "tracejob", job, "--ignore-not-found")
        kubectl("apply", "-f", f"examples/{number:02}-{job}/tracejob.yaml")
    jobs = [f"tracejob/{job}" for job in COUNTING]
    kubectl("-n", "demo", "wait", "--for=condition=Running", "--timeout=60s", *jobs)
    kubectl("-n", "demo", "exec", "worker", "--", "sh", "-c", COPY)
    rows: list[Row] = []

    def counted() -> bool:
        rows[:] = [
            row
            for row in agent_rows()
            if row.get("comm") == "dd" and row.get("job") in {f"demo/{job}" for job in COUNTING}
        ]
        return {row["tracker"] for row in rows} == set(COUNTING.values())

    if not until(counted, 20):
        raise DemoError("the system calls and files of dd were not counted")
    show_table(sorted(rows, key=lambda row: -cast("int", row["count"]))[:COUNTS_SHOWN])
    written = sum(cast("int", row.get("write_bytes", 0)) for row in rows)
    print(f"{written:,} bytes written, of {COPIED:,}")
    if written != COPIED:
        raise DemoError("what was counted is not what was written")


def show_table(rows: Iterable[Row]) -> None:
    """Print rows, a line each."""
    line = "{:<12} {:<7} {:<9} {:<9} {:<6} {}".format
    print(line("TIME", "POD", "CONTAINER", "TRACKER", "COMM", "WHAT"))
    for row in rows:
        subject = (str(row[name]) for name in ("pod", "container", "tracker", "comm"))
        print(line(str(row["time"])[11:23], *subject, what(row)))


def what(row: Row) -> str:
    """What an event tells beside its subject, in a few words; zeros and empty columns left out."""
    subject = {"time", "node", "namespace", "pod", "container", "container_id", "tracker", "job"}
    subject |= {"comm", "pid", "tid", "uid", "source", "inode", "device"}
    told = {name: value for name, value in row.items() if value and name not in subject}
    return " ".join(f"{name}={_words(value)}" for name, value in told.items())


def _words(value: object) -> str:
    if isinstance(value, list):
        return repr(shlex.join(map(str, cast("list[object]", value))))
    return str(value)


def agent_rows() -> Iterator[Row]:
    """Rows on the agent's standard output so far; its log lines are passed over."""
    for text in captured("-n", "eunomia-system", "logs", "daemonset/eunomia-agent").splitlines():
        try:
            row: object = json.loads(text)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield cast("Row", row)


def wait_for_none(before: frozenset[kernel.Object]) -> frozenset[kernel.Object]:
    """Give what is left in the kernel when the time for it to go is over."""
    until(lambda: not kernel.programs() - before, GONE_SECONDS)
    return kernel.programs() - before


def tell_how_to_go_on() -> None:
    """Print the lines with which to use the cluster that was left up."""
    title("The cluster is up: go on with")
    print(f"  export KUBECONFIG={layout.KUBECONFIG} PATH={layout.BIN}:$PATH")
    print(f"  kubectl apply -f {EXAMPLE}/tracejob.yaml")
    print("  kubectl -n demo get tracejobs --watch")
    print("  kubectl -n eunomia-system logs --follow daemonset/eunomia-agent")
    print(f"and take it down with\n  {sys.executable} -m dev.cluster down")


def take_down() -> None:
    """Take the cluster down, also when the terminal sends a second interrupt."""
    title("Everything is taken down")
    echo("python -m dev.cluster down")
    down = [sys.executable, "-m", "dev.cluster", "down"]
    subprocess.run(down, cwd=PROJECT, check=True, start_new_session=True)


def tool(module: str, *arguments: str) -> None:
    """Run one of the tools beside this one, its progress shown."""
    echo(shlex.join(["python", "-m", module, *arguments]))
    ended = subprocess.run([sys.executable, "-m", module, *arguments], cwd=PROJECT, check=False)
    if ended.returncode != 0:
        raise DemoError(f"`python -m {module} {shlex.join(arguments)}` did not succeed")


def kubectl(*arguments: str) -> None:
    """Run kubectl against the local cluster, as shown."""
    echo(shlex.join(["kubectl", *arguments]))
    ended = subprocess.run(
        [layout.BIN / "kubectl", *arguments], cwd=PROJECT, env=_environment(), check=False
    )
    if ended.returncode != 0:
        raise DemoError(f"`kubectl {shlex.join(arguments)}` did not succeed")


def captured(*arguments: str) -> str:
    """Give what kubectl prints."""
    return output([layout.BIN / "kubectl", "--kubeconfig", layout.KUBECONFIG, *arguments])


@contextmanager
def watched(*arguments: str) -> Generator[list[str]]:
    """Print every change of `kubectl get … --watch` meanwhile, and collect the second column."""
    phases: list[str] = []
    echo(shlex.join(["kubectl", *arguments, "--watch"]) + " &")
    child = subprocess.Popen(
        [layout.BIN / "kubectl", *arguments, "--watch"],
        cwd=PROJECT,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )

    def copy() -> None:
        for line in child.stdout or ():
            print(line, end="", flush=True)
            phases.extend(line.split()[1:2])

    copier = threading.Thread(target=copy, daemon=True)
    copier.start()
    try:
        yield phases
    finally:
        child.terminate()
        child.wait()
        copier.join()


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until it holds; gives whether it did in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def names(some: frozenset[kernel.Object]) -> str:
    """The names of programs, in order."""
    return ", ".join(program.name for program in sorted(some)) or "none"


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


def echo(command: str) -> None:
    """Print a command as one would type it."""
    print(f"$ {command}", flush=True)


def _environment() -> dict[str, str]:
    return environment({"KUBECONFIG": str(layout.KUBECONFIG)})


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    os.chdir(PROJECT)
    sys.exit(main(sys.argv[1:]))
