# SPDX-License-Identifier: Apache-2.0
"""`python -m dev.kernels [NAME …]`: the tests of trackers under other kernels."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent

from dev.errors import DevError
from dev.kernels import foreign, image, shared
from dev.kernels.image import Kernel
from dev.kernels.results import Results, duration
from dev.progress import say

SECONDS = 7200.0
QUIET_SECONDS = 30.0
"""How long nothing is said while tests pass."""

PYTEST = (
    *("-m", "pytest", "-p", "dev.kernels.telling", "-p", "pytest_timeout", "--timeout=1200"),
    *("--color=no", "--tb=short", "-p", "no:cacheprovider", "--basetemp=/tmp/eunomia-kernels"),
    "--ignore=tests/bpf/test_build.py",  # the same under any kernel
    *("-o", "addopts=--import-mode=importlib --strict-markers"),
    *("-W", "ignore::pytest.PytestConfigWarning"),
)
# Plugins that none of these tests needs would take half of the time until the first one.
ENVIRONMENT = ("env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "EUNOMIA_EMULATED=1")


def main(arguments: Sequence[str]) -> int:
    """Run the tests under each kernel; 1 when any failed."""
    kernels = {each.name: each for each in image.known()}
    parser = argparse.ArgumentParser(prog="python -m dev.kernels")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(kernels)}; absent: all")
    parser.add_argument("--tests", nargs="+", help="paths for pytest, instead of the kernel's own")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the most for one kernel")
    words = parser.parse_args(arguments)
    unknown = set(words.name) - kernels.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(kernels)}")
    good, told = True, list[str]()
    for name in words.name or kernels:
        began = time.monotonic()
        results = Results()
        try:
            tests = words.tests or kernels[name].tests
            _watch(_run(kernels[name], tests, words.seconds), results)
            problem = ""
        except DevError as error:
            problem = str(error)
        good = good and not problem and results.good
        told += ["", f"Linux {name}, {duration(time.monotonic() - began)}"]
        told += [f"  {line}" for line in [*results.summary(), *([problem] if problem else [])]]
    print("\n".join(told), flush=True)
    return 0 if good else 1


def _run(kernel: Kernel, tests: Sequence[str], seconds: float) -> Iterator[str]:
    path = image.fetch(kernel)
    say(f"Linux {path.name.removeprefix('vmlinuz-')}, emulated")
    if kernel.machine == platform.machine():
        command = [*ENVIRONMENT, sys.executable, *PYTEST, *tests]
        return shared.run(path, command, seconds=seconds)
    command = [*ENVIRONMENT, "python3", *PYTEST, *tests]
    return foreign.run(path, kernel.machine, command, seconds=seconds)


def _watch(lines: Iterable[str], results: Results) -> None:
    """Say how far the tests of a file are, how each file went, and each failure at once."""
    file, shown, said = "", 0, time.monotonic()
    for line in lines:
        if not results.hear(line):
            say(line)
            continue
        for ended in results.ended[shown:]:
            if ended.outcome == "failed":
                say(f"  FAILED {ended.name}\n{indent(ended.text, '    ')}")
        shown = len(results.ended)
        now = results.running.partition("::")[0] or file
        if not now or (now == file and time.monotonic() - said < QUIET_SECONDS):
            continue
        if now == file:
            say(f"  {file} … {shown} of {sum(results.planned.values())} tests")
        elif file:
            say(f"  {file}: {results.line(file)}")
        file, said = now, time.monotonic()
    if file:
        say(f"  {file}: {results.line(file)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
