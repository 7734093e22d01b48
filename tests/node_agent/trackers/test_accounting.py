# SPDX-License-Identifier: Apache-2.0
import random
import time

from eunomia_agent.trackers.accounting import Account, Ledger, Totals


def test_rows_drained_after_the_accounts_were_read_count_as_matched() -> None:
    ledger = Ledger()
    ledger.read({7: Account(matched=10)})
    ledger.delivered = 12
    assert ledger.totals() == Totals(matched=12, delivered=12)


def test_an_event_in_flight_is_left_out_until_its_end_is_known() -> None:
    ledger = Ledger()
    ledger.read({7: Account(matched=10)})
    ledger.delivered = 9
    assert ledger.totals() == Totals(matched=9, delivered=9)
    ledger.read({7: Account(matched=10)})
    ledger.delivered = 10
    assert ledger.totals() == Totals(matched=10, delivered=10)


def test_an_event_that_vanished_without_a_word_breaks_the_identity() -> None:
    ledger = Ledger()
    ledger.read({7: Account(matched=10, lost=2)})
    ledger.delivered = 7
    ledger.rest()
    assert (ledger.totals().matched, ledger.totals().settled) == (10, 9)
    again = Ledger()
    again.read({7: Account(matched=10, lost=2)})
    again.delivered = 7
    again.read({7: Account(matched=10, lost=2)})
    assert (again.totals().matched, again.totals().settled) == (10, 9)


def test_a_cgroup_that_is_gone_is_counted_once() -> None:
    ledger = Ledger()
    ledger.read({7: Account(matched=3, limited=1), 8: Account(matched=5, lost=1)})
    ledger.fold(7, Account(matched=4, limited=2))
    ledger.delivered = 6
    assert ledger.totals() == Totals(matched=9, delivered=6, lost_kernel=1, limited=2)


def test_twenty_thousand_cgroups_that_go_at_once_hold_nobody_up() -> None:
    ledger = Ledger()
    ledger.read({cgroup: Account(matched=1) for cgroup in range(20_000)})
    began = time.process_time()
    for cgroup in range(20_000):
        ledger.fold(cgroup, Account(matched=1))
    assert time.process_time() - began < 1
    ledger.rest()
    assert ledger.totals().matched == 20_000


def test_what_earlier_runs_came_to_is_kept() -> None:
    ledger = Ledger(before=Totals(matched=100, delivered=99, lost_kernel=1))
    ledger.read({7: Account(matched=1)})
    ledger.delivered = 1
    assert ledger.totals() == Totals(matched=101, delivered=100, lost_kernel=1)


def test_totals_never_go_down_while_cgroups_come_and_go() -> None:
    chance = random.Random(4)
    ledger = Ledger()
    kernel: dict[int, Account] = {}
    made = 0
    last = Totals()
    for step in range(2000):
        cgroup = chance.randrange(6)
        if chance.random() < 0.2 and cgroup in kernel:
            ledger.fold(cgroup, kernel.pop(cgroup))
        else:
            lost, limited = chance.random() < 0.1, chance.random() < 0.1
            kernel[cgroup] = kernel.get(cgroup, Account()) + Account(
                matched=1, lost=int(lost and not limited), limited=int(limited)
            )
            made += 1
            ledger.delivered += not (lost or limited)
        if step % 7 == 0:
            ledger.read(kernel)
            ledger.rest()
            totals = ledger.totals()
            assert totals == Totals(
                made,
                ledger.delivered,
                totals.lost_kernel,
                0,
                totals.limited,
            )
            assert totals.matched == totals.settled
            for name in ("matched", "delivered", "lost_kernel", "limited"):
                assert getattr(totals, name) >= getattr(last, name)
            last = totals
