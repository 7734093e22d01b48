# SPDX-License-Identifier: Apache-2.0
"""Images of few programs: the sandbox's pause process, the workloads of tests and demo.

The C programs beside this file are compiled when their image is made; the shell and its
commands are Debian's static busybox.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dev.command import output
from dev.folders import CACHE
from dev.image import archive
from dev.image import nginx as package

HERE = Path(__file__).resolve().parent
BUSYBOX = Path("/bin/busybox")
IMAGES = CACHE / "images"

PAUSE = "localhost/eunomia-pause:dev"
WORKLOAD = "localhost/eunomia-workload:dev"
NGINX = "localhost/eunomia-nginx:dev"


@dataclass(frozen=True)
class Recipe:
    """What an image is made from, and how."""

    name: str
    sources: tuple[Path, ...]
    files: Callable[[], Mapping[str, bytes]]
    links: Callable[[], Mapping[str, str]]
    command: tuple[str, ...]


def pause() -> Path:
    """The archive of the sandbox's image."""
    source = HERE / "pause.c"
    return _made(
        Recipe(PAUSE, (source,), lambda: {"/pause": _compiled(source)}, dict[str, str], ("/pause",))
    )


def workload() -> Path:
    """The archive of the workload's image: sh and all of busybox, and /bin/generator."""
    source = HERE / "generator.c"
    return _made(
        Recipe(
            WORKLOAD,
            (source, BUSYBOX),
            lambda: {"/bin/busybox": BUSYBOX.read_bytes(), "/bin/generator": _compiled(source)},
            _busybox_links,
            ("/bin/sleep", "infinity"),
        )
    )


def nginx() -> Path:
    """The archive of an image with Debian's nginx, which serves a page, and all of busybox."""
    return _made(
        Recipe(
            NGINX,
            (Path(package.__file__), BUSYBOX),
            lambda: {"/bin/busybox": BUSYBOX.read_bytes(), **package.files()},
            _busybox_links,
            ("/bin/nginx", "-e", "stderr", "-c", "/etc/nginx/nginx.conf"),
        )
    )


def program(name: str, executable: Path) -> Path:
    """The archive of an image called `name` that holds one static program and runs it."""
    inside = f"/{executable.name}"
    return _made(
        Recipe(
            name,
            (executable,),
            lambda: {inside: executable.read_bytes()},
            dict[str, str],
            (inside,),
        )
    )


def _made(recipe: Recipe) -> Path:
    """Make the archive unless one of the same sources is there."""
    digest = hashlib.sha256(repr((recipe.name, recipe.command)).encode())
    for source in (*recipe.sources, Path(archive.__file__), Path(__file__)):
        digest.update(source.read_bytes())
    stem = recipe.name.rpartition("/")[2].replace(":", "-")
    path = IMAGES / f"{stem}-{digest.hexdigest()[:12]}.tar"
    if not path.exists():
        for older in IMAGES.glob(f"{stem}-*.tar"):
            older.unlink()
        archive.write(
            path, recipe.name, files=recipe.files(), links=recipe.links(), command=recipe.command
        )
    return path


def _compiled(source: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / source.stem
        flags = ("-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror")
        output(["gcc", *flags, "-o", program, source])
        return program.read_bytes()


def _busybox_links() -> dict[str, str]:
    applets = output([BUSYBOX, "--list"]).split()
    return {f"/bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
