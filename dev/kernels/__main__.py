# SPDX-License-Identifier: Apache-2.0
"""`python -m dev.kernels [NAME …]`: the tests of trackers under other kernels."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence

from dev.errors import DevError
from dev.kernels import image, machine
from dev.progress import say

TESTS = ("tests/kernels/test_trackers.py", "tests/node_agent/test_denying.py", "tests/bpf")
SECONDS = 3000.0
PYTEST = (
    # Plugins that none of these tests needs would take half of the time until the first one.
    *("env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "EUNOMIA_EMULATED=1"),
    *(sys.executable, "-m", "pytest"),
    *(
        "-v",
        "--no-header",
        "--color=no",
        "-rs",
        "--tb=short",
        "-p",
        "pytest_timeout",
        "--timeout=600",
    ),
    *("-p", "no:cacheprovider", "--basetemp=/tmp/eunomia-kernels"),
    "--ignore=tests/bpf/test_build.py",  # the same under any kernel
    *("-o", "addopts=--import-mode=importlib --strict-markers"),
    *("-W", "ignore::pytest.PytestConfigWarning"),
)


def main(arguments: Sequence[str]) -> int:
    """Run the tests under each kernel; 1 when any failed."""
    kernels = {each.name: each for each in image.known()}
    parser = argparse.ArgumentParser(prog="python -m dev.kernels")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(kernels)}; absent: all")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="paths for pytest")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the most for one kernel")
    words = parser.parse_args(arguments)
    unknown = set(words.name) - kernels.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(kernels)}")
    failed: list[str] = []
    try:
        for name in words.name or kernels:
            path = image.fetch(kernels[name], platform.machine())
            say(f"Linux {path.name.removeprefix('vmlinuz-')}, emulated")
            if machine.run(path, [*PYTEST, *words.tests], seconds=words.seconds):
                failed.append(name)
    except DevError as error:
        say(f"error: {error}")
        return 1
    if failed:
        say(f"tests failed under {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
