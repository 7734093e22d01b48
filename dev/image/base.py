# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile's base image, made from packages where no registry can be reached.

debootstrap's minbase variant, without documentation, is committed under the base image's own
name: the Dockerfile builds here as it does everywhere else.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

from dev.command import output
from dev.errors import CommandFailed, MachineUnfit
from dev.image import storage
from dev.progress import run, say

NAME = re.compile(r"docker\.io/library/debian:(?P<suite>[a-z]+)-slim")
CONTAINER = "eunomia-base"
DROPPED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)
SLIM = "".join(f"path-exclude /usr/share/{name}/*\n" for name in ("doc", "man", "locale"))


def make(name: str) -> None:
    """Make the base image unless the store has it."""
    if storage.exists(name):
        return
    match = NAME.fullmatch(name)
    if match is None:
        raise MachineUnfit(
            f"the base image {name} cannot be made here: only {NAME.pattern} is known"
        )
    say(f"making the base image {name} (once)")
    _forget()
    storage.call("from", "--name", CONTAINER, "scratch")
    try:
        root = Path(storage.call("mount", CONTAINER))
        _fill(root, match["suite"])
        storage.call("umount", CONTAINER)
        storage.call("config", "--cmd", "bash", CONTAINER)
        storage.work(f"keeping {name}", "commit", "--quiet", CONTAINER, name)
    finally:
        _forget()


def _fill(root: Path, suite: str) -> None:
    debootstrap = ("nice", "debootstrap", "--variant=minbase", suite, str(root), *_mirror())
    run(f"debootstrap of {suite}", debootstrap, log=storage.LOG)
    for name in DROPPED:
        for path in (root / name).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(SLIM)


def _mirror() -> list[str]:
    """The mirror that this machine itself uses; none lets debootstrap choose."""
    with suppress(CommandFailed):
        sites = output(["apt-get", "indextargets", "--format", "$(SITE)", "Origin: Debian"])
        for site in sites.splitlines():
            if site.rstrip("/").endswith("/debian"):
                return [site]
    return []


def _forget() -> None:
    """Remove the working container of this or an interrupted run."""
    with suppress(CommandFailed):
        storage.call("rm", CONTAINER)
