# SPDX-License-Identifier: Apache-2.0
"""A tracker that counts by stack, of the test's own: there is none in the catalogue yet."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from eunomia_agent.events.tally import result_layouts
from eunomia_agent.kernel.object import Object
from eunomia_agent.trackers.tables import Tables

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root"),
]
SOURCE = """
#include "eunomia.h"
struct stack_key;
#include "tally.h"
struct stack_key {
	struct tallied who;
	tgid_t pid;
	kernel_stack_t kernel_stack;
	user_stack_t user_stack;
	u32 pad;
};
enum { MAX_STACKS = 64 };
#include "stacks.h"

SEC("tp_btf/sys_enter")
int entered(u64 *arguments)
{
	struct match match = {};
	struct stack_key key = {.pid = bpf_get_current_pid_tgid() >> 32};

	if (arguments[1] != 39 || !match_current(&match)) /* getpid, on x86 */
		return 0;
	stack_add(arguments, &match, &key);
	return 0;
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="getpid has another number elsewhere")
def test_stacks_are_counted_and_told_by_their_addresses(
    compile_bpf: Callable[[str], Path],
) -> None:
    with Object.open(compile_bpf(SOURCE)) as loaded:
        assert list(result_layouts(loaded.btf)) == ["stacks"]
        loaded.load()
        instance = struct.pack("=2Q192Q", 1, 1, *[0] * 192)
        loaded.map("instance").update(bytes(4), instance)
        tables = Tables(loaded)
        loaded.attach()
        for _ in range(100):
            os.getpid()
        loaded.detach()
        batches = list(tables.take(jobs=1))
        left = list(loaded.map("stack_traces").items())

    rows = [
        dict(zip(("pid", "count", "kernel", "user"), values, strict=True))
        for batch in batches
        for values in zip(
            batch.fixed["pid"].tolist(),
            batch.fixed["count"].tolist(),
            map(json.loads, batch.json("kernel_stack")),
            map(json.loads, batch.json("user_stack")),
            strict=True,
        )
    ]
    mine = [row for row in rows if row["pid"] == os.getpid()]
    assert sum(row["count"] for row in mine) >= 100
    assert all(int(address, 16) >= 1 << 63 for row in mine for address in row["kernel"])
    assert all(0 < int(address, 16) < 1 << 47 for row in mine for address in row["user"])
    assert all(row["kernel"] and row["user"] for row in mine)
    assert left == [], "a stack that no row names any more makes room"
