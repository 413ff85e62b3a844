"""The iterative lookup: parallelism, retransmission, and that it always ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.frames import Peer
from shivya_daemon.core.lookup import ALPHA, ATTEMPTS, Lookup, Operation
from shivya_daemon.core.routing import distance

OWN = bytes(20)


def peer(number: int) -> Peer:
    return Peer(number.to_bytes(20, "big"), "10.0.0.1", number % 60000 + 1)


def start(target: int, known: list[int], width: int = 4) -> Lookup:
    lookup = Lookup(Operation(peer(target).id), OWN, interval=0.5, width=width, now=0.0)
    lookup.add(peer(n) for n in known)
    return lookup


def test_it_asks_the_nearest_first_and_at_most_alpha_at_once() -> None:
    lookup = start(0x100, [0x1, 0x102, 0x104, 0x108, 0x1000])
    assert lookup.requests(0.0) == [peer(0x102), peer(0x104), peer(0x108)]
    assert lookup.requests(0.1) == []
    lookup.answered(peer(0x104).id, ())
    assert lookup.requests(0.1) == [peer(0x1)]


def test_it_ends_at_once_when_the_target_answers() -> None:
    lookup = start(0x100, [0x102, 0x104])
    lookup.requests(0.0)
    lookup.answered(peer(0x102).id, [peer(0x100)])
    assert lookup.requests(0.1) == [peer(0x100)]
    lookup.answered(peer(0x100).id, [peer(0x999)])
    assert lookup.requests(0.2) == []
    assert lookup.operation.done
    assert lookup.operation.result == peer(0x100)
    assert lookup.operation.closest == (peer(0x100), peer(0x102))


def test_nobody_known_means_nobody_found() -> None:
    lookup = start(0x100, [])
    assert lookup.requests(0.0) == []
    assert lookup.operation.done and lookup.operation.result is None and lookup.operation.closest == ()


def test_a_silent_candidate_is_asked_again_and_then_replaced() -> None:
    lookup = start(0x100, [0x102, 0x104], width=1)
    asked = [lookup.requests(0.25 * step) for step in range(2 * ATTEMPTS + 1)]
    assert [turn for turn, peers in enumerate(asked) if peer(0x102) in peers] == [0, 2, 4, 6, 8, 10]
    assert asked[12] == [peer(0x104)]
    lookup.answered(peer(0x104).id, [peer(0x102)])
    assert lookup.requests(4.0) == []
    assert lookup.operation.closest == (peer(0x104),), "a failed candidate is not taken again"


def test_silent_candidates_do_not_hold_up_the_others() -> None:
    lookup = start(0x100, [0x102, 0x104, 0x108, 0x1000], width=4)
    assert len(lookup.requests(0.0)) == ALPHA
    assert peer(0x1000) not in lookup.requests(0.5)
    assert peer(0x1000) in lookup.requests(1.0)


def test_a_node_that_nobody_asked_changes_no_state() -> None:
    lookup = start(0x100, [0x102])
    assert not lookup.waiting_for(peer(0x102).id)
    lookup.requests(0.0)
    assert lookup.waiting_for(peer(0x102).id)
    assert not lookup.waiting_for(peer(0x555).id)


def test_the_own_id_is_never_asked() -> None:
    lookup = start(0x100, [0x102])
    lookup.requests(0.0)
    lookup.answered(peer(0x102).id, [Peer(OWN, "10.0.0.1", 1)])
    lookup.requests(0.1)
    assert lookup.operation.done
    assert lookup.operation.closest == (peer(0x102),)


@given(st.integers(2**100, 2**160 - 1), st.integers(0, 2**31), st.floats(0.0, 0.7))
def test_it_ends_for_an_absent_target_whatever_the_others_say(target: int, seed: int, loss: float) -> None:
    """A mesh that invents a new nearer peer with each answer still cannot keep a lookup alive."""
    lookup = start(target, [1, 2, 3])
    chance = (seed * 2654435761) % 2**32
    now, asked, invented = 0.0, 0, 1000
    while not lookup.operation.done:
        now += 0.5
        batch = lookup.requests(now)
        assert len(batch) <= ALPHA * ATTEMPTS
        asked += len(batch)
        for entry in batch:
            chance = (chance * 1664525 + 1013904223) % 2**32
            if chance / 2**32 < loss:
                continue
            invented += 1
            nearer = peer(distance(peer(target).id, invented.to_bytes(20)))
            lookup.answered(entry.id, [peer(invented), nearer])
        assert now <= 31.0
    assert asked <= ALPHA * 62
    assert lookup.operation.result is None
