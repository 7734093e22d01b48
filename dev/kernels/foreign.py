# SPDX-License-Identifier: Apache-2.0
"""A machine of another architecture, with files of its own: Debian's Python and the project.

Nothing of it is run while it is put together: packages are unpacked, wheels are taken as they are
published, and the project's programs come from cross compilers. All files are in its memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev.command import output
from dev.errors import CommandFailed
from dev.folders import CACHE, PROJECT
from dev.kernels import machine
from dev.kernels.apt import Suite
from dev.progress import run as run_step
from dev.progress import step

SUITE, PYTHON = "bookworm", "3.11"
"""What `make setup` asks for, so that the tests meet the same Python."""

PACKAGES = (
    *("python3", "libbpf1", "libseccomp2", "libstdc++6"),
    *(
        "dash",
        "bash",
        "coreutils",
        "mount",
        "util-linux",
        "iproute2",
        "procps",
        "netbase",
        "strace",
    ),
)
UNWANTED = ("linux-image", "initramfs-tools", "perl", "python3-pip")
WHEELS = ("pytest", "pytest-timeout", "cryptography")
"""What tests need beside what the project depends on."""

PLATFORMS = ("manylinux_2_17", "manylinux_2_28", "manylinux_2_34", "manylinux2014")
FOLDER = Path("eunomia")
PARTS = ("api", "node_agent", "bpf", "tests", "dev", "examples", "hatch_build.py", "pyproject.toml")
MADE = ("*.so", "*.bpf.o", "catalogue.json", "__pycache__")
"""What the build makes for this machine, and for the other one anew."""

EMULATED = {
    "aarch64": {"machine": "virt", "cpu": "max", "console": "ttyAMA0"},
    "x86_64": {"machine": "q35", "cpu": "max", "console": "ttyS0"},
}
INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export PYTHONPATH=api:node_agent:. PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for folder in /dev/shm /run; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
"""


def run(image: Path, other: str, command: Sequence[str], *, seconds: float) -> Iterator[str]:
    """Run a command as root in a copy of the project's folder; yield what it says.

    other: the machine, as `uname -m` says. Raises CommandFailed when the command does not come to
    its end in time, or the files cannot be put together; MachineUnfit without emulator.
    """
    emulated = EMULATED[other]
    name = machine.emulator(other)
    (PROJECT / "build").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROJECT / "build", prefix="kernels-") as folder:
        files = _files(Path(folder), other, command)
        yield from machine.follow(
            [
                *(name, "-machine", emulated["machine"], "-cpu", emulated["cpu"]),
                *("-smp", "2", "-m", "3G", "-nographic", "-no-reboot"),
                *("-kernel", image, "-initrd", files),
                *("-append", f"console={emulated['console']} rdinit=/init panic=-1"),
            ],
            seconds=seconds,
        )


def _files(folder: Path, other: str, command: Sequence[str]) -> Path:
    """Put an archive together of what is kept and what is the project's, and return it."""
    project = folder / "root" / FOLDER
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, project / part, ignore=shutil.ignore_patterns(*MADE))
        else:
            shutil.copy2(PROJECT / part, project / part)
    with step(f"build for {other}"):
        output([sys.executable, "hatch_build.py", other], cwd=project)
    init = folder / "root/init"
    init.write_text(INIT + machine.script(command, Path("/") / FOLDER) + "sleep 1000\n")
    init.chmod(0o755)
    archive = folder / "files.cpio"
    with archive.open("wb") as file:
        for each in (_system(other), _archive(folder / "root", folder / "project.cpio")):
            file.write(each.read_bytes())  # the kernel unpacks one archive after the other
    return archive


def _system(other: str) -> Path:
    """Return an archive of Debian and the Python packages, made the first time."""
    wheels = [*tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]]
    wheels += WHEELS
    digest = hashlib.sha256(repr((SUITE, PACKAGES, UNWANTED, wheels)).encode()).hexdigest()
    folder = CACHE / "kernels" / f"files-{other}"
    archive = folder / f"{digest[:16]}.cpio"
    if archive.exists():
        return archive
    shutil.rmtree(folder, ignore_errors=True)
    suite = Suite.of(SUITE, other, folder)
    root = folder / "root"
    suite.extract(PACKAGES, root, closure=True, wanted=lambda name: not name.startswith(UNWANTED))
    for unread in ("doc", "locale", "man", "info"):
        shutil.rmtree(root / "usr/share" / unread, ignore_errors=True)
    platforms = (word for each in PLATFORMS for word in ("--platform", f"{each}_{other}"))
    run_step(
        f"Python packages for {other}",
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-compile",
            ),
            *("--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON),
            *(*platforms, "--target", root / "usr/lib/python3/dist-packages", *wheels),
        ],
        log=CACHE / "logs" / f"packages-{other}.log",
    )
    _archive(root, folder / "half").rename(archive)
    shutil.rmtree(root)
    return archive


def _archive(root: Path, archive: Path) -> Path:
    """Write the files below a folder into an archive as the kernel unpacks it."""
    names = sorted(os.fspath(path.relative_to(root)) for path in root.rglob("*"))
    with archive.open("wb") as file:
        ended = subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"],
            input="".join(f"{name}\n" for name in names).encode(),
            stdout=file,
            stderr=subprocess.PIPE,
            cwd=root,
            check=False,
        )
    if ended.returncode:
        raise CommandFailed(f"cpio of {root}: {ended.stderr.decode(errors='replace').strip()}")
    return archive
