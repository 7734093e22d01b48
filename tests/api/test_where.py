# SPDX-License-Identifier: Apache-2.0
"""What may be written in a `where`, and what a user reads about what may not."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eunomia_api.tracker import CatalogueColumn
from eunomia_api.where import Expression, WhereInvalid, parse
from eunomia_api.where.literal import nanoseconds, text


def column(name: str, type_: str, json_type: str, *values: str, unit: str = "") -> CatalogueColumn:
    return CatalogueColumn.model_validate(
        {"name": name, "type": type_, "json_type": json_type, "values": values, "unit": unit}
    )


COLUMNS = [
    column("time", "boot_ns_t", "string"),
    column("pid", "tgid_t", "integer"),
    column("comm", "comm_t", "string"),
    column("kind", "enum kind", "string", "exec", "exit"),
    column("modes", "enum modes", "string", "read", "write"),
    column("error", "errno_t", "string"),
    column("signal", "signal_t", "string"),
    column("duration", "duration_t", "integer", unit="ns"),
    column("failed", "bool", "boolean"),
    column("load", "percent_t", "number"),
    column("path", "path_t", "string"),
    column("args", "args_t", "array"),
    column("slots", "log2_t[]", "array"),
]
NAMES = (
    "pid, comm, kind, modes, error, signal, duration, failed, load, path, args, slots, "
    "namespace, pod, pod_uid, container, container_id, image, node, kubernetes_api, labels"
)


def refusal(written: str) -> str:
    with pytest.raises(WhereInvalid) as refused:
        parse(written, COLUMNS)
    return str(refused.value)


@pytest.mark.parametrize(
    "written",
    [
        "pid == 1",
        "pid == 0x10 || pid == 16u || pid < 1.5e3",
        "pid > -9223372036854775808",
        "-pid < -(5 - pid) * 3 / 2 % 7",
        "failed",
        "!failed && failed == true",
        'error == "" || error != "ENOENT"',
        'error == "1234"',
        'modes == "read|write" || modes == "read|0x10"',
        'signal in ["SIGKILL", "SIGRTMIN+1", ]',
        'duration > duration("1.5ms") && duration > 1000',
        'duration - 5 < duration("1h30m") + duration("-1ns")',
        "duration / 1000 > pid",
        'path.startsWith("/etc/") || path.endsWith(".so") || path.contains("..")',
        'path.matches("^/proc/[0-9]+/stat$") && matches(comm, "a|b")',
        'size(path) > 3 && args.size() == 2 && size("é") == 1',
        '"-c" in args && 7 in slots && args[0] == "sh"',
        'args.exists(a, a.startsWith("-")) && slots.all(s, s < 1000)',
        'args == ["sh", "-c"]',
        'string(pid) == "1" && int(comm) == 1 && double(pid) > load && int(load) == 1',
        '(pid > 5 ? comm : path) == "x"',
        'namespace == "shop" && pod.startsWith("cart-") && container_id != "" && node < container',
        "path == r'\\d' || path == '''it's''' || path == \"\"\"a\n\"b\" \"\"\"",
        "pid == 1 // the first process",
        "pid in []",
        "true",
        'pod_uid == "4f2e" && labels["app.kubernetes.io/name"].startsWith("web")',
        '"app" in labels && labels.app == "web" || comm in labels && labels[comm] != ""',
        "size(labels) > 2 && (failed ? labels : labels) == labels",
        'args.exists(labels, labels == "-x")',
    ],
)
def test_what_may_be_written(written: str) -> None:
    assert isinstance(parse(written, COLUMNS), Expression)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        # names
        ('pth == ""', f'at character 1: no column "pth"; did you mean path?; there are {NAMES}'),
        ('Pid == ""', f'at character 1: no column "Pid"; did you mean pid?; there are {NAMES}'),
        ("pid == xyz", f'at character 8: no column "xyz"; there are {NAMES}'),
        ('time > ""', 'at character 1: "time" is a date, and cannot be asked for'),
        (
            "path.foo == 1",
            'at character 6: nothing has a field "foo"; there are the functions '
            "startsWith, endsWith, contains, matches, size, exists, all",
        ),
        (
            'path.startWith("/")',
            'at character 6: no function "startWith"; there are '
            "startsWith, endsWith, contains, matches, size",
        ),
        (
            'startsWith(path, "/")',
            'at character 1: no function "startsWith"; write it behind a value, as in '
            "x.startsWith(…)",
        ),
        ("pid.int() == 1", 'at character 5: no function "int"; write int(x)'),
        # syntax
        ("pid = 1", "at character 5: '=' cannot stand here; to compare, write =="),
        ("failed & failed", "at character 8: '&' cannot stand here; write &&"),
        ("failed | failed", "at character 8: '|' cannot stand here; write ||"),
        (
            "pid == ",
            "at character 7: it ends too early; there should be a column, a value or (",
        ),
        ("(pid == 1", "at character 10: it ends too early; there should be )"),
        ("pid == 1)", "at character 9: ')' cannot stand here; there should be the end"),
        (
            "pid == 1ms",
            "at character 9: 'ms' cannot stand here; there should be an operator or the end",
        ),
        ('comm == "a', 'at character 9: the text that begins with " is not closed'),
        (
            'path == "\\d"',
            'at character 9: there is no escape \\d; for a backslash write \\\\, or r"…"',
        ),
        ('path == "\\ud800"', "at character 9: \\ud800 is no character"),
        ("pid == 9223372036854775808", "at character 8: an int is at most 9223372036854775807"),
        ("pid == 18446744073709551616u", "at character 8: a uint is at most 18446744073709551615"),
        ("load < 1e999", "at character 8: a double is at most 1.7976931348623157e+308"),
        ('path == "\udcff"', "at character 10: it holds what no text in UTF-8 can hold"),
        ("  ", "at character 1: it is empty"),
        # types
        ("pid", "at character 1: it must be true or false, and is an int; compare it"),
        (
            "duration",
            "at character 1: it must be true or false, and is an int of nanoseconds; compare it",
        ),
        ("failed && comm", "at character 11: && takes a bool, and this is a string; compare it"),
        ("pid || failed", "at character 1: || takes a bool, and this is an int; compare it"),
        ("!pid", "at character 2: ! takes a bool, and this is an int; compare it"),
        ("-failed == 1", "at character 1: - cannot be put before a bool"),
        ('pid == "1"', "at character 5: == cannot compare an int with a string"),
        ("args < args", "at character 6: < cannot compare a list(string) with a list(string)"),
        (
            'pid < duration("1s")',
            "at character 5: < cannot compare an int with a duration",
        ),
        (
            "pid + 1.5 > 2.0",
            "at character 5: + is not defined for an int and a double; "
            "convert one by int() or double()",
        ),
        ("load % 2.0 == 0.0", "at character 6: % is not defined for a double and a double"),
        (
            '(pid > 1 ? comm : 2) == "x"',
            "at character 19: both outcomes must be of one type: string, and this is an int",
        ),
        (
            '"x" in path',
            "at character 8: in takes a list, as in [1, 2], and this is a string; "
            'use contains, as in path.contains("x")',
        ),
        ("pid in args", "at character 5: in cannot find an int in a list(string)"),
        (
            'pid in [1, "a"]',
            "at character 12: all in a list must be of one type: int, and this is a string",
        ),
        ("pid[0] == 1", "at character 1: an int has no elements"),
        ('args[pid] == ""', "at character 6: an element is named by a number, as in args[0]"),
        # labels
        ('label["app"] == ""', 'at character 1: no column "label"; did you mean labels?; there'),
        (
            "labels",
            "at character 1: it must be true or false, and is a map(string, string); compare it",
        ),
        (
            'labels == "web"',
            "at character 8: == cannot compare a map(string, string) with a string",
        ),
        ("labels < labels", "at character 8: < cannot compare a map(string, string) with a map"),
        (
            'labels[0] == "web"',
            'at character 8: a label is named by a text, as in labels["app"], and this is an int',
        ),
        ("labels.app == 1", "at character 12: == cannot compare a string with an int"),
        ("1 in labels", "at character 3: in cannot find an int in a map(string, string)"),
        (
            "failed || labels in [labels]",
            "at character 22: a list cannot hold all labels; a label is named by a text, as in "
            'labels["app"]',
        ),
        (
            'labels.contains("app")',
            "at character 1: contains takes a string, and this is a map(string, string)",
        ),
        (
            'labels.exists(a, a == "app")',
            "at character 1: exists takes a list, and this is a map(string, string)",
        ),
        ('pod_uid.app == ""', 'at character 9: nothing has a field "app"; there'),
        ("size(pid) == 1", "at character 6: an int has no size; a string or a list has"),
        ("path.startsWith(1)", "at character 17: startsWith takes a string, and this is an int"),
        ("path.startsWith()", "at character 6: startsWith takes two values, and there are 1"),
        ("string(load) == path", "at character 8: string() cannot convert a double"),
        # values that cannot be
        (
            'kind == "exce"',
            'at character 9: kind is never "exce"; did you mean exec?; it can be exec, exit',
        ),
        ('"fork" != kind', 'at character 1: kind is never "fork"; it can be exec, exit'),
        (
            'error == "EWOULDBLOCK"',
            'at character 10: error is never "EWOULDBLOCK"; rows tell it as EAGAIN',
        ),
        (
            'signal in ["SIGHUP", "KILL"]',
            'at character 22: signal is never "KILL"; did you mean SIGKILL?',
        ),
        ('modes == "read|wirte"', 'at character 10: modes is never "read|wirte"; it can be '),
        # patterns and durations
        ('path.matches("(a")', "at character 14: the pattern is not one of RE2: missing ): (a"),
        ("path.matches(comm)", "at character 14: matches takes a pattern that is written in place"),
        (
            'path.matches(r"(a)\\1")',
            "at character 14: the pattern is not one of RE2: invalid escape sequence: \\1",
        ),
        (
            'duration > duration("1d")',
            "at character 21: '1d' is not a duration; write it like 100us, 5ms or 1m30s",
        ),
        ("duration > duration(1)", 'at character 21: duration takes a text, as in duration("5ms")'),
        # quantifiers
        (
            "args.exists(a)",
            'at character 6: exists takes a name and a condition, as in args.exists(a, a == "-x")',
        ),
        ("pid.all(a, true)", "at character 1: all takes a list, and this is an int"),
        (
            "args.exists(a, slots.all(b, b == 1))",
            "at character 22: all cannot stand within another one",
        ),
        (
            "args.exists(a, a)",
            "at character 16: exists takes a bool, and this is a string; compare it",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(written: str, message: str) -> None:
    assert refusal(written).startswith(message)


def test_of_several_lines_the_line_is_told() -> None:
    with pytest.raises(WhereInvalid) as refused:
        parse('pid == 1\n  && pth == ""', COLUMNS)
    assert refused.value.position == 14
    assert (refused.value.line, refused.value.column) == (2, 6)
    assert str(refused.value).startswith('at line 2, character 6: no column "pth"')


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("true || " * 300, "it is longer than 2048 characters"),
        ("!" * 1000 + "true", "it is nested more than 32 deep"),
        ("pid in [" + "1," * 800 + "]", "it has more than 256 parts"),
        ("+".join(["pid"] * 100) + " == 1", "it is nested more than 32 deep"),
        ("+".join(["path"] * 10) + ' == ""', "it joins more than 8 texts"),
        ('path.matches("' + "(a{100}){100}" * 20 + '")', "the pattern is not one of RE2"),
        ("-" * 2000, "it ends too early"),
        ('"' + "\\" * 1999, 'the text that begins with " is not closed'),
    ],
)
def test_what_is_too_large_is_refused_at_once(written: str, message: str) -> None:
    assert message in refusal(written)


SCRAPS = ["pid", "path", "args", "failed", "duration", "pod", "1", "0x", "5u", "1.5e3", "1e999"]
SCRAPS += ["9223372036854775808", "true", "in", "startsWith", "exists", "matches", "int", "size"]
SCRAPS += ['"x"', "r'", "\\", "\0", "\ud800", "é", "==", "!=", "&&", "||", "<=", '"""', "//"]
SCRAPS += list("()[].,?:!-+*/%<>=&|\"' \n")


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(SCRAPS), max_size=24).map("".join) | st.text(max_size=60))
def test_whatever_is_written_is_understood_or_refused_with_a_place_in_it(written: str) -> None:
    try:
        told = (parse(written, COLUMNS).root.position, "understood")
    except WhereInvalid as invalid:
        told = (invalid.position, str(invalid))
    assert 0 <= told[0] <= len(written)
    assert told[1] == "understood" or told[1].startswith("at ")
    assert "\n" not in told[1]


