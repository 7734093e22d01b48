# SPDX-License-Identifier: Apache-2.0
"""Programs of the benchmark's own, for the machine and for its kernel: programs/."""

import platform
import subprocess
from pathlib import Path

from bench.errors import BenchError
from dev.folders import PROJECT

FOLDER = Path(__file__).parent / "programs"
ARCHITECTURE = {"x86_64": "x86", "aarch64": "arm64"}


def compiled(name: str, folder: Path) -> Path:
    """Compile NAME.c for the machine, or NAME.bpf.c for its kernel. Raises BenchError."""
    program = (folder / name).with_suffix(".o" if name.endswith(".bpf.c") else "")
    words = ["cc", "-O2", "-static"]
    if name.endswith(".bpf.c"):
        target = ARCHITECTURE.get(platform.machine(), platform.machine())
        words = ["clang", "-O2", "-g", "-target", "bpf", f"-D__TARGET_ARCH_{target}"]
        words += [f"-I{PROJECT / 'bpf' / 'include'}", "-c"]
    words += ["-o", str(program), str(FOLDER / name)]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchError(
            f"there is no {words[0]}: install gcc, libc6-dev and clang to compile {name}"
        ) from None
    if ended.returncode:
        raise BenchError(f"{name} cannot be compiled: {ended.stderr.strip()}")
    return program
