# SPDX-License-Identifier: Apache-2.0
"""Objects that are not what they say: told in one sentence, and nothing else falls.

Whatever stands in a file is first read in a child: a crash of the child is a crash of the agent.
"""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eunomia_agent.cli import local
from eunomia_agent.kernel import elf
from eunomia_agent.trackers.accounting import Totals
from eunomia_agent.trackers.catalogue import OBJECTS
from eunomia_api import agent_pb2

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
A = Callable[..., Any]
NAMES = ("opensnoop", "syscall", "tcp")
WHOLE = {name: (OBJECTS / f"{name}.bpf.o").read_bytes() for name in NAMES}

# A child for each file: it tells what came of it, as the agent would.
READER = """
import os, sys, resource
from pathlib import Path
from eunomia_agent.errors import AgentError
from eunomia_agent.kernel.object import Object
from eunomia_agent.events.tally import result_layouts
from eunomia_agent.jobs.keys import Keys
from eunomia_agent.trackers.catalogue import Catalogue
from eunomia_agent.trackers.instance import Instance
from eunomia_agent.trackers.key import Key
from eunomia_agent.trackers.loading import Node
from eunomia_agent.kernel import features
features.probe()

folder, catalogue = Path(sys.argv[1]), Catalogue.load()
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
wide = Object.open(Path(sys.argv[2]) / "cgroups.bpf.o")
wide.load()
for line in sys.stdin:
    name = line.strip()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            print(f"crash {code}", flush=True)
        continue
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    tracker = catalogue.trackers[name]
    params = {param: found.default for param, found in tracker.params.items()}
    key = Key(name, tuple(sorted(params.items())), 1 << 20)
    try:
        instance = Instance.load(folder, tracker, key, Node(wide.map("targets")))
        instance.attach()
        list(instance.drain())
        list(instance.take())
        instance.accounts.all()
        told = "fine"
    except AgentError as error:
        first = str(error).partition(chr(10))[0]
        told = f"refused {type(error).__name__}: {first}"
    except BaseException as error:
        import traceback
        told = "raised " + " ".join(traceback.format_exc().splitlines()[-3:])
    sys.stdout.buffer.write(ascii(told)[1:-1].encode() + bytes([10]))
    sys.stdout.flush()
    os._exit(0)
"""


