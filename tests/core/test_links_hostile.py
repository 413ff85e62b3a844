"""One node and a peer played by hand that invents, replays, stalls and floods."""

from __future__ import annotations

import itertools
import random

import pytest

from shivya_daemon.core.links.agreement import Phase
from shivya_daemon.core.links.book import Candidate, Candidates
from shivya_daemon.core.links.frames import (
    Accept,
    Close,
    Closing,
    Echo,
    Head,
    LinkFrame,
    Probe,
    Propose,
    Refusal,
    Refuse,
    decode_payload,
    encode_payload,
)
from shivya_daemon.core.links.keeper import Links
from shivya_daemon.core.links.settings import LinksSettings

OWN, PEER = b"m" * 20, b"p" * 20
LIFE = 5


class Victim:
    """A node that answers one peer; it seeks no links unless told of candidates."""

    def __init__(self, settings: LinksSettings | None = None, known: bool = True, own: bytes = OWN) -> None:
        self.now = 10.0
        self.candidates: Candidates = {PEER: Candidate(PEER)} if known else {}
        self.settings = settings or LinksSettings()
        self.links = Links(own, self.settings, random.Random(3).randbytes, 1)
        self.sent: list[LinkFrame] = []
        self.wait(0.0)

    def wait(self, seconds: float) -> None:
        """Let time pass; what the node sends is kept in `sent`."""
        end = self.now + seconds
        while True:
            for node, payload in self.links.due(self.now, self.candidates, {}):
                assert node == PEER
                self.sent.append(decode_payload(payload))
            if self.now >= end:
                return
            self.now = min(end, self.now + 0.05)

    def say(self, frame: LinkFrame) -> list[LinkFrame] | str:
        replies = self.links.receive(PEER, encode_payload(frame), 100, self.now)
        return replies if isinstance(replies, str) else [decode_payload(reply) for reply in replies]

    def ask(self, frame: LinkFrame) -> LinkFrame:
        """Say a frame that has exactly one answer, and return that."""
        answers = self.say(frame)
        assert isinstance(answers, list)
        (answer,) = answers
        return answer

    def proposal(self) -> Propose:
        """Return the last proposal that the node sent."""
        return next(frame for frame in reversed(self.sent) if isinstance(frame, Propose))

    def linked(self) -> Victim:
        """Link by the book: the peer accepts, and echoes the last probe of the train."""
        proposal = self.proposal()
        train = self.say(Accept(self.head(), proposal.token))
        assert isinstance(train, list)
        last = train[-1]
        assert isinstance(last, Probe)
        self.now += 0.01
        assert self.say(Echo(self.head(), last.token, 1e6)) == []
        assert self.links.established == (PEER,)
        return self

    def head(self, incarnation: int = LIFE) -> Head:
        """Return the head of a frame of the agreement in force."""
        return Head(self.proposal().head.agreement, incarnation, 3)


INVENTED = Head(1, LIFE, 3)


@pytest.mark.parametrize(
    "frame",
    [
        Accept(INVENTED, 1),
        Echo(INVENTED, 1, 1e9),
        Refuse(INVENTED, Refusal.FULL),
        Close(INVENTED, Closing.UNKNOWN),
        Close(INVENTED, Closing.AGREED),
    ],
)
def test_answers_to_nothing_are_dropped(frame: LinkFrame) -> None:
    for victim in (Victim(known=False), Victim(), Victim().linked()):
        before = victim.links.established
        assert victim.say(frame) in ("unsolicited", "unknown_agreement")
        assert victim.links.established == before


def test_an_accept_or_echo_with_a_token_never_sent_confirms_nothing() -> None:
    victim = Victim()
    token = victim.proposal().token
    assert victim.say(Accept(victim.head(), token ^ 1)) == "unsolicited"
    assert victim.say(Echo(victim.head(), token)) == "unsolicited"
    assert victim.say(Probe(victim.head(), 1)) == "unsolicited"
    assert victim.links.established == ()


def test_an_echo_of_a_probe_never_sent_measures_nothing() -> None:
    victim = Victim().linked()
    rtt, bandwidth = victim.links.rtt(PEER), victim.links.bandwidth(PEER)
    assert rtt == pytest.approx(0.00125)  # 0 for the accept, then an eighth of 10 ms
    assert bandwidth == 1e6
    for token in (0, 1, victim.proposal().token):
        assert victim.say(Echo(victim.head(), token, 1e12)) == "unsolicited"
    assert (victim.links.rtt(PEER), victim.links.bandwidth(PEER)) == (rtt, bandwidth)


