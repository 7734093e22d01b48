# SPDX-License-Identifier: Apache-2.0
"""What the rules of the library see of files and programs that are led to by another way."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from eunomia_agent.cli.rulebook import chosen

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
EVIL = (
    b"\x1b[2J\x1b]0;owned\x07",
    b"a\nb\r\nc\t\v\f\b\x7f",
    b"\xff\xfe\xc0\xaf\xed\xa0\x80",
    "\u202e\u2066\u200f\u2028\u2029\x85\x9b1m\ufeff".encode(),
    b'"} 1\n{path}{pid}"\'`\\\\',
    b"<b>&amp;%s$(id)",
    "é漢🙂".encode(),
)
SHADOW = "sensitive-files/password-hashes-read"
LIBC = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno())
    return result
def read(path):
    os.close(os.open(path, os.O_RDONLY))
os.chdir(sys.argv[1])
"""
UNSHARE = "check(libc.unshare(0x10020000))\ncheck(libc.mount(b'none', b'/', None, 0x44000, None))\n"
PRIVATE = "check(libc.mount(b'none', b'/', None, 0x44000, None))\n"
BOUND = (
    UNSHARE
    + "os.makedirs({0!r}, exist_ok=True); open({1!r}, 'w').close()\nopen('y', 'w').close()\n"
    "check(libc.mount({1!r}.encode(), b'y', None, 4096, None)); os.open('y', {2})"
)
"""A file that is mounted under another name and opened there: its folder, itself, and how."""
DISKS = sorted(Path("/sys/block").glob("*/dev"))
DISGUISES = [
    ("by its path", SHADOW, "read(sys.argv[1] + '/etc/shadow')"),
    ("relative", SHADOW, "os.chdir('etc'); read('shadow')"),
    ("dots and slashes", SHADOW, "read('etc/.//../etc/././shadow')"),
    ("4 kB of argument", SHADOW, "read('./' * 2040 + 'etc/shadow')"),
    ("from a descriptor", SHADOW, "os.open('shadow', 0, dir_fd=os.open('etc', os.O_RDONLY))"),
    ("by a path alone", SHADOW, "read(f'/proc/self/fd/{os.open(\"etc/shadow\", os.O_PATH)}')"),
    ("through proc", SHADOW, "read(f'/proc/{os.getpid()}/root{os.getcwd()}/etc/shadow')"),
    ("symlink", SHADOW, "os.symlink('etc/shadow', 's'); read('s')"),
    (
        "symlink of a folder",
        SHADOW,
        "os.symlink('etc', 't'); os.symlink('t', 'u'); read('u/shadow')",
    ),
    ("hard link", SHADOW, "os.link('etc/shadow', 'h'); read('h')"),
    ("moved away and back", SHADOW, "os.rename('etc/shadow', 'm'); os.rename('m', 'etc/shadow')"),
    ("another name", SHADOW, "libc.prctl(15, b'kworker/0:1', 0, 0, 0); read('etc/shadow')"),
    (
        "a thread",
        SHADOW,
        "import threading as t; t.Thread(target=read, args=('etc/shadow',)).start()",
    ),
    (
        "openat2",
        SHADOW,
        "check(libc.syscall(437, -100, b'etc/shadow', (ctypes.c_ulong * 3)(), 24))",
    ),
    ("new namespaces", SHADOW, UNSHARE + "read('etc/shadow')"),
    ("and said so", "container-escape/user-namespace-made", UNSHARE),
    (
        "folder mounted elsewhere",
        SHADOW,
        UNSHARE + "os.mkdir('x'); os.mkdir('x/etc')\n"
        "check(libc.mount(b'etc', b'x/etc', None, 4096, None)); read('x/etc/shadow')",
    ),
    (
        "folder mounted under another name",
        SHADOW,
        UNSHARE + "os.mkdir('x')\n"
        "check(libc.mount(b'etc', b'x', None, 4096, None)); read('x/shadow')",
    ),
    (
        "file mounted under another name",
        SHADOW,
        UNSHARE + "open('y', 'w').close()\n"
        "check(libc.mount(b'etc/shadow', b'y', None, 4096, None)); read('y')",
    ),
    (
        "folder renamed",
        "container-escape/sensitive-folder-moved",
        "os.rename('etc', 'x'); read('x/shadow'); os.rename('x', 'etc')",
    ),
    (
        "file mounted elsewhere",
        "container-escape/sensitive-file-bound",
        UNSHARE + "open('y', 'w').close()\n"
        "check(libc.mount(b'etc/shadow', b'y', None, 4096, None)); read('y')",
    ),
    (
        "a key mounted under another name",
        "sensitive-files/ssh-key-read",
        BOUND.format(".ssh", ".ssh/id_rsa", "os.O_RDONLY"),
    ),
    (
        "a key mounted elsewhere",
        "container-escape/sensitive-file-bound",
        BOUND.format(".ssh", ".ssh/id_rsa", "os.O_RDONLY"),
    ),
    (
        "the list of keys mounted under another name",
        "persistence/authorized-keys-written",
        BOUND.format(".ssh", ".ssh/authorized_keys", "os.O_WRONLY"),
    ),
    (
        "release_agent mounted under another name",
        "container-escape/release-agent-written",
        BOUND.format("cg", "cg/release_agent", "os.O_WRONLY"),
    ),
    (
        "the folder of the pod's token mounted elsewhere",
        "container-escape/sensitive-file-bound",
        UNSHARE + "os.makedirs('secrets/kubernetes.io/serviceaccount'); os.mkdir('x')\n"
        "check(libc.mount(b'secrets/kubernetes.io/serviceaccount', b'x', None, 4096, None))",
    ),
    (
        "the environment of a process of the node",
        "container-escape/other-process-read",
        "read(f'/proc/{os.getppid()}/environ')",
    ),
    (
        "the same under another name",
        "container-escape/other-process-read",
        PRIVATE + "open('y', 'w').close()\nsource = f'/proc/{os.getppid()}/environ'.encode()\n"
        "check(libc.mount(source, b'y', None, 4096, None)); read('y')",
    ),
    (
        "memory of a process of the node",
        "container-escape/other-process-read",
        "read(f'/proc/{os.getppid()}/mem')",
    ),
    (
        "a file of the node's below another folder",
        "container-escape/node-file-written",
        PRIVATE + "os.mkdir('x'); check(libc.mount(b'/etc', b'x', None, 4096, None))\n"
        "os.open('x/hostname', os.O_WRONLY)",
    ),
    (
        "another root",
        SHADOW,
        UNSHARE + "os.chroot('.'); read('/etc/shadow')",
    ),
    (
        "folders of 4 kB",
        SHADOW,
        "for _ in range(20):\n    os.mkdir('d' * 250); os.chdir('d' * 250)\n"
        "os.mkdir('etc'); open('etc/shadow', 'w').close()",
    ),
    (
        "the file of a program that may",
        SHADOW,
        UNSHARE + "import shutil; shutil.copy('/bin/cat', 'cat')\n"
        "check(libc.mount(b'cat', b'/usr/bin/passwd', None, 4096, None))\n"
        "os.execv('/usr/bin/passwd', ['passwd', 'etc/shadow'])",
    ),
    (
        "a shell of another name",
        SHADOW,
        "import shutil; shutil.copy('/bin/sh', 'nginx')\n"
        "os.execv('nginx', ['nginx', '-c', 'exec 3< etc/shadow'])",
    ),
    (
        "a program in memory",
        "execution/memory-executed",
        "fd = os.memfd_create('x')\nos.write(fd, open('/bin/true', 'rb').read())\n"
        "os.execv(f'/proc/self/fd/{fd}', ['nginx'])",
    ),
    (
        "a program in shared memory",
        "execution/shared-memory-executed",
        "import shutil\nname = f'/dev/shm/eunomia-{os.getpid()}'\nshutil.copy('/bin/true', name)\n"
        "child = os.posix_spawn(name, ['nginx'], {}); os.waitpid(child, 0); os.unlink(name)",
    ),
]
if DISKS:
    DISGUISES.append(
        (
            "a disk under another name",
            "container-escape/disk-opened",
            f"major, minor = map(int, {DISKS[0].read_text().strip()!r}.split(':'))\n"
            "os.mknod('x', 0o60600, os.makedev(major, minor)); read('x')",
        )
    )
