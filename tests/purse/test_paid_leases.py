"""Leases that are paid for, on bad networks and bad ledgers: nobody relies on more than is paid."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from msgspec.structs import replace
from paying_fleet import CPU, LEASES, RICH, PayingFleet

from shivya_daemon.core.leases.kinds import price
from shivya_daemon.core.leases.leases import LeaseRefused
from shivya_daemon.ledgers.credits import Transfer, advance, fee
from shivya_daemon.purse.payments import MARGIN

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time


def value(amount: int, seconds: int) -> int:
    """What a node pays that has its free tenth of a quota of 4000."""
    return price(CPU, amount - 400, seconds)


def test_a_term_is_reserved_first_and_what_was_used_is_posted() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    lease = fleet.allocate(holder, 4000, 60)
    view = fleet.becomes(holder, lease, "held")
    whole = value(4000, 60)
    assert (view.provider, view.price) == (provider.id, whole) and view.payment is not None
    assert fleet.account(holder).debits_pending == whole + fee(whole)
    fleet.run(20.0)
    holder.leases.release(lease, fleet.net.clock(holder))
    assert fleet.until(lambda: fleet.account(provider).credits_posted > RICH)
    paid = fleet.account(provider).credits_posted - RICH
    assert value(4000, 20) <= paid <= value(4000, 23) and paid < whole
    fleet.run(1.0)
    assert fleet.account(holder).balance == RICH - paid - fee(paid)
    assert fleet.account(holder).debits_pending == 0 and not fleet.ledger.read().reservations
    reputation = fleet.ledger.read().reputation(provider.identity.public_key)
    assert reputation.delivery > 500_000_000, "it kept its word"


def test_what_is_free_costs_nothing() -> None:
    fleet = PayingFleet(2, poor=1)
    holder = fleet.nodes[0]
    fleet.allocate(holder, 3600, 900)
    lease = fleet.becomes(holder, fleet.allocate(holder, 400), "held")
    assert (lease.price, lease.payment) == (0, None)
    assert fleet.becomes(holder, fleet.allocate(holder, 400), "held").provider == holder.id


def test_who_cannot_pay_is_told_so_and_holds_nothing() -> None:
    fleet = PayingFleet(2, poor=1)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    view = fleet.becomes(holder, fleet.allocate(holder, 4000), "refused")
    assert "wants credits, and the balance is less than amount and fee" in view.reason
    assert fleet.until(lambda: provider.leases.taken(CPU) == 0)


def test_who_has_no_ledger_is_not_lent_to_beyond_its_free_part() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    holder.leases._settings = holder.leases._borrower._settings = replace(LEASES, credits=False)
    fleet.allocate(holder, 3600, 900)
    view = fleet.becomes(holder, fleet.allocate(holder, 4000), "refused")
    assert "see [credits]" in view.reason
    assert fleet.until(lambda: provider.leases.taken(CPU) == 0)


def test_a_holder_that_does_not_pay_is_not_lent_to() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    lease = fleet.allocate(holder, 4000)
    now = fleet.net.clock(holder)
    assert fleet.until(lambda: bool(holder.leases._borrower.claims[lease].charged))
    holder.leases.paid(lease, provider.id, 0, b"\x07" * 16, True, now)  # a lie
    fleet.net.wake(holder)
    view = fleet.becomes(holder, lease, "refused")
    assert "unpaid" in view.reason and provider.leases.taken(CPU) == 0


def test_a_renewal_is_paid_anew_and_the_term_before_settled() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    lease = fleet.allocate(holder, 4000, 30)
    first = fleet.becomes(holder, lease, "held").payment
    fleet.run(10.0)
    holder.leases.renew(lease, 40, fleet.net.clock(holder))
    fleet.net.wake(holder)
    assert fleet.until(lambda: not fleet.claim(holder, lease).renewing)
    view = fleet.claim(holder, lease)
    assert view.payment != first and 35 < view.seconds_left <= 40
    assert fleet.until(lambda: len(fleet.ledger.read().reservations) == 1)
    paid = fleet.account(provider).credits_posted - RICH
    assert value(4000, 10) <= paid <= value(4000, 13)
    fleet.becomes(holder, lease, "over", 60.0)
    assert fleet.until(lambda: not fleet.ledger.read().reservations)
    total = fleet.account(provider).credits_posted - RICH
    assert value(4000, 50) <= total <= value(4000, 55)


def test_a_renewal_that_cannot_be_paid_says_so_and_the_term_goes_on() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    lease = fleet.allocate(holder, 4000, 30)
    fleet.becomes(holder, lease, "held")
    rest = fleet.account(holder).available - fleet.account(holder).available // 1000 - 1
    account = fleet.payments[holder.id]._purse.account  # type: ignore[attr-defined]
    account.do(b"\x01" * 16, Transfer(provider.identity.public_key, rest))
    holder.leases.renew(lease, 2_000_000, fleet.net.clock(holder))
    with pytest.raises(LeaseRefused, match="another renewal"):
        holder.leases.renew(lease, 40, fleet.net.clock(holder))
    fleet.net.wake(holder)
    assert fleet.until(lambda: not fleet.claim(holder, lease).renewing)
    view = fleet.claim(holder, lease)
    assert view.state == "held" and view.seconds_left <= 30
    assert view.reason == "not renewed: the balance is less than amount and fee"


def test_a_provider_that_leaves_posts_what_was_used() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    lease = fleet.allocate(holder, 4000, 60)
    fleet.becomes(holder, lease, "held")
    fleet.run(5.0)
    provider.leave(fleet.net.clock(provider))
    fleet.hear(provider, provider.events())
    fleet.becomes(holder, lease, "over")
    assert fleet.until(lambda: not fleet.ledger.read().reservations)
    assert value(4000, 5) <= fleet.account(provider).credits_posted - RICH <= value(4000, 8)


def test_a_killed_provider_takes_up_what_is_paid_and_posts_all_of_it() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    lease = fleet.allocate(holder, 4000, 60)
    fleet.becomes(holder, lease, "held")
    fleet.run(5.0)
    fleet.net.crash(provider)
    fleet.net.restart(provider)
    fleet.begin(provider)
    fleet.run(20.0)
    fleet.payments[provider.id].look()  # what is lent is not taken for an orphan
    fleet.run(5.0)
    assert fleet.claim(holder, lease).state == "held"
    holder.leases.release(lease, fleet.net.clock(holder))
    assert fleet.until(lambda: not fleet.ledger.read().reservations)
    paid = fleet.account(provider).credits_posted - RICH
    assert value(4000, 30) <= paid <= value(4000, 34), "from its beginning, not from the restart"


def test_what_a_killed_provider_left_reserved_is_freed_when_it_is_back_and_counts_against_it() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)
    lease = fleet.allocate(holder, 4000, 3600)
    fleet.becomes(holder, lease, "held")
    fleet.net.crash(provider)
    assert fleet.becomes(holder, lease, "over").reason == "silent"
    fleet.run(1.0)
    assert fleet.ledger.read().reputation(provider.identity.public_key).delivery < 500_000_000
    fleet.run(10.0)
    assert len(fleet.ledger.read().reservations) == 1
    fleet.net.restart(provider)
    fleet.begin(provider)
    fleet.run(10.0)
    fleet.payments[provider.id].look()
    assert fleet.until(lambda: not fleet.ledger.read().reservations)
    assert fleet.account(holder).available == fleet.account(holder).balance == RICH


def test_a_ledger_out_of_reach_lends_nothing_and_locks_nothing_for_good() -> None:
    fleet = PayingFleet(2)
    holder, provider = fleet.nodes
    fleet.allocate(holder, 3600, 900)

    def last_word() -> str:
        fleet.ledger.dark = True
        return "unanswered"  # reserved, and nobody hears of it

    fleet.ledger.mood = last_word
    view = fleet.becomes(holder, fleet.allocate(holder, 4000), "refused")
    assert "wants credits, and the ledger cannot be reached in time" in view.reason
    assert len(fleet.ledger.state.reservations) == 1
    fleet.ledger.dark, fleet.ledger.mood = False, lambda: "well"
    holder.leases._borrower._bid_farewell(provider.id, view.id, fleet.net.clock(holder))
    fleet.net.wake(holder)
    assert fleet.until(lambda: not fleet.ledger.read().reservations, 60.0), "its provider voids it"
    assert fleet.until(lambda: provider.leases.taken(CPU) == 0)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_nobody_relies_on_what_is_not_paid_and_all_is_settled_once(seed: int) -> None:
    fate = random.Random(seed)
    fleet = PayingFleet(4, seed=seed, loss=0.15, duplicate=0.1, reorder=0.1, delay=(0.001, 0.03))
    fleet.delay = 0.5
    fleet.ledger.mood = lambda: fate.choice(("well", "well", "well", "lost", "unanswered"))
    for _ in range(40):
        node = fate.choice(fleet.nodes)
        up = fleet.net.up(node)
        match fate.choice("aaaaarrnnphc"):
            case "a" if up:
                fleet.allocate(node, fate.choice((500, 3600, 4000)), fate.choice((5, 30)))
            case "r" if up and (claims := fleet.claims(node, "held", "asking")):
                node.leases.release(fate.choice(claims).id, fleet.net.clock(node))
            case "n" if up and (claims := fleet.claims(node, "held")):
                with suppress(LeaseRefused):
                    node.leases.renew(fate.choice(claims).id, 20, fleet.net.clock(node))
            case "p":
                fleet.net.partition([fate.sample(fleet.nodes, 2)])
            case "h":
                fleet.net.heal()
            case "c" if up:
                fleet.net.crash(node)
            case _ if not up:
                fleet.net.restart(node)
                fleet.begin(node)
        fleet.run(fate.uniform(0.1, 1.5))
    assert fleet.looks > 2000
    fleet.ledger.mood = lambda: "well"
    fleet.net.heal()
    for node in fleet.nodes:
        if not fleet.net.up(node):
            fleet.net.restart(node)
            fleet.begin(node)
    fleet.run(20.0)
    for node in fleet.nodes:
        for view in fleet.claims(node, "held", "asking"):
            with suppress(LeaseRefused):
                node.leases.release(view.id, fleet.net.clock(node))
    fleet.run(30.0)
    for node in fleet.nodes:
        fleet.payments[node.id].look()
    assert [node.leases.taken(CPU) for node in fleet.nodes] == [0] * 4
    state = fleet.ledger.read()
    posted = [fleet.account(node) for node in fleet.nodes]
    assert sum(account.balance for account in posted) + state.pool.balance == state.minted
    assert not advance(state, state.now + 1000 * (MARGIN + 60)).reservations, "or it times out"
