"""Quorums decide by distinct members of a fixed roster, once; and what may be sent, and when."""

from __future__ import annotations

import random

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.signals import (
    Flood,
    Kind,
    Quorum,
    QuorumReached,
    Signal,
    SignalFrame,
    SignalReceived,
    SignalRefused,
    Signals,
    SignalSettings,
)
from shivya_daemon.core.signals.frame import sign

PEOPLE = [Identity.generate(random.Random(seed).randbytes) for seed in range(12)]
SELF, ANNA, BEN, CLEO, DORA, *OTHERS = PEOPLE


class Desk:
    """A node that hears every member straight, and a clock."""

    def __init__(self, settings: SignalSettings | None = None) -> None:
        self.signals = Signals(SELF, settings or SignalSettings(), random.Random(5).randbytes, 1)
        self.signals.set_links([ANNA.node_id, BEN.node_id, CLEO.node_id])
        self.now = 100.0

    def hear(self, frame: SignalFrame, via: Identity) -> str | None:
        return self.signals.receive(via.node_id, frame, self.now)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def vote(
    who: Identity, counter: int, subject: bytes = b"s" * 16, *, threshold: int = 3, payload: bytes = b"go"
) -> SignalFrame:
    kind = Quorum(threshold, subject)
    return sign(who, Signal(kind, bytes(16), who.public_key, 1, counter, 8, "plan", payload))


def reached(desk: Desk) -> list[QuorumReached]:
    return [event for event in desk.signals.events() if isinstance(event, QuorumReached)]


@pytest.mark.parametrize(("members", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (6, 4), (7, 5), (10, 7)])
def test_two_thirds_are_exact(members: int, needed: int) -> None:
    desk = Desk()
    roster = PEOPLE[1 : members + 1]
    desk.signals.register("plan", [who.node_id for who in roster])
    for number, who in enumerate(roster, 1):
        assert desk.hear(vote(who, 1, threshold=needed), who) is None
        assert len(reached(desk)) == (number == needed), number


def test_only_distinct_members_of_the_roster_count(desk: Desk) -> None:
    desk.signals.register("plan", [who.node_id for who in (ANNA, BEN, CLEO, DORA)])
    for number in range(1, 6):
        assert desk.hear(vote(ANNA, number), ANNA) is None
    for stranger in OTHERS:
        assert desk.hear(vote(stranger, 1), stranger) == "not_in_roster"
    assert desk.hear(vote(BEN, 1, threshold=1), BEN) == "wrong_threshold"
    assert desk.hear(vote(BEN, 2, payload=b"stop"), BEN) is None
    assert desk.hear(vote(CLEO, 1), CLEO) is None
    assert reached(desk) == []
    assert desk.hear(vote(BEN, 3), BEN) is None
    (event,) = reached(desk)
    assert (event.id, event.payload) == (b"s" * 16, b"go")
    assert event.contributors == {who.node_id for who in (ANNA, BEN, CLEO)}
    # Decided is decided: neither late nor other contributions fire it again.
    for number, who in enumerate((ANNA, BEN, CLEO, DORA), 10):
        assert desk.hear(vote(who, number), who) is None
        assert desk.hear(vote(who, number + 10, payload=b"stop"), who) is None
    assert reached(desk) == []


def test_old_contributions_lapse(desk: Desk) -> None:
    desk.signals.register("plan", [who.node_id for who in (ANNA, BEN, CLEO)], threshold=2)
    assert desk.hear(vote(ANNA, 1, threshold=2), ANNA) is None
    desk.now += 61.0
    assert desk.hear(vote(BEN, 1, threshold=2), BEN) is None
    assert reached(desk) == []
    assert desk.hear(vote(ANNA, 2, threshold=2), ANNA) is None
    assert len(reached(desk)) == 1


def test_a_member_that_opens_many_subjects_does_not_close_those_of_others() -> None:
    desk = Desk(SignalSettings(max_tallies=4))
    desk.signals.register("plan", [who.node_id for who in (ANNA, BEN, CLEO, DORA)])
    for who in (ANNA, BEN):
        assert desk.hear(vote(who, 1), who) is None
    for number in range(30):
        assert desk.hear(vote(DORA, number, number.to_bytes(16, "big")), DORA) is None
    assert desk.hear(vote(CLEO, 1), CLEO) is None
    assert len(reached(desk)) == 1


def test_one_hears_of_a_subject_once_and_of_no_own_one(desk: Desk) -> None:
    desk.signals.register("plan", [who.node_id for who in (SELF, ANNA, BEN, CLEO)])
    for who in (ANNA, BEN):
        assert desk.hear(vote(who, 1), who) is None
    (event,) = desk.signals.events()
    assert isinstance(event, SignalReceived)
    assert (event.source, event.id) == (ANNA.node_id, b"s" * 16)
    desk.signals.contribute("plan", b"go", desk.now, subject=b"s" * 16)
    assert len(reached(desk)) == 1
    own = desk.signals.contribute("plan", b"mine", desk.now)
    assert desk.hear(vote(ANNA, 2, own, payload=b"mine"), ANNA) is None
    assert desk.signals.events() == []


def test_a_node_without_the_roster_relays_and_counts_nothing(desk: Desk) -> None:
    assert desk.hear(vote(ANNA, 1, threshold=1), ANNA) is None
    assert [node for node, _, _ in desk.signals.outgoing()] == [BEN.node_id, CLEO.node_id]
    assert desk.signals.events() == []


def test_registering_asks_for_what_can_be_met(desk: Desk) -> None:
    ids = [who.node_id for who in PEOPLE]
    for roster, threshold in (
        ([], None),
        (ids, 0),
        (ids, len(ids) + 1),
        ([n.to_bytes(20, "big") for n in range(1025)], 1),
    ):
        with pytest.raises(ValueError, match="members"):
            desk.signals.register("plan", roster, threshold)
    few = Desk(SignalSettings(max_rosters=1))
    few.signals.register("a", ids)
    few.signals.register("a", ids[:3])
    with pytest.raises(ValueError, match="types of quorum"):
        few.signals.register("b", ids)


# Sending


def test_what_may_not_be_sent_is_refused_with_a_reason(desk: Desk) -> None:
    def reason(kind: Kind) -> str:
        with pytest.raises(SignalRefused) as caught:
            desk.signals.send(kind, "plan", b"", desk.now)
        return caught.value.reason

    with pytest.raises(SignalRefused):
        desk.signals.contribute("plan", b"", desk.now)
    assert reason(Quorum(1, bytes(16))) == "unregistered_type"
    desk.signals.register("plan", [ANNA.node_id])
    assert reason(Quorum(1, bytes(16))) == "not_in_roster"
    desk.signals.register("plan", [SELF.node_id])
    assert reason(Quorum(2, bytes(16))) == "wrong_threshold"
    for _ in range(20):
        desk.signals.send(Flood(), "x", b"", desk.now)
    assert reason(Flood()) == "rate_limited"
    desk.now += 1.0
    desk.signals.send(Flood(), "x", b"", desk.now)


def test_signals_go_on_under_a_higher_incarnation(desk: Desk) -> None:
    for incarnation, expected in ((9, 9), (4, 9)):
        desk.signals.adopt(incarnation)
        desk.signals.send(Flood(), "x", b"", desk.now)
        numbers = {frame.signal.incarnation for _, frame, _ in desk.signals.outgoing()}
        assert numbers == {expected}