def test_an_echo_counts_once() -> None:
    victim = Victim().linked()
    victim.sent.clear()
    victim.wait(3.0)
    probe = next(frame for frame in victim.sent if isinstance(frame, Probe))
    echo = Echo(Head(probe.head.agreement, LIFE, 3), probe.token, 1e6)
    assert victim.say(echo) == []
    assert victim.say(echo) == "unsolicited"


def test_the_acceptor_measures_as_soon_as_the_link_is_confirmed() -> None:
    victim = Victim(own=b"z" * 20)
    assert isinstance(victim.ask(Propose(INVENTED, 1)), Accept)
    assert not victim.links.established
    victim.sent.clear()
    assert isinstance(victim.ask(Probe(INVENTED, 2)), Echo)
    assert victim.links.established == (PEER,)
    deadline = victim.links.next_deadline()
    assert deadline is not None
    assert deadline <= victim.now
    victim.wait(0.0)
    assert [type(frame) for frame in victim.sent] == [Probe]


def test_frames_of_an_earlier_life_are_refused() -> None:
    victim = Victim().linked()
    assert victim.say(Propose(Head(1, LIFE - 1, 0), 1)) == "stale_incarnation"
    assert victim.say(Close(victim.head(LIFE - 1), Closing.DRAINING)) == "stale_incarnation"
    assert victim.links.established == (PEER,)


def test_a_proposer_that_never_confirms_is_held_off_longer_and_longer() -> None:
    victim = Victim(own=b"z" * 20)  # of crossing proposals the peer's stands
    accepted = []
    for number in range(600):
        victim.wait(0.1)
        answers = victim.say(Propose(Head(1000 + number, LIFE, 0), 1))
        if any(isinstance(answer, Accept) for answer in answers):
            accepted.append(victim.now)
    assert 3 <= len(accepted) <= 8
    assert victim.links.established == ()
    gaps = [later - earlier for earlier, later in itertools.pairwise(accepted)]
    assert gaps == sorted(gaps)


def test_a_peer_without_announcement_or_shared_capability_is_refused() -> None:
    stranger, misfit = Victim(known=False), Victim(known=False)
    misfit.candidates = {PEER: Candidate(PEER, compatible=False)}
    misfit.wait(1.0)
    for victim, reason in ((stranger, Refusal.STRANGER), (misfit, Refusal.INCOMPATIBLE)):
        answer = victim.ask(Propose(INVENTED, 1))
        assert isinstance(answer, Refuse)
        assert answer.reason is reason
        assert victim.sent == []


def test_an_end_that_needs_the_link_refuses_to_part() -> None:
    victim = Victim().linked()
    answer = victim.ask(Close(victim.head(), Closing.PRUNE))
    assert isinstance(answer, Refuse)
    assert answer.reason is Refusal.NEEDED
    assert victim.links.established == (PEER,)


def test_noise_is_refused_by_reason() -> None:
    victim = Victim().linked()
    source = random.Random(1)
    for size in range(80):
        assert isinstance(victim.links.receive(PEER, source.randbytes(size), size, victim.now), str)
    assert victim.links.established == (PEER,)


def test_no_answer_has_more_bytes_than_its_question() -> None:
    frames: list[LinkFrame] = [
        Propose(INVENTED, 1),
        Probe(INVENTED, 1),
        Close(INVENTED, Closing.PRUNE),
        Close(INVENTED, Closing.DRAINING),
    ]
    for frame, known in itertools.product(frames, (True, False)):
        victim = Victim(known=known)
        question = encode_payload(frame)
        answers = victim.links.receive(PEER, question, 100, victim.now)
        assert isinstance(answers, list)
        assert sum(map(len, answers)) <= len(question)


def test_a_flood_of_nodes_takes_bounded_room() -> None:
    settings = LinksSettings(max_remembered=16)
    links = Links(OWN, settings, random.Random(2).randbytes, 1)
    crowd = {bytes((1, number)) * 10: Candidate(bytes((1, number)) * 10) for number in range(200)}
    for tick in range(100):
        links.due(tick / 2, crowd, {})
        for number, node in enumerate(crowd):
            payload = encode_payload(Propose(Head(1000 * tick + number, 1, 0, True), 1))
            links.receive(node, payload, 100, tick / 2)
        book = links._book
        assert len(book.agreements) <= settings.max_links
        assert len(book._incarnations) <= 16
        assert max(len(book.proposing), len(book.accepting)) <= 16
        waiting = [known for known in book.agreements.values() if known.phase is Phase.PENDING]
        assert len(waiting) <= settings.max_pending


def test_the_blocked_are_bounded() -> None:
    links = Links(OWN, LinksSettings(max_blocked=2), random.Random(2).randbytes, 1)
    links.block(b"1" * 20, 0.0)
    links.block(b"2" * 20, 0.0)
    with pytest.raises(ValueError, match="at most 2"):
        links.block(b"3" * 20, 0.0)
