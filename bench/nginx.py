# SPDX-License-Identifier: Apache-2.0
"""nginx under wrk on loopback, in a network namespace of their own, with each collector on.

nginx alone is in the traced cgroup; it opens the file that it sends at each request.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

from bench.bench import Bench, Mode
from bench.cgroup import Cgroup
from bench.errors import BenchError
from bench.generator import OWN_NETWORK
from dev.command import environment, found
from dev.progress import say

WORKLOADS = ("opens", "calls", "core")
MODES = {"opens": "rows", "calls": "counts", "core": "counts"}
CONNECTIONS = 16
ASKED, PROBE = "asked.html", "probe.html"
PAGE_BYTES = 1024
PORT = 8080
START_SECONDS = 5.0
CONFIGURATION = """
daemon off;
worker_processes 1;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 1000;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""
TO_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Answer:
    """What wrk told: requests a second, and the 99th percentile of latency in ms.

    server_us, collector_us: CPU time of nginx, and of who traces it, for each request.
    """

    requests: float
    p99_ms: float
    server_us: float
    collector_us: float

    def mean(self, other: "Answer") -> "Answer":
        """Return what is between two answers."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Answer(*((one + another) / 2 for one, another in pairs))


@dataclass(slots=True)
class Requests:
    """Answers with each collector, and the means of those with none before and after."""

    traced: dict[str, dict[str, list[Answer]]]
    bare: dict[str, dict[str, list[Answer]]]

    def plain(self) -> list[dict[str, object]]:
        """Return one row a workload and mode, medians, as JSON takes it."""
        rows: list[dict[str, object]] = []
        for workload, modes in self.traced.items():
            for name, answers in modes.items():
                before = self.bare[workload][name]
                pairs = zip(answers, before, strict=True)
                ratios = [answer.requests / none.requests for answer, none in pairs]
                rows.append(
                    {
                        "workload": workload,
                        "collector": name,
                        "ratio": median(ratios),
                        "ratio_least": min(ratios),
                        "ratio_most": max(ratios),
                        "requests": median(answer.requests for answer in answers),
                        "p99_ms": median(answer.p99_ms for answer in answers),
                        "bare_requests": median(answer.requests for answer in before),
                        "bare_p99_ms": median(answer.p99_ms for answer in before),
                        "server_us": median(answer.server_us for answer in answers),
                        "collector_us": median(answer.collector_us for answer in answers),
                        "bare_server_us": median(answer.server_us for answer in before),
                    }
                )
        return rows


def measure(bench: Bench) -> Requests:
    """Ask nginx with none, with a collector, with none, with the next …"""
    if lacking := [name for name in ("nginx", "wrk") if found(name) is None]:
        raise BenchError(f"{' and '.join(lacking)} not installed")
    told = Requests(defaultdict(lambda: defaultdict(list)), defaultdict(lambda: defaultdict(list)))
    with nginx(bench.traced) as pid:
        ask(bench, pid)  # the first is slower: caches
        for workload in WORKLOADS:
            modes = [mode for mode in bench.modes(workload) if mode.mode == MODES[workload]]
            for number, turn in bench.turns(modes, bench.plan.rounds["requests"]):
                say(f"  nginx, {workload}, round {number + 1}")
                before = ask(bench, pid)
                for mode in turn:
                    try:
                        answer = _traced(bench, mode, pid)
                    except BenchError as error:
                        bench.failed(mode, error)
                        continue
                    after = ask(bench, pid)
                    told.bare[workload][mode.name].append(before.mean(after))
                    told.traced[workload][mode.name].append(answer)
                    before = after
    return told


def _traced(bench: Bench, mode: Mode, pid: int) -> Answer:
    def probe() -> None:
        words = ["timeout", "0.05", *_wrk(pid, PROBE)]
        subprocess.run(words, capture_output=True, env=environment(), check=False)

    with bench.running(mode, ASKED, probe, comm="nginx") as collector:
        answer = ask(bench, pid)
        collector.stop()
        return answer


def ask(bench: Bench, pid: int) -> Answer:
    """Let wrk ask for whole seconds, in nginx's network namespace."""
    seconds = max(1, round(bench.plan.requests_seconds))
    server, collector = bench.traced.cpu_seconds(), bench.tracing.cpu_seconds()
    ended = subprocess.run(
        [*_wrk(pid, ASKED), f"-d{seconds}s"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    server = bench.traced.cpu_seconds() - server
    collector = bench.tracing.cpu_seconds() - collector
    told = re.search(r"(\d+) requests in", ended.stdout)
    requests = re.search(r"Requests/sec: +([\d.]+)", ended.stdout)
    latency = re.search(r"99% +([\d.]+)(us|ms|s)", ended.stdout)
    if told is None or requests is None or latency is None:
        raise BenchError(f"wrk: {ended.stderr.strip() or ended.stdout.strip()}")
    return Answer(
        requests=float(requests[1]),
        p99_ms=float(latency[1]) * TO_MILLISECONDS[latency[2]],
        server_us=server / int(told[1]) * 1e6,
        collector_us=collector / int(told[1]) * 1e6,
    )


def _wrk(pid: int, page: str) -> list[str]:
    url = f"http://127.0.0.1:{PORT}/{page}"
    own_network = ["nsenter", "--net", f"--target={pid}"]
    return [*own_network, "wrk", "-t1", f"-c{CONNECTIONS}", "--latency", url]


@contextmanager
def nginx(cgroup: Cgroup) -> Generator[int]:
    """Run nginx with one worker in a cgroup; gives the pid of its master."""
    folder = Path(tempfile.mkdtemp(prefix="eunomia-bench-"))
    for page in (ASKED, PROBE):
        (folder / page).write_text("x" * PAGE_BYTES)
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=PORT))
    words = ["nginx", "-c", str(configuration), "-p", str(folder), "-e", str(folder / "error.log")]
    process = subprocess.Popen(
        cgroup.entering([*OWN_NETWORK, *words]), stdout=subprocess.DEVNULL, env=environment()
    )
    try:
        _wait(process, folder)
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not (folder / "nginx.pid").exists():
        if process.poll() is not None or time.monotonic() > end:
            log = folder / "error.log"
            raise BenchError(f"nginx did not start: {log.read_text() if log.exists() else ''}")
        time.sleep(0.01)
    time.sleep(0.1)
