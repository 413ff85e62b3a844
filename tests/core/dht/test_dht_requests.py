"""Requests, tokens and pace: what counts as an answer, who may write, and when to ask again."""

from __future__ import annotations

import random

import pytest

from shivya_daemon.core.dht.pace import Pace
from shivya_daemon.core.dht.requests import Kind, Message, Request, Requests
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.tokens import HeldTokens, Tokens
from shivya_daemon.core.frames import FindNode, Peer

ALICE = Peer(b"a" * 20, "10.0.0.1", 1)
BOB = Peer(b"b" * 20, "10.0.0.2", 1)
KEY, OTHER_KEY = b"k" * 20, b"o" * 20


class Nobody:
    """An owner whom nothing is told."""

    def answered(self, request: Request, message: Message, now: float) -> str | None:
        raise NotImplementedError

    def failed(self, request: Request, now: float) -> None:
        raise NotImplementedError

    def step(self, now: float) -> None:
        raise NotImplementedError


def ask(
    table: Requests, peer: Peer = ALICE, kind: Kind = Kind.FIND_NODE, target: bytes = KEY, now: float = 0.0
) -> Request | None:
    request = Request(peer, kind, target, Nobody(), (FindNode(target),), 6, None, now)
    return request if table.register(request, now) else None


def table(capacity: int = 100, identified: bool = True) -> Requests:
    return Requests(random.Random(1).randbytes, 2.0, capacity, identified)


def test_an_answer_counts_from_the_one_asked_for_what_was_asked_alone() -> None:
    requests = table()
    request = ask(requests, kind=Kind.FIND_VALUE)
    assert request is not None
    assert requests.answer(BOB.id, request.id, Kind.FIND_VALUE, 1.0, KEY) is None
    assert requests.answer(ALICE.id, request.id + 1, Kind.FIND_VALUE, 1.0, KEY) is None
    assert requests.answer(ALICE.id, request.id, Kind.FIND_NODE, 1.0) is None
    assert requests.answer(ALICE.id, request.id, Kind.FIND_VALUE, 1.0, OTHER_KEY) is None
    assert requests.answer(ALICE.id, None, Kind.FIND_VALUE, 1.0, KEY) is None
    assert requests.answer(ALICE.id, request.id, Kind.FIND_VALUE, 1.0, KEY) is request


def test_ids_are_the_entropy_and_never_zero() -> None:
    source = iter([bytes(8), b"\1" * 8, b"\1" * 8, b"\2" * 8])
    requests = Requests(lambda size: next(source), 2.0, 10)
    first, second = ask(requests), ask(requests, BOB)
    assert first is not None and second is not None
    assert first.id == int.from_bytes(b"\1" * 8, "big") and second.id == int.from_bytes(b"\2" * 8, "big")


def test_a_question_may_be_answered_for_a_while_after_it_was_last_sent() -> None:
    requests = table()
    request = ask(requests)
    assert request is not None
    assert requests.answer(ALICE.id, request.id, Kind.FIND_NODE, 2.1) is None
    assert requests.register(request, 1.5)
    assert request.attempts == 2
    assert requests.answer(ALICE.id, request.id, Kind.FIND_NODE, 3.4) is request
    ask(requests, BOB, now=10.0)
    assert len(requests) == 1, "what can no longer be answered is forgotten"


def test_there_are_never_more_than_capacity() -> None:
    requests = table(capacity=3)
    opened = [ask(requests, target=bytes((n,)) * 20) for n in range(3)]
    assert ask(requests) is None
    assert opened[0] is not None
    opened[0].settled = True
    assert ask(requests) is not None, "a settled one makes room"
    assert len(requests) == 3


def test_on_the_open_wire_a_node_owes_one_answer_of_a_kind() -> None:
    requests = table(identified=False)
    first = ask(requests)
    assert first is not None
    assert ask(requests, target=OTHER_KEY) is None
    assert ask(requests, BOB, target=OTHER_KEY) is not None
    assert requests.answer(ALICE.id, None, Kind.FIND_NODE, 1.0) is first
    first.settled = True
    second = ask(requests, target=OTHER_KEY, now=1.0)
    assert requests.answer(ALICE.id, None, Kind.FIND_NODE, 1.5) is second
    values = [ask(requests, kind=Kind.FIND_VALUE, target=key) for key in (KEY, OTHER_KEY)]
    for value, key in zip(values, (KEY, OTHER_KEY), strict=True):
        assert value is not None, "the answer names the key, so these do not collide"
        assert requests.answer(ALICE.id, None, Kind.FIND_VALUE, 0.5, key) is value
    assert requests.answer(ALICE.id, None, Kind.FIND_VALUE, 0.5, b"x" * 20) is None


def test_a_token_is_good_for_its_node_and_address_and_for_a_while() -> None:
    tokens = Tokens(random.Random(1).randbytes, 300.0)
    address = ("10.0.0.1", 5)
    token = tokens.grant(ALICE.id, address, 0.0)
    assert tokens.valid(token, ALICE.id, address, 299.0)
    assert tokens.valid(token, ALICE.id, address, 599.0), "the secret before is accepted"
    assert not tokens.valid(token, BOB.id, address, 599.0)
    assert not tokens.valid(token, ALICE.id, ("10.0.0.2", 5), 599.0)
    assert not tokens.valid(token, ALICE.id, ("10.0.0.1", 6), 599.0)
    assert not tokens.valid(token ^ 1, ALICE.id, address, 599.0)
    assert not tokens.valid(token, ALICE.id, address, 600.0)


def test_secrets_do_not_live_on_in_a_node_that_was_quiet() -> None:
    tokens = Tokens(random.Random(1).randbytes, 300.0)
    token = tokens.grant(ALICE.id, ("10.0.0.1", 5), 0.0)
    assert not tokens.valid(token, ALICE.id, ("10.0.0.1", 5), 5000.0)


def test_held_tokens_are_used_only_while_they_are_surely_good() -> None:
    held = HeldTokens(300.0)
    held.hold(ALICE.id, 7, 0.0)
    assert held.get(ALICE.id, 299.0) == 7
    assert held.get(ALICE.id, 300.0) is None
    assert held.get(BOB.id, 0.0) is None
    held.drop(ALICE.id)
    assert held.get(ALICE.id, 0.0) is None
    for number in range(3000):
        held.hold(number.to_bytes(20, "big"), number, 0.0)
    assert held.get((0).to_bytes(20, "big"), 0.0) is None, "bounded: the oldest is forgotten"
    assert held.get((2999).to_bytes(20, "big"), 0.0) == 2999


def test_the_pace_follows_round_trip_times_within_bounds() -> None:
    settings = DhtSettings()
    pace = Pace(settings)
    assert pace.interval(1) == settings.retry_first
    assert pace.interval(2) == pytest.approx(settings.retry_first * settings.retry_growth)
    for _ in range(50):
        pace.measured(0.001)
    assert pace.interval(1) == settings.retry_min
    for _ in range(50):
        pace.measured(0.3)
    assert 0.3 <= pace.interval(1) <= 0.4
    for _ in range(50):
        pace.measured(30.0)
    assert pace.interval(1) == pace.interval(9) == settings.retry_max
