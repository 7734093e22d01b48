# SPDX-License-Identifier: Apache-2.0
"""Debian's nginx, out of its package: the machine itself neither installs nor runs it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from dev.command import output
from dev.errors import CommandFailed
from dev.folders import CACHE
from dev.progress import run

FOLDER = CACHE / "nginx"
PROGRAM = FOLDER / "root/usr/sbin/nginx"
CONFIGURATION = """\
daemon off;
worker_processes 2;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    server {
        listen 8080;
        root /srv;
    }
}
"""


def files() -> Mapping[str, bytes]:
    """What its image holds beside a shell: the program, its libraries, a page."""
    found = {
        "/bin/nginx": _program().read_bytes(),
        "/etc/nginx/nginx.conf": CONFIGURATION.encode(),
        "/etc/passwd": b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "/etc/group": b"root:x:0:\nnogroup:x:65534:\n",
        "/srv/index.html": b"Good day\n",
        "/usr/share/nginx/folder": b"",
        "/var/lib/nginx/folder": b"",
        "/var/log/nginx/folder": b"",
    }
    for library in _libraries():
        found[str(library)] = library.read_bytes()
    return found


def _program() -> Path:
    if not PROGRAM.exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        log = CACHE / "logs" / "nginx.log"
        download = ["apt-get", "download", "nginx"]
        try:
            run("download of nginx", download, log=log, cwd=FOLDER)
        except CommandFailed:  # the lists of packages are old, or not there
            run("apt-get update", ["apt-get", "update"], log=log)
            run("download of nginx", download, log=log, cwd=FOLDER)
        (package,) = FOLDER.glob("*.deb")
        half = FOLDER / "half"  # so that the program is there whole or not at all
        output(["dpkg-deb", "--extract", package, half])
        half.rename(FOLDER / "root")
    return PROGRAM


def _libraries() -> list[Path]:
    """The libraries that the program and the dynamic linker name, at the paths they name."""
    words = [line.split() for line in output(["ldd", _program()]).splitlines()]
    return [Path(word) for line in words for word in line if word.startswith("/")]
