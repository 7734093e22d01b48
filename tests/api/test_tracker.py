# SPDX-License-Identifier: Apache-2.0
"""Params and the catalogue, as the operator and the command line use them."""

import hashlib

import pytest

from eunomia_api.tracker import Catalogue, Param, TrackerDescription, canonical

BOOL = Param(type="bool", default=False, help="A switch.")
NUMBER = Param(type="int", default=5, min=-1, max=10, help="A number.")
TEXT = Param(type="string", default="", max_length=4, help="A text.")


@pytest.mark.parametrize(
    ("param", "value"), [(BOOL, True), (NUMBER, -1), (NUMBER, 10), (TEXT, ""), (TEXT, "éé")]
)
def test_a_value_within_the_bounds_is_taken(param: Param, value: bool | int | str) -> None:
    assert param.check(value) is value


@pytest.mark.parametrize(
    ("param", "value", "reason"),
    [
        (BOOL, 1, "must be true or false, not 1"),
        (BOOL, "true", "must be true or false, not 'true'"),
        (NUMBER, True, "must be a whole number from -1 to 10, not True"),
        (NUMBER, 11, "must be a whole number from -1 to 10, not 11"),
        (NUMBER, 2**70, f"must be a whole number from -1 to 10, not {2**70}"),
        (NUMBER, 1.0, "must be a whole number from -1 to 10, not 1.0"),
        (NUMBER, None, "must be a whole number from -1 to 10, not None"),
        (TEXT, "ééé", "must be a string of at most 4 bytes, not 6"),
        (TEXT, "a\0", "must not hold a NUL character"),
        (TEXT, "\ud800", "must be text that UTF-8 can hold"),
        (TEXT, ["x" * 1000], "must be a string of at most 4 bytes, not ['xxx"),
    ],
)
def test_any_other_value_is_refused_with_what_is_allowed(
    param: Param, value: object, reason: str
) -> None:
    with pytest.raises(ValueError, match="must ") as failure:
        param.check(value)

    assert str(failure.value).startswith(reason)
    assert len(str(failure.value)) < 120


def test_params_of_a_job_are_filled_up_with_defaults_or_refused_by_name() -> None:
    tracker = TrackerDescription(name="t", help="T.", params={"on": BOOL, "many": NUMBER})

    assert tracker.check_params({"many": 7}) == {"on": False, "many": 7}
    with pytest.raises(ValueError, match="'few' is no param of t; there are: on, many"):
        tracker.check_params({"few": 7})
    with pytest.raises(ValueError, match="many must be a whole number from -1 to 10, not 99"):
        tracker.check_params({"many": 99})


@pytest.fixture
def catalogue() -> Catalogue:
    try:
        return Catalogue.load()
    except FileNotFoundError:
        pytest.skip("needs the catalogue that the build writes")


def test_the_catalogue_knows_each_trackers_columns_with_their_types(catalogue: Catalogue) -> None:
    opensnoop = catalogue.tracker("opensnoop")

    rows = {row.name: (row.type, row.json_type) for row in opensnoop.rows}
    assert rows == {
        "time": ("boot_ns_t", "string"),
        "pid": ("tgid_t", "integer"),
        "tid": ("tid_t", "integer"),
        "uid": ("uid_t", "integer"),
        "comm": ("comm_t", "string"),
        "fd": ("fd_t", "integer"),
        "error": ("errno_t", "string"),
        "flags": ("open_flags_t", "string"),
        "mode": ("file_mode_t", "string"),
        "path": ("path_t", "string"),
    }
    (kind,) = (row for row in catalogue.tracker("process").rows if row.name == "kind")
    assert {"exec", "exit"} <= set(kind.values)
    with pytest.raises(KeyError, match=r"no tracker 'nosuch'; there are: .*opensnoop, .*process"):
        catalogue.tracker("nosuch")


def test_the_hash_is_that_of_the_trackers(catalogue: Catalogue) -> None:
    assert catalogue.hash == hashlib.sha256(canonical(catalogue.trackers)).hexdigest()
