# SPDX-License-Identifier: Apache-2.0
"""A tracker's description and its object, held against each other."""

import re
from pathlib import Path

import pytest
import yaml

from eunomia_agent.kernel import elf
from eunomia_agent.kernel.btf import Btf
from eunomia_agent.trackers import description
from eunomia_agent.trackers.description import DescriptionError

OBJECTS = Path(description.__file__).parents[1] / "objects"
OPENSNOOP = """\
name: opensnoop
help: Files.
params:
  failedOnly: {type: bool, default: false, help: Failed ones.}
  flags: {variable: flag_mask, type: int, default: 0, min: 0, max: 3, help: Flags.}
  prefix:
    type: string
    default: ""
    maxLength: 63
    help: Prefix.
columns:
  fd: {help: Descriptor.}
  error: {help: Error.}
  flags: {help: Flags.}
  mode: {help: Mode.}
  path: {help: Path.}
metrics:
  eunomia_observed_opens:
    kind: counter
    labels: [comm, error]
    help: Opens.
requires:
  hooks: [tp_btf/sys_exit]
"""


@pytest.fixture(scope="module")
def opensnoop() -> bytes:
    path = OBJECTS / "opensnoop.bpf.o"
    if not path.exists():
        pytest.skip("needs the objects that the build compiles")
    return path.read_bytes()


def reasons(tmp_path: Path, data: bytes, text: str) -> list[str]:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    try:
        found = description.load(path)
        description.check(found, Btf.of_object(data), elf.program_sections(data))
    except DescriptionError as error:
        return str(error).split("\n")
    return []


@pytest.mark.parametrize("path", sorted(OBJECTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_tracker_that_we_ship_agrees_with_its_object(path: Path) -> None:
    data = path.with_suffix(".bpf.o").read_bytes()
    found = description.load(path)

    description.check(found, Btf.of_object(data), elf.program_sections(data))

    assert found.tracker.name == path.stem
    catalogued = description.catalogued(found, Btf.of_object(data))
    if "events" in catalogued.sources:
        assert [row.name for row in catalogued.rows][:5] == ["time", "pid", "tid", "uid", "comm"]
    assert all(row.help for row in catalogued.rows)


def test_a_description_that_agrees_has_nothing_to_say(tmp_path: Path, opensnoop: bytes) -> None:
    assert reasons(tmp_path, opensnoop, OPENSNOOP) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("failedOnly:", "failOnly:", "t.yaml:4: param failOnly: no variable fail_only in C"),
        ("failedOnly:", "failOnly:", "t.yaml:3: variable failed_only in C has no param"),
        (
            "{type: bool, default: false, help: F",
            "{type: int, min: 0, max: 1, default: 0, help: F",
            "t.yaml:4: param failedOnly: is int here and something else in C",
        ),
        ("max: 3", "max: 2147483648", "t.yaml:5: param flags: min and max do not fit into int"),
        (
            "maxLength: 63",
            "maxLength: 64",
            "t.yaml:6: param prefix: maxLength must be at most 63, as in C",
        ),
        (
            "variable: flag_mask",
            "variable: failed_only",
            "t.yaml:5: param flags: variable failed_only is param failedOnly's already",
        ),
        ("  path: {", "  paths: {", "t.yaml:16: no column paths in struct event; there are: e"),
        ("  path: {", "  paths: {", "t.yaml:11: column path of struct event has no help"),
        ("[comm, error]", "[comm, jobs]", "t.yaml:20: label jobs: no such column"),
        (
            "kind: counter",
            "kind: counter\n    where: {kind: exec}",
            "t.yaml:20: where kind: no such column",
        ),
        (
            "[tp_btf/sys_exit]",
            "[kprobe/do_open]",
            "t.yaml:23: no program for kprobe/do_open; there are: fexit/do_sys_openat2, tp_btf/",
        ),
        (
            "requires:",
            "denies: {lsm/file_open: []}\nrequires:",
            "t.yaml:22: no program for lsm/file_open; there are: fexit/do_sys_openat2, tp_btf/",
        ),
        (
            "requires:",
            "denies: {tp_btf/sys_exit: []}\nrequires:",
            "t.yaml:22: tp_btf/sys_exit refuses nothing: only programs of lsm/",
        ),
        (
            "requires:",
            "denies: {tp_btf/sys_exit: [open]}\nrequires:",
            "t.yaml:22: no kind open; there are: none",
        ),
        ("help: Files.\n", "help: Files.\nhlep: x\n", "t.yaml:3: hlep: Extra inputs are not"),
        ("maxLength: 63", "maxLength: many", "t.yaml:9: params.prefix.maxLength: Input should be"),
        ("max: 3, ", "", "t.yaml:5: params.flags: Value error, an int needs min and max"),
        (
            "default: 0,",
            "default: 9,",
            "t.yaml:5: params.flags: Value error, must be a whole number from 0 to 3, not 9",
        ),
        ("name: opensnoop", "name: Open Snoop", "t.yaml:1: name: String should match pattern"),
        ("columns:", "params: {}\ncolumns:", "t.yaml:11: 'params' is no key, or is there twice"),
        ("help: Files.\n", "help: [Files.\n", "t.yaml:3: "),
        ("help: Files.\n", "", "t.yaml:1: help: Field required"),
        ("labels: [comm, error]", "labels: &a [*a]", "t.yaml:20: "),
    ],
)
def test_a_disagreement_is_told_with_its_file_and_line(
    tmp_path: Path, opensnoop: bytes, old: str, new: str, reason: str
) -> None:
    assert OPENSNOOP.count(old) == 1

    told = reasons(tmp_path, opensnoop, OPENSNOOP.replace(old, new))

    assert any(line.startswith(reason) for line in told), told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "\0",
        "a: &a [*a]",
        "{" * 2000,
        "x: " + "[" * 20_000,
        "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
        + "\n".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)),
        "name: 2024-13-45",
        "name: " + "9" * 5000,
        "name: !!int abc",
        "name: !!timestamp x",
        "name: !mine x",
        'name: !!python/name:os.system ""',
        'name: "\\ud800"',
        "\x1b[2J: x",
        '"\\x1b[2J": x',
        '"\\x1b[2J": x\n"\\x1b[2J": x',
        '? ["\\e[2J"]\n: x',
        "---\na: b\n---\nc: d",
        "x: " + "[" * 100 + "]" * 100,
        "a: &a [1,1,1,1]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]",
        "!!python/object/apply:os.system ['true']",
        "x" * 300_000,
        yaml.safe_dump({"name": ["x"] * 1000}),
    ],
)
def test_whatever_stands_in_the_file_one_clear_error_comes_back(
    tmp_path: Path, opensnoop: bytes, text: str
) -> None:
    told = reasons(tmp_path, opensnoop, text)

    assert told
    assert all(re.match(r"t\.yaml:[1-9]\d*: ", line) for line in told)
    assert all(line.isprintable() and len(line) < 400 for line in told)


def test_a_file_that_is_not_utf8_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(b"name: \xff")

    with pytest.raises(DescriptionError, match=r"t\.yaml:1: is not UTF-8"):
        description.load(path)
