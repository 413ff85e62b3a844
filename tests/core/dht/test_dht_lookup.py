"""Lookups and exchanges by hand: who is asked, when again, what ends it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.dht.exchanges import Exchanges, Question
from shivya_daemon.core.dht.lookup import Lookup
from shivya_daemon.core.dht.requests import Kind
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.table import distance
from shivya_daemon.core.dht.values import content_record, signed_record
from shivya_daemon.core.frames import FoundNodes, FoundValue, Peer
from shivya_daemon.core.identity import Identity

OWN = bytes(20)
PUBLIC = DhtSettings(limit_private=True)


def peer(number: int, host: str | None = None) -> Peer:
    return Peer(number.to_bytes(20, "big"), host or f"10.{number % 250}.{number // 250 % 250}.1", 8085)


class Stage:
    """One lookup, its exchanges, and peers that answer when told to."""

    def __init__(
        self,
        target: int | bytes,
        seeds: list[int],
        kind: Kind = Kind.FIND_NODE,
        width: int = 20,
        settings: DhtSettings | None = None,
        connected: bool = True,
    ) -> None:
        self.settings = settings or DhtSettings()
        self.now = 0.0
        self.lost: list[bytes] = []
        self.connected = connected
        self.exchanges = Exchanges(
            self.settings, random.Random(1).randbytes, lambda node, since: self.lost.append(node)
        )
        target = target if isinstance(target, bytes) else target.to_bytes(20, "big")
        self.ended: list[float] = []
        self.lookup = Lookup(
            OWN,
            target,
            kind,
            width,
            sorted((peer(seed) for seed in seeds), key=lambda seed: distance(seed.id, target)),
            self.settings,
            self.exchanges,
            lambda lookup, now: self.ended.append(now),
            0.0,
        )
        self.exchanges.wake(self.lookup)

    def asked(self, at: float | None = None) -> list[Question]:
        """What is asked at this time."""
        self.now = self.now if at is None else at
        self.exchanges.run(self.now)
        questions = self.exchanges.take()
        for question in questions:
            if question.payload is None and self.connected:
                self.exchanges.reached(question.peer.id, self.now)
        return [question for question in questions if question.payload] + self.exchanges.take()

    def numbers(self, at: float | None = None) -> list[int]:
        return [int.from_bytes(question.peer.id, "big") for question in self.asked(at)]

    def answer(self, question: Question, *named: Peer, value: bytes | None = None) -> str | None:
        kind, key = question.kind, self.lookup.target
        message: Any = FoundNodes(named) if kind is Kind.FIND_NODE else FoundValue(key, value, named)
        return self.exchanges.answer(question.peer.id, question.request, kind, message, self.now)


def test_alpha_nearest_are_asked_first_and_one_more_for_each_answer() -> None:
    stage = Stage(0x100, [0x102, 0x104, 0x108, 0x110])
    first = stage.asked()
    assert [question.peer for question in first] == [peer(0x102), peer(0x104), peer(0x108)]
    assert stage.asked() == []
    stage.answer(first[0], peer(0x101))
    assert stage.numbers() == [0x101], "the nearest that was not asked"


def test_without_anybody_to_ask_it_ends_at_once() -> None:
    stage = Stage(0x100, [])
    assert stage.asked() == [] and stage.lookup.done and stage.lookup.closest == ()


def test_it_ends_when_the_target_itself_answers() -> None:
    stage = Stage(0x100, [0x102, 0x104])
    first = stage.asked()
    stage.answer(first[0], peer(0x100))
    (last,) = stage.asked()
    assert last.peer == peer(0x100)
    stage.answer(last)
    assert stage.asked() == [] and stage.lookup.found == peer(0x100)
    assert stage.ended == [0.0]


def test_a_target_that_is_known_is_asked_alone_until_it_is_slow() -> None:
    stage = Stage(0x100, [0x100, 0x102, 0x104])
    assert stage.numbers(0.0) == [0x100]
    assert stage.numbers(0.25) == [0x100]
    assert 0x102 in stage.numbers(0.6)


def test_a_silent_candidate_is_asked_again_given_up_and_not_taken_again() -> None:
    stage = Stage(0x100, [0x102, 0x104], width=1)
    times, now = [], 0.0
    while 0x102 in (numbers := stage.numbers(now)) or not times or 0x104 not in numbers:
        times += [now] * (0x102 in numbers)
        now += 0.05
        assert now < 10.0
    assert len(times) == stage.settings.attempts
    assert times[1] - times[0] == pytest.approx(0.25) and times[-1] < 2.5
    assert stage.lost == [peer(0x102).id]
    assert len(stage.exchanges.take()) == 0
    stage.exchanges.answer(
        peer(0x104).id, stage.lookup._order[1].request.id, Kind.FIND_NODE, FoundNodes((peer(0x102),)), now
    )
    stage.asked()
    assert stage.lookup.done and stage.lookup.closest == (peer(0x104),)


def test_a_target_that_moved_is_asked_once_more_where_another_says_it_is() -> None:
    old, new, third = peer(0x100), peer(0x100, "10.9.9.9"), peer(0x100, "10.9.9.10")
    stage = Stage(0x100, [0x100, 0x102])
    asked: list[Peer] = []
    now = 0.0
    while not stage.lookup.done:
        for question in stage.asked(now):
            asked.append(question.peer)
            if question.peer == peer(0x102):
                stage.answer(question, old, new)
            elif question.peer == new:
                stage.answer(question)
        now += 0.05
        assert now < 10.0
    assert stage.lookup.found == new
    assert asked.count(old) == stage.settings.attempts and asked.count(new) == 1
    # Whoever invents ever new addresses gets one datagram sent to one of them.
    stage = Stage(0x100, [0x102, 0x104])
    asked, now = [], 0.0
    while not stage.lookup.done:
        for question in stage.asked(now):
            asked.append(question.peer)
            if question.peer in (peer(0x102), peer(0x104)):
                stage.answer(question, old, new, third)
        now += 0.05
    assert {one for one in asked if one.id == old.id} == {old, third}


def test_slow_candidates_do_not_hold_up_the_others() -> None:
    stage = Stage(0x100, [0x102, 0x104, 0x108, 0x1000])
    assert len(stage.asked(0.0)) == stage.settings.alpha
    assert 0x1000 not in stage.numbers(0.25)
    assert 0x1000 in stage.numbers(0.6)


def test_a_candidate_without_a_session_is_asked_when_there_is_one() -> None:
    stage = Stage(0x100, [0x102, 0x104], connected=False)
    stage.exchanges.run(0.0)
    wanted = stage.exchanges.take()
    assert [(question.peer, question.payload) for question in wanted] == [
        (peer(0x102), None),
        (peer(0x104), None),
    ]
    stage.exchanges.reached(peer(0x102).id, 0.3)
    assert stage.numbers(0.3) == [0x102]
    stage.exchanges.failed(peer(0x104).id, 0.4)
    assert stage.asked(0.4) == []
    assert not stage.lookup.done, "the other one still may answer"


def test_a_session_that_nobody_reports_about_is_given_up() -> None:
    stage = Stage(0x100, [0x102], connected=False)
    for step in range(80):
        stage.asked(0.1 * step)
    assert stage.lookup.done and 5.9 < stage.ended[0] < 6.3
    assert stage.lost == [], "nothing was asked, so nothing is known about it"


def test_content_ends_a_lookup_and_a_wrong_value_only_its_sender() -> None:
    record = content_record(b"the value")
    stage = Stage(record.key, [1, 2, 3, 4], Kind.FIND_VALUE)
    (first,) = stage.asked()
    assert stage.answer(first, value=b"another value") == "bad_value"
    others = stage.asked()
    assert first.peer not in {question.peer for question in others} and not stage.lookup.done
    assert stage.answer(others[1], value=b"the value") is None
    stage.asked()
    assert stage.lookup.done and stage.lookup.record == record
    assert stage.lookup.closest == (others[1].peer,)


def test_the_nearest_node_is_asked_for_a_value_alone_until_it_fails_to_have_it_at_once() -> None:
    stage = Stage(content_record(b"a").key, [1, 2, 3, 4], Kind.FIND_VALUE)
    (first,) = stage.asked()
    stage.answer(first)
    assert len(stage.asked()) == 3, "it has none"
    stage = Stage(content_record(b"a").key, [1, 2, 3, 4], Kind.FIND_VALUE)
    (first,) = stage.asked()
    assert len(stage.asked(0.26)) == 3, "itself again, and two more"


def test_of_a_signed_record_the_latest_of_the_nearest_wins() -> None:
    owner = Identity.generate(random.Random(1).randbytes)
    old, new = signed_record(b"old", 1, owner), signed_record(b"new", 2, owner)
    stage = Stage(old.key, [1, 2, 3, 4], Kind.FIND_VALUE)
    (first,) = stage.asked()
    stage.answer(first, value=old.value)
    others = stage.asked()
    assert len(others) == 2 and not stage.lookup.done, "the three nearest are asked, and no more"
    stage.answer(others[0], value=new.value)
    assert stage.asked() == []
    stage.answer(others[1], value=old.value)
    stage.asked()
    assert stage.lookup.done and stage.lookup.record == new


def test_a_late_or_second_answer_is_not_called_unsolicited_and_changes_nothing() -> None:
    stage = Stage(0x100, [0x102, 0x104])
    first = stage.asked()
    stage.answer(first[0], peer(0x100))
    assert stage.answer(first[0], peer(0x180)) is None
    (last,) = stage.asked()
    stage.answer(last)
    stage.asked()
    assert stage.lookup.done
    assert stage.answer(first[1], peer(0x181)) is None
    assert stage.asked() == []


def test_one_subnet_gets_few_candidates_unless_the_target_is_there() -> None:
    stage = Stage(0x100, [0x1000, 0x2000], settings=PUBLIC)
    first = stage.asked()
    crowd = [peer(0x200 + number, f"9.9.9.{number}") for number in range(8)]
    stage.answer(first[0], *crowd)
    stage.answer(first[1], peer(0x100, "9.9.9.100"), peer(0x300, "9.9.8.1"))
    asked: list[Peer] = []
    while questions := stage.asked():
        asked += [question.peer for question in questions]
        for question in questions:
            stage.answer(question, *crowd)
    assert peer(0x100, "9.9.9.100") in asked
    assert len([entry for entry in asked if entry in crowd]) <= 2


def test_peers_elsewhere_cannot_send_us_to_our_own_host() -> None:
    stage = Stage(0x100, [0x102])
    (question,) = stage.asked()
    stage.answer(question, peer(0x101, "127.0.0.1"), peer(0x103, "0.0.0.0"), Peer(b"x" * 20, "9.9.9.9", 0))
    assert stage.asked() == [] and stage.lookup.done


@given(st.integers(2**100, 2**160 - 1), st.integers(0, 2**31), st.floats(0.0, 0.7))
def test_it_ends_for_an_absent_target_whatever_the_others_say(target: int, seed: int, loss: float) -> None:
    """A mesh that invents nearer peers with each answer still cannot keep a lookup alive."""
    stage = Stage(target, [1, 2, 3], width=4)
    chance = random.Random(seed)
    now, asked, invented = 0.0, 0, 1000
    while not stage.lookup.done:
        for question in stage.asked(now):
            asked += 1
            if chance.random() >= loss:
                invented += 2
                stage.answer(question, peer(invented), peer(target ^ (1 << 40) - invented))
        assert len(stage.lookup._order) <= 16
        now += 0.1
        assert now < 60.0
    assert asked <= 16 * stage.settings.attempts
    assert stage.lookup.found is None


def test_abandoned_questions_leave_nothing_behind() -> None:
    """The caller says nothing of sessions that were wanted for lookups that ended meanwhile."""
    stage = Stage(0x100, [0x100], connected=False)
    for number in range(50):
        stage.exchanges.ask(stage.lookup, peer(number + 1), Kind.FIND_NODE, OWN, (), 0.0).settled = True
    stage.exchanges.run(1.0)
    stage.exchanges.take()
    assert len(stage.exchanges._waiting) == 1
    for step in range(100):
        stage.asked(1.0 + step * 0.1)
    assert stage.exchanges._waiting == {} and stage.exchanges.next_deadline() is None