if platform.machine() == "x86_64":
    OLD = "53 89f8 89f3 cd80 5b c3"  # push rbx; mov eax, edi; mov ebx, esi; int 0x80; pop rbx; ret
    DISGUISES.append(
        (
            "the way of 32-bit programs",
            "container-escape/user-namespace-made",
            "import mmap\ncode = mmap.mmap(-1, 4096, 0x22, 7)\n"
            f"code.write(bytes.fromhex('{OLD}'))\n"
            "at = ctypes.addressof(ctypes.c_char.from_buffer(code))\n"
            "call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_uint)(at)\n"
            "unshare, new_user = 310, 0x10000000\ncheck(call(unshare, new_user))",
        )
    )


def test_no_disguise_of_a_file_or_a_program_escapes_the_rules(
    watch: Any, quiet: Path, tmp_path: Path
) -> None:
    rules = chosen(["sensitive-files", "container-escape", "execution", "persistence"])
    for each in rules:
        each.deduplicate_ms = 0
    watch.begin(*rules)
    for number, (name, expected, code) in enumerate(DISGUISES):
        folder = tmp_path / str(number)
        (folder / "etc").mkdir(parents=True)
        (folder / "etc/shadow").write_text("x")
        before = len(watch.told.came)
        watch.act(quiet, LIBC + code, folder)
        watch.running.call(watch.running._local._look)
        told = {each.rule for _, each in watch.told.came[before:]}
        assert expected in told, name


def test_what_a_name_is_made_of_stays_in_its_place_in_an_alert(
    watch: Any, quiet: Path, tmp_path: Path
) -> None:
    watch.begin()
    for number, name in enumerate(EVIL):
        folder = os.fsencode(tmp_path / str(number)) + b"/" + name
        os.makedirs(folder)
        Path(os.fsdecode(folder), "secret").write_text("x")
        code = "libc.prctl(15, os.fsencode(sys.argv[2]), 0, 0, 0); read('secret')"
        watch.act(quiet, LIBC + code, folder, name)
    watch.wait(lambda: len(watch.of(quiet)) == len(EVIL))
    for name, alert in zip(EVIL, watch.of(quiet), strict=True):
        assert alert.message.isprintable()
        row = json.loads(alert.evidence)
        assert alert.evidence.isascii()
        assert alert.evidence.isprintable()
        assert row["comm"] == alert.comm == name[:15].decode(errors="backslashreplace")
        assert row["path"].endswith(f"/{name.decode(errors='backslashreplace')}/secret")
        assert len(alert.evidence) <= 4096
        assert len(alert.message) <= 1024
