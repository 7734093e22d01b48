# SPDX-License-Identifier: Apache-2.0
"""A SeccompProfile's name, file and versions."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eunomia_api import agent_pb2
from eunomia_api.profile import allowed_names, digest
from eunomia_api.seccomp import SeccompProfile, SeccompProfileSpec, SeccompProfileStatus
from eunomia_api.selector import LabelSelector
from eunomia_operator.admission.binding import PROFILE_LABEL
from eunomia_operator.learned import profile
from eunomia_operator.learned.profile import MOST_BYTES, Kept, Spread

DNS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]{1,60}){0,2}", fullmatch=True)
CONTAINER = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
NOW = 1767225600.0
SPEC = SeccompProfileSpec(
    container="web", architectures=["SCMP_ARCH_X86_64"], syscalls=["read"], version="v1"
)


@given(policy=DNS, container=CONTAINER, taken=st.booleans())
def test_a_profile_has_a_name_that_a_pods_label_can_have(
    policy: str, container: str, taken: bool
) -> None:
    plain = profile.name_of(policy, container)
    name = profile.name_of(policy, container, [plain] if taken else [], "uid")
    assert (name == plain) is not taken or len(f"{policy}-{container}") > 63
    # The API server refuses a pod whose label has no value that a selector could ask for.
    LabelSelector.model_validate({"matchLabels": {PROFILE_LABEL: name}})


def test_two_policies_whose_names_run_together_have_two_profiles() -> None:
    one, other = profile.name_of("a-b", "c"), profile.name_of("a", "b-c", ["a-b-c"], "uid-a")
    assert one == "a-b-c"
    assert other.startswith("a-b-c-")
    long = ["p" * 70, "p" * 70 + "q"]
    assert len({profile.name_of(each, "c") for each in long}) == 2


def test_the_file_is_that_of_the_version_and_its_path_is_not() -> None:
    first = profile.file_of("shop", "guard-web", SPEC)
    second = profile.file_of(
        "shop", "guard-web", SPEC.model_copy(update={"syscalls": ["openat", "read"]})
    )
    assert first.path == second.path == "eunomia/shop/guard-web.json"
    assert first.sha256 == digest(first.content) != second.sha256


def file(path: str, size: int) -> agent_pb2.SeccompFile:
    return agent_pb2.SeccompFile(path=path, content=bytes(size))


def test_a_namespace_that_fills_the_room_pushes_nobody_else_out() -> None:
    size = MOST_BYTES // 10
    many = {("bank", f"p{number:02}"): size for number in range(20)}
    few = {("shop", "web"): size, ("shop", "db"): size, ("zoo", "gate"): size}
    own = {("eunomia", f"cluster-{number}"): size for number in range(3)}
    whole = {key: file("/".join(key), each) for key, each in (many | few | own).items()}
    fitting = profile.fitting(whole, "eunomia")
    assert [each.path for each in fitting] == [
        "bank/p00",
        "bank/p01",
        "bank/p02",
        "eunomia/cluster-0",
        "eunomia/cluster-1",
        "eunomia/cluster-2",
        "shop/db",
        "shop/web",
        "zoo/gate",
    ]


def test_the_operators_own_profiles_find_room_before_any_other() -> None:
    size = MOST_BYTES // 4
    whole = {
        (namespace, "p"): file(namespace, size)
        for namespace in ("a", "b", "c", "d", "eunomia", "z")
    }
    whole["eunomia", "q"] = file("eunomia-q", size)
    found = [each.path for each in profile.fitting(whole, "eunomia")]
    assert found == ["a", "eunomia", "eunomia-q"]


def test_files_that_do_not_fit_a_message_are_left_out_and_say_so() -> None:
    size = MOST_BYTES // 3
    files = {("shop", f"{number}"): file(f"{number}", size) for number in reversed(range(4))}
    assert [each.path for each in profile.fitting(files, "eunomia")] == ["0", "1"]
    status = profile.judge(
        SeccompProfileStatus(),
        SPEC,
        files["shop", "3"],
        Spread(nodes=1, ready=0, no_room=True),
        generation=1,
        now=NOW,
    )
    (ready,) = status.conditions
    assert (ready.status, ready.reason) == ("False", "TooManyProfiles")


@pytest.mark.parametrize("call", ["clone3", "clone", "read", "futex"])
def test_what_is_answered_as_if_the_kernel_lacked_it_is_no_refusal(call: str) -> None:
    assert call in Kept("guard-web", SPEC, SeccompProfileStatus()).allowed


def test_without_nodes_no_profile_is_ready() -> None:
    file = profile.file_of("shop", "guard-web", SPEC)
    spread = Spread(nodes=0, ready=0)
    status = profile.judge(SeccompProfileStatus(), SPEC, file, spread, generation=1, now=NOW)
    assert (status.conditions[0].status, status.conditions[0].reason) == ("False", "Distributing")


def test_the_profile_that_the_page_shows_adds_to_what_runtimes_allow() -> None:
    page = Path(__file__).parents[2] / "docs/seccomp.md"
    own = page.read_text().split("### A profile of your own")[1]
    written = yaml.safe_load(own.split("```yaml\n")[1].split("```")[0])
    spec = SeccompProfile.model_validate(written).spec
    assert spec.binding is not None
    assert {"perf_event_open", "bpf", "openat"} <= allowed_names(profile.content(spec))
    namespace, name = written["metadata"]["namespace"], written["metadata"]["name"]
    assert f"localhostProfile: {profile.path_of(namespace, name)}" in own