def test_parentheses_alone_are_no_depth() -> None:
    assert parse("(" * 500 + "failed" + ")" * 500, COLUMNS).columns == {"failed"}


def test_an_expression_tells_its_columns_and_conditions() -> None:
    found = parse('pid == 1 && (args.exists(a, a == comm) && pod == "x")', COLUMNS)
    assert found.columns == {"pid", "args", "comm"}
    assert [part.position for part in found.conjuncts] == [4, 18, 46]


def test_a_column_goes_before_a_word_for_the_owner() -> None:
    found = parse("pod > 5", [column("pod", "u32", "integer")])
    assert found.columns == {"pod"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r'"a\n\x41\u00e9\U0001F600\101\"\\\?"', 'a\nA\u00e9\U0001f600A"\\?'),
        (r"r'\n\'", r"\n" + "\\"),
        ('"""a"b"""', 'a"b'),
        ("''", ""),
    ],
)
def test_escapes_are_those_of_cel(written: str, value: str) -> None:
    assert text(written) == value


def test_durations_are_exact() -> None:
    assert nanoseconds("1h2m3.000000004s") == 3723 * 10**9 + 4
    assert nanoseconds("-1.5us") == -1500
    assert nanoseconds("0") == 0
    with pytest.raises(ValueError, match="too long"):
        nanoseconds("9" * 30 + "h")


def test_without_a_condition_no_parser_is_loaded() -> None:
    program = (
        "import sys, eunomia_api.where, eunomia_agent.jobs.tracing;"
        "assert not {'lark', 're2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


HIDDEN = [column("uid", "uid_t", "integer"), column("tid", "tid_t", "integer")]


@pytest.mark.parametrize(
    "written",
    ["uid == 0", "uid >= 1000 && pid == 1", "pid == 1 && (1 < tid && uid == 5)", "failed"],
)
def test_what_no_row_shows_may_be_compared_with_a_value(written: str) -> None:
    assert isinstance(parse(written, COLUMNS, HIDDEN), Expression)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("uid != 0", "uid"),
        ("uid == 0 || pid == 1", "uid"),
        ("uid == pid", "uid"),
        ("!(tid == 4)", "tid"),
        ("pid == 1 && (failed && uid in [0, 1])", "uid"),
    ],
)
def test_what_no_row_shows_can_be_asked_for_in_no_other_way(written: str, name: str) -> None:
    with pytest.raises(WhereInvalid, match=f"no row shows {name}: compare it with one value"):
        parse(written, COLUMNS, HIDDEN)
