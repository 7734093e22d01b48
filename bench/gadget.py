# SPDX-License-Identifier: Apache-2.0
"""Inspektor Gadget, built from its Go module: no registry of images is asked for anything.

The module holds the gadgets' BPF programs without the parts that run as WebAssembly: what is
built here is each gadget's program and description alone.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from bench.errors import BenchError
from bench.peers import FOLDER, LOG
from dev.command import environment, found, output
from dev.progress import run

MODULE = "github.com/inspektor-gadget/inspektor-gadget"
VERSION = "v0.49.0"
GADGETS = ("trace_open", "advise_seccomp")
"""Those whose programs load without kprobes."""
BUILD = "ebpfsource: program.bpf.c\nmetadata: gadget.yaml\n"
STORE = Path("var/lib/ig")
"""Where `ig` keeps images."""
COMPILER = """#!/bin/sh
for word; do
	case $word in *__TARGET_ARCH_*) machine=${word##*__TARGET_ARCH_} ;; esac
done
[ "$machine" = x86 ] && machine=amd64
exec "$REAL_CLANG" -I"$GADGET_INCLUDE" -I"$GADGET_INCLUDE/gadget/$machine" "$@"
"""
"""`ig image build` expects the headers under /usr/include."""
BUILD_IMAGE = """
mkdir -p "/$1" && mount --bind "$0/$1" "/$1" || exit 98
exec "$0/opt/ig" image build --local -t "$2:latest" "$3"
"""


def install() -> None:
    """Build `ig` and its gadgets into the peers' folder. Needs root, Go, clang, llvm and make."""
    if (FOLDER / "opt/ig.ready").exists():
        return
    if lacking := [name for name in ("go", "clang", "llvm-strip", "make") if found(name) is None]:
        raise BenchError(f"Inspektor Gadget needs {', '.join(lacking)} to be built")
    told = json.loads(output(["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"]))
    with tempfile.TemporaryDirectory(prefix="eunomia-bench-") as folder:
        source = Path(folder) / "source"
        shutil.copytree(told["Dir"], source)
        run("chmod", ["chmod", "-R", "u+w", source], log=LOG)
        flags = f"-s -w -X {MODULE}/internal/version.version={VERSION}"
        program = FOLDER / "opt/ig"
        run(
            "build of Inspektor Gadget",
            [
                "nice",
                "go",
                "build",
                "-buildvcs=false",
                "-ldflags",
                flags,
                "-o",
                program,
                "./cmd/ig",
            ],
            log=LOG,
            cwd=source,
            environment=environment({"CGO_ENABLED": "0"}),
        )
        for gadget in GADGETS:
            _build(gadget, source)
    (FOLDER / "opt/ig.ready").write_text(f"{VERSION}\n")


def _build(gadget: str, source: Path) -> None:
    """Build a gadget's image into the store of the peers' folder."""
    (source / "gadgets" / gadget / "build.yaml").write_text(BUILD)
    shims = source.parent / "shims"
    shims.mkdir(exist_ok=True)
    (shims / "clang").write_text(COMPILER)
    (shims / "clang").chmod(0o755)
    (FOLDER / STORE).mkdir(parents=True, exist_ok=True)
    apart = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]
    path = environment()["PATH"]
    run(
        f"build of the gadget {gadget}",
        [*apart, "sh", "-c", BUILD_IMAGE, FOLDER, STORE, gadget, source / "gadgets" / gadget],
        log=LOG,
        environment=environment(
            {
                "PATH": f"{shims}{os.pathsep}{path}",
                "REAL_CLANG": str(found("clang")),
                "GADGET_INCLUDE": str(source / "include"),
            }
        ),
    )


if __name__ == "__main__":
    install()
