# SPDX-License-Identifier: Apache-2.0
"""The project's own images, built from its Dockerfile and kept as OCI archives.

Every stage is tagged, so that the next build starts from what has not changed.
"""

from __future__ import annotations

import configparser
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from dev import lock
from dev.folders import CACHE, PROJECT
from dev.image import base, dockerfile, storage
from dev.image.static import IMAGES
from dev.progress import say

CONTEXT = CACHE / "context"
PREFIX = "localhost/eunomia-"
TAG = "dev"
EXPORTED = ("operator", "agent")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INSIDE = "/run/host/ca.pem"
PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "timeout")


def build() -> list[Path]:
    """Build what has changed since the last time; gives the archives of operator and agent."""
    with lock.exclusive("images"):
        digest = dockerfile.digest(PROJECT)
        if not all(path.exists() for path in _archives(digest).values()):
            digest = _build()
        return list(_archives(digest).values())


def _build() -> str:
    """Build from a copy of the sources, which others may change meanwhile; gives its digest."""
    say("building the images from the Dockerfile")
    storage.LOG.unlink(missing_ok=True)
    _copy_context()
    digest = dockerfile.digest(CONTEXT)
    text = (CONTEXT / "Dockerfile").read_text()
    for name in dockerfile.bases(text):
        base.make(name)
    for stage in dockerfile.stages(text):
        _build_stage(stage.name)
    for name, path in _archives(digest).items():
        _export(name, path)
    storage.call("rm", "--all")  # what an interrupted build left keeps its images from going
    storage.call("rmi", "--prune")
    return digest


def _archives(digest: str) -> dict[str, Path]:
    return {name: IMAGES / f"eunomia-{name}-{TAG}-{digest[:12]}.tar" for name in EXPORTED}


def _copy_context() -> None:
    shutil.rmtree(CONTEXT, ignore_errors=True)
    for path in [*dockerfile.context(PROJECT), PROJECT / "Dockerfile"]:
        target = CONTEXT / path.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def pip_settings(environment: Mapping[str, str]) -> str:
    """A pip.conf with this machine's index and time-out, and its certificates at INSIDE."""
    machine = configparser.RawConfigParser()
    machine.read([os.path.expanduser(name) for name in PIP_FILES])
    lines = ["[global]", f"cert = {INSIDE}"]
    for option in PIP_OPTIONS:
        variable = f"PIP_{option.upper().replace('-', '_')}"
        value = environment.get(variable) or machine.get("global", option, fallback="")
        if value:
            lines.append(f"{option} = {value}")
    return "\n".join(lines) + "\n"


def _build_stage(name: str) -> None:
    settings = CACHE / "pip.conf"
    settings.write_text(pip_settings(os.environ))
    mounts = ["--volume", f"{settings}:/etc/pip.conf:ro"]
    if CERTIFICATES.exists():
        mounts += ["--volume", f"{CERTIFICATES}:{INSIDE}:ro"]
    storage.work(
        f"building stage {name}",
        *("bud", "--layers", "--isolation", "chroot", "--network", "host", "--pull-never"),
        *mounts,
        *("--target", name, "--tag", f"{PREFIX}{name}:{TAG}", CONTEXT),
    )


def _export(name: str, path: Path) -> None:
    image = f"{PREFIX}{name}:{TAG}"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    storage.work(
        f"writing {image}",
        *("push", "--quiet", "--disable-compression", image, f"oci-archive:{fresh}:{image}"),
    )
    for older in path.parent.glob(f"eunomia-{name}-{TAG}-*.tar"):
        older.unlink()
    fresh.rename(path)
