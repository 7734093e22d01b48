# SPDX-License-Identifier: Apache-2.0
"""Objects compiled in the test."""

import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

INCLUDE = Path(__file__).parents[2] / "bpf/include"
ARCHITECTURE = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), "unknown")
HEAD = '#include "kernel.h"\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_tracing.h>\n'
LICENCE = 'char LICENSE[] SEC("license") = "GPL";\n'


@pytest.fixture
def compile_bpf(tmp_path: Path) -> Callable[[str], Path]:
    """Compile C for the kernel; returns the object's path."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("needs clang to compile BPF programs")

    def compile_source(source: str, *options: str) -> Path:
        path = tmp_path / "test.bpf.c"
        path.write_text(HEAD + source + LICENCE)
        target = path.with_suffix(".o")
        command = [clang, "-O2", "-g", "-target", "bpf", "-mcpu=v3"]
        command += [f"-D__TARGET_ARCH_{ARCHITECTURE}", f"-I{INCLUDE}", *options]
        subprocess.run([*command, "-c", path, "-o", target], check=True)
        return target

    return compile_source