class Reader:
    """Loads whatever stands in a file, in a child each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, folder, OBJECTS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def read(self, name: str, data: bytes) -> str:
        (self._folder / f"{name}.bpf.o").write_bytes(data)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip("\n")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("objects"))
    for name in NAMES:
        assert reader.read(name, WHOLE[name]) == "fine"
    yield reader
    reader.close()


def boundaries(data: bytes) -> list[int]:
    """Where one thing ends in an object and another begins, and one byte before and after."""
    table, count = struct.unpack_from("=Q", data, 40)[0], struct.unpack_from("=H", data, 60)[0]
    places = {0, 1, 4, 16, elf.HEADER.size, table, len(data) - 1}
    for number in range(count):
        places.add(table + number * elf.SECTION.size)
        _, _, _, _, offset, size, *_ = elf.SECTION.unpack_from(
            data, table + number * elf.SECTION.size
        )
        places |= {offset, offset + size}
    around = {place + step for place in places for step in (-1, 0, 1)}
    return sorted(place for place in around if 0 <= place < len(data))


def test_an_object_that_is_cut_off_anywhere_is_refused(reader: Reader) -> None:
    for name in NAMES[:1]:
        for place in boundaries(WHOLE[name]):
            told = reader.read(name, WHOLE[name][:place])
            assert told.startswith("refused ObjectInvalid: "), (place, told)


def place_of(data: bytes, wanted: str) -> tuple[int, int]:
    """Offset and size of a section, or of another part."""
    table = struct.unpack_from("=Q", data, 40)[0]
    parts = {"whole": (0, len(data)), "head": (0, 64), "table": (table, len(data) - table)}
    found = {name: (header[4], header[5]) for name, header in elf._sections(data)}
    return (parts | found)[wanted]


PARTS = ("whole", "head", "table", ".BTF", ".BTF.ext", ".maps", ".symtab")
SPOILT = st.tuples(st.integers(0, 2**20), st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xFF]))
PATIENT = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=int(os.environ.get("EUNOMIA_EXAMPLES", "25")), **PATIENT)
@given(
    name=st.sampled_from(NAMES),
    part=st.sampled_from(PARTS),
    flips=st.lists(SPOILT, min_size=1, max_size=4),
)
def test_flipped_bytes_anywhere_do_no_harm(
    reader: Reader, name: str, part: str, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE[name])
    start, size = place_of(bytes(data), part)
    for place, byte in flips:
        data[start + place % size] = byte
    told = reader.read(name, bytes(data))
    assert told == "fine" or told.startswith("refused "), told


def types(btf: bytes) -> Iterator[int]:
    """Where each type begins in the content of .BTF: Documentation/bpf/btf.rst."""
    _, _, _, head, start, size, _, _ = struct.unpack_from("=HBBIIIII", btf)
    at, end = head + start, head + start + size
    while at < end:
        yield at
        kind, count = struct.unpack_from("=I", btf, at + 4)[0] >> 24 & 0x1F, 0
        count = struct.unpack_from("=H", btf, at + 4)[0]
        more = {1: 4, 3: 12, 4: 12 * count, 5: 12 * count, 6: 8 * count, 13: 8 * count}
        more |= {14: 4, 15: 12 * count, 17: 4, 19: 12 * count}
        at += 12 + more.get(kind, 0)


@settings(max_examples=int(os.environ.get("EUNOMIA_EXAMPLES", "30")), **PATIENT)
@given(
    name=st.sampled_from(NAMES),
    number=st.integers(1, 10**6),
    word=st.integers(0, 5),
    lie=st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, "itself", "the last"]),
)
def test_types_that_lie_do_no_harm(
    reader: Reader, name: str, number: int, word: int, lie: int | str
) -> None:
    data = bytearray(WHOLE[name])
    start, size = place_of(bytes(data), ".BTF")
    places = list(types(bytes(data[start : start + size])))
    number = number % len(places)
    value = {"itself": number + 1, "the last": len(places)}.get(str(lie), lie)
    struct.pack_into("=I", data, start + places[number] + 4 * word, value)
    told = reader.read(name, bytes(data))
    assert told == "fine" or told.startswith("refused "), told


def without_types(data: bytes, folder: Path) -> bytes:
    path = folder / "bare.o"
    path.write_bytes(data)
    strip = shutil.which("llvm-objcopy") or shutil.which("llvm-objcopy-14")
    if strip is None:
        pytest.skip("needs llvm-objcopy")
    subprocess.run([strip, "-R", ".BTF", "-R", ".BTF.ext", path], check=True)
    return path.read_bytes()


def for_another_machine(target: str, folder: Path) -> bytes:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("needs clang")
    path = folder / "other.o"
    command = [clang, "-O2", "-g", "-target", target, "-x", "c", "-c", "-", "-o", path]
    subprocess.run(command, input=b"int one(void) { return 1; }", check=True)
    return path.read_bytes()


SPOIL: dict[str, tuple[Callable[[bytes, Path], bytes], str]] = {
    "no types": (without_types, "has no section .BTF; compile it with clang -g"),
    "big-endian": (
        lambda _, folder: for_another_machine("bpfeb", folder),
        "not a 64-bit little-endian ELF file",
    ),
    "a program of this machine": (
        lambda _, folder: for_another_machine("x86_64-linux-gnu", folder),
        "made for machine 62 of the ELF numbering, not for BPF",
    ),
    "a program of another machine": (
        lambda _, folder: for_another_machine("aarch64-linux-gnu", folder),
        "made for machine 183 of the ELF numbering, not for BPF",
    ),
    "another tracker": (lambda *_: WHOLE["syscall"], "opensnoop has no variable "),
    "nothing": (lambda *_: b"", "not an ELF file"),
    "half": (lambda data, _: data[: len(data) // 2], "is cut off"),
}


@pytest.mark.parametrize("what", SPOIL)
def test_a_job_whose_object_is_broken_says_so_and_others_go_on(
    machine: A, job: A, loads: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    spoil, reason = SPOIL[what]
    folder = Path(shutil.copytree(OBJECTS, tmp_path / "objects"))
    (folder / "opensnoop.bpf.o").write_bytes(spoil(WHOLE["opensnoop"], tmp_path))
    monkeypatch.setattr(local, "OBJECTS", folder)
    good = job("good", trackers=[agent_pb2.Tracker(name="process")])
    running = machine(good, job("bad"))

    told = running.standing.reports["bad"]
    assert (told.state, told.reason) == (agent_pb2.JOB_STATE_FAILED, "TrackerFailed")
    assert reason in told.message
    before = running.total("good").delivered
    loads.run("opens", 1, "/none/")
    running.wait(lambda: running.total("good").delivered > before)
    assert running.end().totals["bad"].trackers.get("opensnoop", Totals()) == Totals()
