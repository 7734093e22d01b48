# SPDX-License-Identifier: Apache-2.0
"""Compiles the BPF objects, the agent's libraries in C, and the catalogue of trackers.

Runs as hatchling's build hook (`pip install`) and by itself (`python hatch_build.py`; for another
machine, in a copy of the tree, `python hatch_build.py aarch64`). What is newer than all that it is
made of is left alone.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
BPF = ROOT / "bpf"
AGENT = ROOT / "node_agent" / "eunomia_agent"
OBJECTS = AGENT / "objects"
LIBRARIES = [AGENT / "kernel" / "gather.c", AGENT / "events" / "template.c"]
CATALOGUE = ROOT / "api" / "eunomia_api" / "catalogue.json"
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


class BuildError(Exception):
    """Something is missing or wrong; the message says what to do."""


def build(machine: str = platform.machine()) -> None:
    """Bring every product up to date, for a machine as `uname -m` says. Raises BuildError."""
    if machine not in ARCHITECTURES:
        raise BuildError(f"the trackers know {', '.join(ARCHITECTURES)}, not {machine}")
    OBJECTS.mkdir(exist_ok=True)
    headers = list((BPF / "include").glob("*.h"))
    sources = [*sorted(BPF.glob("*.bpf.c")), *sorted((BPF / "trackers").glob("*.bpf.c"))]
    for source in sources:
        target = OBJECTS / source.name.replace(".bpf.c", ".bpf.o")
        own = source.parent.glob(f"{source.name.removesuffix('.bpf.c')}.*.h")
        _renew(target, [source, *own, *headers], partial(_compile_bpf, source, machine))
    for description in (BPF / "trackers").glob("*.yaml"):
        target = OBJECTS / description.name
        _renew(target, [description], lambda out, source=description: shutil.copy(source, out))
    for source in LIBRARIES:
        target = source.with_name(f"lib{source.stem}.so")
        _renew(target, [source], partial(_compile_library, source, machine))
    _remove_stale({source.name.removesuffix(".bpf.c") for source in sources})
    events = AGENT / "events"
    readers = [AGENT / "trackers" / "description.py", events / "layout.py", events / "tally.py"]
    objects = [path for path in OBJECTS.iterdir() if not path.name.startswith(".")]
    inputs = [OBJECTS, *objects, *readers, CATALOGUE.with_name("tracker.py")]
    _renew(CATALOGUE, inputs, _write_catalogue)


def _renew(target: Path, inputs: Iterable[Path], make: Callable[[Path], object]) -> None:
    """Make a product in a file beside it and move it into place, if any input is newer."""
    newest = max(path.stat().st_mtime for path in [*inputs, Path(__file__)])
    if target.exists() and target.stat().st_mtime >= newest:
        return
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        make(part)
        os.utime(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _remove_stale(names: set[str]) -> None:
    for product in OBJECTS.iterdir():
        if product.name.split(".")[0] not in names and not product.name.startswith("."):
            product.unlink()


def _command(*names: str, package: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise BuildError(
        f"{names[0]} is not installed; it compiles the parts that run in the kernel. "
        f"On Debian and Ubuntu: apt-get install {package}"
    )


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")


def _compile_bpf(source: Path, machine: str, target: Path) -> None:
    clang = _command("clang", package="clang llvm libbpf-dev")
    strip = _command("llvm-strip", package="llvm")
    _run(
        *(clang, "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3"),
        *(f"-D__TARGET_ARCH_{ARCHITECTURES[machine]}", f"-I{BPF / 'include'}"),
        *(f"-ffile-prefix-map={ROOT}=.", "-c", source, "-o", target),
    )
    _run(strip, "-g", target)


def _compile_library(source: Path, machine: str, target: Path) -> None:
    if machine == platform.machine():
        compiler = _command("gcc", "cc", "clang", package="gcc libc6-dev")
    else:
        name = f"{machine}-linux-gnu"
        compiler = _command(f"{name}-gcc", package=f"gcc-{name.replace('_', '-')}")
    _run(compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", source, "-o", target)


def _write_catalogue(target: Path) -> None:
    sys.path[:0] = [str(ROOT / "api"), str(ROOT / "node_agent")]
    # ruff: noqa: PLC0415  (the packages are not installed yet when they are built)
    from eunomia_agent.errors import AgentError
    from eunomia_agent.kernel import elf
    from eunomia_agent.kernel.btf import Btf
    from eunomia_agent.trackers import description
    from eunomia_api.tracker import canonical

    trackers: list[Any] = []
    reasons: list[str] = []
    for source in sorted((BPF / "trackers").glob("*.bpf.c")):
        name = source.name.removesuffix(".bpf.c")
        try:
            data = (OBJECTS / f"{name}.bpf.o").read_bytes()
            btf = Btf.of_object(data)
            found = description.load(source.with_name(f"{name}.yaml"))
            description.check(found, btf, elf.program_sections(data))
            trackers.append(description.catalogued(found, btf))
        except AgentError as error:
            reasons.append(str(error))
        except FileNotFoundError as error:
            reasons.append(f"{source.name}:1: its description {error.filename} is missing")
    if reasons:
        raise BuildError("\n".join(reasons))
    digest = hashlib.sha256(canonical(trackers)).hexdigest()
    catalogue = {"hash": digest, "trackers": json.loads(canonical(trackers))}
    target.write_text(json.dumps(catalogue, indent=1, sort_keys=True) + "\n")


def get_build_hook() -> type[Any]:
    """Return the hook, for hatchling, which alone needs hatchling installed."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
        """Compiles before a wheel is put together, and marks it as made for this machine."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            if self.target_name != "wheel":
                return
            build()
            machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{machine}"

    return CompileHook


if __name__ == "__main__":
    try:
        build(*sys.argv[1:2])
    except BuildError as error:
        sys.exit(f"build: {error}")
