"""Two ends of one link: what is lost, late, crossed, silent, blocked or refused."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from shivya_daemon.core.links.book import Candidate
from shivya_daemon.core.links.breaker import BreakerState
from shivya_daemon.core.links.events import Linked, Unlinked
from shivya_daemon.core.links.frames import (
    Accept,
    Echo,
    Head,
    LinkFrame,
    Probe,
    Propose,
    decode_payload,
    encode_payload,
)
from shivya_daemon.core.links.keeper import Links
from shivya_daemon.core.links.settings import LinksSettings

A, B = b"a" * 20, b"b" * 20
Drop = Callable[[bytes, LinkFrame], bool]


def keep(_: bytes, __: LinkFrame) -> bool:
    return False


class Pair:
    """Nodes A and B; whoever is in `seeking` knows the other as a candidate from the start."""

    def __init__(self, settings: LinksSettings | None = None, seeking: bytes = A + B) -> None:
        self.settings = settings or LinksSettings()
        self.random = random.Random(3)
        self.now = 10.0
        self.ends = {node: Links(node, self.settings, self.random.randbytes, 5) for node in (A, B)}
        self.seeking = {node for node in (A, B) if node in seeking}
        self.drop: Drop = keep
        self.delay = 0.010
        self.log: list[tuple[bytes, LinkFrame]] = []
        self.refused: list[str] = []
        self.silent: set[bytes] = set()
        self._flight: list[tuple[float, bytes, bytes]] = []

    @staticmethod
    def other(node: bytes) -> bytes:
        return B if node == A else A

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / self.delay)):
            self.step()

    def step(self) -> None:
        for node, links in self.ends.items():
            if node in self.silent:
                continue
            other = self.other(node)
            known = {other: Candidate(other)} if node in self.seeking else {}
            for target, payload in links.due(self.now, known, {}):
                assert target == other
                self._send(node, payload)
        self.now += self.delay
        arrived, self._flight = self._flight, []
        for _, node, payload in arrived:
            self.deliver(node, payload)

    def deliver(self, node: bytes, payload: bytes) -> list[bytes] | str:
        if node in self.silent:
            return []
        replies = self.ends[node].receive(self.other(node), payload, len(payload) + 80, self.now)
        if isinstance(replies, str):
            self.refused.append(replies)
        else:
            for reply in replies:
                self._send(node, reply)
        return replies

    def inject(self, node: bytes, frame: LinkFrame) -> list[LinkFrame] | str:
        """Hand a frame to `node` as if its peer had sent it, and return what it answers."""
        replies = self.ends[node].receive(self.other(node), encode_payload(frame), 100, self.now)
        return replies if isinstance(replies, str) else [decode_payload(reply) for reply in replies]

    def ask(self, node: bytes, frame: LinkFrame) -> LinkFrame:
        """Hand a frame to `node` and return its one answer."""
        answers = self.inject(node, frame)
        assert isinstance(answers, list)
        (answer,) = answers
        return answer

    def linked(self) -> tuple[bool, bool]:
        return bool(self.ends[A].established), bool(self.ends[B].established)

    def sent(self, node: bytes, kind: type) -> list[LinkFrame]:
        return [frame for source, frame in self.log if source == node and isinstance(frame, kind)]

    def _send(self, node: bytes, payload: bytes) -> None:
        frame = decode_payload(payload)
        self.log.append((node, frame))
        if not self.drop(node, frame):
            self._flight.append((self.now, self.other(node), payload))


def up(**settings: float) -> Pair:
    """Return a pair that is linked."""
    pair = Pair(LinksSettings(**settings))  # type: ignore[arg-type]
    pair.run(1.0)
    assert pair.linked() == (True, True)
    for links in pair.ends.values():
        links.events()
    return pair


def agreement_of(pair: Pair) -> int:
    link = pair.ends[A].link(B)
    assert link is not None
    return link.id


def test_a_link_is_agreed_and_timed_within_two_round_trips_and_its_bandwidth_is_measured_soon() -> None:
    pair = Pair()
    pair.run(0.05)
    assert pair.linked() == (True, True)
    for node, links in pair.ends.items():
        assert links.events() == [Linked(pair.other(node))]
        assert links.rtt(pair.other(node)) == pytest.approx(0.02)
        assert links.carries(pair.other(node), pair.now)
    pair.run(LinksSettings().train_spread + LinksSettings().check_interval)
    assert all(links.bandwidth(pair.other(node)) for node, links in pair.ends.items())


def test_neither_end_counts_the_link_before_it_knows_that_the_other_agreed() -> None:
    pair = Pair(seeking=A + B)
    pair.drop = lambda _, frame: isinstance(frame, Probe)
    pair.run(3.0)
    assert pair.linked() == (False, False)
    assert pair.sent(B, Accept)


@pytest.mark.parametrize("lost", [Propose, Accept, Probe, Echo])
@pytest.mark.parametrize("times", [1, 3])
def test_one_datagram_lost_delays_the_link_and_no_more(lost: type, times: int) -> None:
    pair = Pair()
    left = [times]

    def drop(_: bytes, frame: LinkFrame) -> bool:
        if isinstance(frame, lost) and left[0]:
            left[0] -= 1
            return True
        return False

    pair.drop = drop
    pair.run(3.0)
    assert pair.linked() == (True, True)


def test_a_path_too_narrow_for_padding_still_carries_a_link() -> None:
    pair = Pair()
    pair.drop = lambda _, frame: isinstance(frame, Probe) and frame.padding > 0
    pair.run(2.0)
    assert pair.linked() == (True, True)
    assert pair.ends[A].bandwidth(B) is None


def test_of_crossing_proposals_that_of_the_lower_id_stands() -> None:
    pair = Pair()
    pair.step()
    (mine,), (theirs,) = pair.sent(A, Propose), pair.sent(B, Propose)
    pair.run(0.1)
    assert pair.linked() == (True, True)
    assert agreement_of(pair) == mine.head.agreement != theirs.head.agreement
    assert len(pair.ends[B].events()) == 1


def test_an_acceptor_forgets_a_proposal_that_is_never_confirmed() -> None:
    pair = Pair(seeking=B)
    pair.drop = lambda *_: True
    pair.step()
    accept = pair.ask(B, Propose(Head(1, 5, 0), 7))
    assert isinstance(accept, Accept)
    assert pair.ends[B].healing
    pair.seeking.clear()
    pair.run(5.0)
    assert not pair.ends[B].healing
    assert pair.ends[B].events() == []


def test_an_end_that_lost_the_link_says_so_when_it_is_probed() -> None:
    """The last datagram of an agreement may always be lost; the checks settle what it leaves open."""
    pair = up()
    pair.seeking.clear()
    pair.ends[B].lost(A, pair.now)
    assert pair.linked() == (True, False)
    pair.run(2.1)
    assert pair.linked() == (False, False)
    assert pair.ends[A].events() == [Unlinked(B, "unknown")]


def test_silence_loses_the_link_and_first_stops_new_work() -> None:
    pair = up()
    pair.silent.add(B)
    pair.run(1.5)
    assert pair.linked() == (True, True)
    assert not pair.ends[A].carries(B, pair.now)
    pair.run(4.0)
    assert pair.ends[A].established == ()
    assert pair.ends[A].events() == [Unlinked(B, "silent")]
    pair.log.clear()
    pair.run(4.0)
    assert not pair.sent(A, Propose)  # there are better places for a proposal than a dead node


def test_heartbeats_keep_a_link_up() -> None:
    pair = up()
    pair.drop = lambda source, _: True
    for _ in range(100):
        pair.run(0.1)
        for node, links in pair.ends.items():
            links.heard(pair.other(node), pair.now)
    assert pair.linked() == (True, True)


def test_a_node_that_slept_forgives() -> None:
    pair = up()
    pair.now += 30.0
    for links in pair.ends.values():
        links.forgive(pair.now)
    pair.run(1.0)
    assert pair.linked() == (True, True)
    assert pair.ends[A].carries(B, pair.now)


def test_failures_open_the_breaker_and_one_probe_closes_it_a_minute_later() -> None:
    pair = up()
    links = pair.ends[A]
    link = links.link(B)
    assert link is not None
    for _ in range(4):
        links.failed(B, pair.now)
    links.succeeded(B)
    for _ in range(4):
        links.failed(B, pair.now)
    assert links.carries(B, pair.now)
    links.failed(B, pair.now)
    assert not links.carries(B, pair.now)
    opened = pair.now
    while pair.now < opened + 59.5:  # checks go on, and prove nothing before the pause is over
        pair.run(0.5)
        assert link.breaker.state is BreakerState.OPEN
    pair.run(3.0)
    assert link.breaker.state is BreakerState.CLOSED
    assert pair.linked() == (True, True)


def test_unanswered_checks_open_the_breaker_though_heartbeats_arrive() -> None:
    """A cut in one direction: heard, but not hearing."""
    pair = up()
    pair.drop = lambda source, _: source == A
    for _ in range(80):
        pair.run(0.1)
        pair.ends[A].heard(B, pair.now)
        pair.ends[B].heard(A, pair.now)
    assert pair.ends[A].link(B) is not None
    assert not pair.ends[A].carries(B, pair.now)


def test_a_late_copy_of_an_older_proposal_leaves_the_link_alone() -> None:
    pair = up()
    stale = Propose(Head(99, 5, 0), 1)
    probe = pair.ask(B, stale)
    assert isinstance(probe, Probe)
    assert pair.inject(B, stale) == []  # one challenge at a time
    pair.deliver(A, encode_payload(probe))
    pair.run(1.0)
    assert pair.linked() == (True, True)
    assert pair.ends[B].events() == []


def test_a_peer_in_a_new_life_is_linked_anew() -> None:
    pair = up()
    pair.ends[A] = Links(A, pair.settings, pair.random.randbytes, 6)
    pair.run(1.0)
    assert pair.linked() == (True, True)
    assert pair.ends[B].events() == [Unlinked(A, "restarted"), Linked(A)]


def test_a_node_that_renews_its_incarnation_keeps_its_links() -> None:
    pair = up()
    pair.ends[A].renew(9)
    pair.run(5.0)
    assert pair.linked() == (True, True)
    assert pair.ends[B].events() == []


def test_a_refused_proposer_waits() -> None:
    pair = Pair(seeking=A)
    pair.run(20.0)
    assert pair.linked() == (False, False)
    assert 3 <= len(pair.sent(A, Propose)) <= 6  # pauses of 1, 2, 4, 8 s
    assert pair.ends[A].wanting


def test_a_blocked_peer_is_neither_heard_nor_spoken_to() -> None:
    pair = up()
    pair.ends[A].block(B, pair.now)
    assert pair.ends[A].events() == [Unlinked(B, "blocked")]
    pair.log.clear()
    pair.run(10.0)
    assert not [frame for source, frame in pair.log if source == A]
    assert set(pair.refused) == {"blocked"}
    assert pair.linked() == (False, False)
    pair.ends[A].unblock(B)
    pair.run(10.0)
    assert pair.linked() == (True, True)


def test_events_that_nobody_fetches_are_bounded_and_counted() -> None:
    pair = Pair(LinksSettings(max_events=3))
    for _ in range(6):
        pair.run(1.0)
        pair.ends[B].lost(A, pair.now)
        pair.ends[A].lost(B, pair.now)
        pair.run(9.0)
    assert len(pair.ends[A].events()) == 3
    assert pair.ends[A].events_lost >= 6


def test_a_proposal_to_an_end_that_overslept_replaces_the_link_it_still_holds() -> None:
    """The link died unnoticed while this end slept; the peer that asks anew is not put off with it."""
    pair = up()
    pair.silent.add(A)
    pair.seeking.clear()
    pair.run(2 * LinksSettings().dead_after)
    assert pair.linked() == (True, False)
    pair.silent.clear()
    answer = pair.ask(A, Propose(Head(99, 5, 0), 1))
    assert isinstance(answer, Accept)
    assert pair.ends[A].established == ()
    assert [agreement.id for agreement in pair.ends[A].agreements] == [99]
