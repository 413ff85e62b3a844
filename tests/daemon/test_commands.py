"""The verbs of the control socket: what each does to the books, and its manners towards bad input."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shivya_daemon.commands import Commands, Session

B = b"\xbb" * 20


def ask(desk: Any, *lines: str) -> list[dict[str, Any] | None]:
    """Obey lines as one connection, without a socket."""
    commands, session = Commands(desk, time.monotonic), Session()
    return [commands.obey(line.encode(), session) for line in lines]


def test_a_service_ends_with_the_last_connection_that_serves_it(desk: Any) -> None:
    commands = Commands(desk, time.monotonic)
    first, second, spectator = Session(), Session(), Session()
    for session, line in (
        (first, b"WATCH service=resize address=127.0.0.1:7000"),
        (second, b"WATCH service=resize address=127.0.0.1:7001"),
        (spectator, b"WATCH service=resize"),
    ):
        assert "table" in (commands.obey(line, session) or {})
    commands.obey(b"REPORT service=resize queue=9", first)
    commands.close(first)
    commands.close(first)
    assert desk.book.view("resize", time.monotonic()).queue == 9, "one still serves it"
    commands.close(second)
    assert desk.book.services == ("default",)
    assert "no longer offered" in commands.table(spectator)["error"]
    assert spectator.watching is None


def test_the_default_service_goes_back_to_its_beginning(desk: Any) -> None:
    commands, session = Commands(desk, time.monotonic), Session()
    commands.obey(b"WATCH address=127.0.0.1:7000", session)
    commands.obey(b"REPORT queue=9 rate=3", session)
    commands.close(session)
    view = desk.book.view("default", time.monotonic())
    assert (view.queue, view.service_rate, view.address) == (0, 20.0, None)


def test_status_is_the_answer_to_an_empty_line_too(desk: Any) -> None:
    assert ask(desk, "", "status", "  STATUS ") == [{"name": "a", "node_id": "aa" * 20}] * 3


def test_route_counts_what_it_decides(desk: Any) -> None:
    answers = ask(desk, "ROUTE", "REPORT queue=10", "ROUTE", "ROUTE hops=3", "ROUTE hops=8")
    target = {"id": B.hex(), "name": "b", "address": "127.0.0.1:7001"}
    assert answers == [{"to": None}, {"ok": True}, {"to": target}, {"to": target}, {"to": None}]
    view = desk.book.view("default", time.monotonic())
    assert (view.arrived, view.sent) == (2, {B: 2})
    assert desk.book.held("default") == 11


def test_route_prices_what_it_has_just_sent(desk: Any) -> None:
    answers = ask(desk, "REPORT queue=4", *["ROUTE"] * 30)
    sent = [answer for answer in answers[1:] if answer != {"to": None}]
    assert 5 <= len(sent) < 25  # own waiting .25: the slope of .02 stops the first burst, then both grow


def test_handover_gives_each_ticks_numbers_once(desk: Any) -> None:
    move = {"id": B.hex(), "name": "b", "address": "127.0.0.1:7001", "count": 3}
    assert ask(desk, "REPORT queue=30", "HANDOVER", "HANDOVER")[1:] == [{"moves": [move]}, {"moves": []}]
    desk.tick = 2
    assert ask(desk, "HANDOVER") == [{"moves": [move]}]
    assert desk.book.held("default") == 24
    assert desk.book.view("default", time.monotonic()).sent == {B: 6}


def test_accept_done_offload_and_settle(desk: Any) -> None:
    lines = (
        "ACCEPT from=b count=2",
        f"ACCEPT from={B.hex()}",
        "DONE count=4",
        "OFFLOAD from=a to=b rate=2.5",
    )
    assert ask(desk, *lines) == [{"ok": True}] * 4
    view = desk.book.view("default", time.monotonic())
    assert (view.accepted, view.done, view.offloads) == ({B: 3}, 4, {B: 2.5})
    (answer,) = ask(desk, "SETTLE")
    assert answer == {"edges": [{"from": "a", "to": "b", "service": "default", "recommended": 1.5}]}


def test_count_is_silent_and_complete(desk: Any) -> None:
    line = f"COUNT arrived=5 done=2 sent.{B.hex()}=3 unsent.{B.hex()}=1 accepted.b=4 queue=9 servers=2 rate=8"
    assert ask(desk, line) == [None]
    view = desk.book.view("default", time.monotonic())
    assert (view.arrived, view.done, view.sent, view.accepted) == (5, 2, {B: 2}, {B: 4})
    assert (view.queue, view.servers) == (9, 2)
    assert view.service_rate == pytest.approx(12 / (10 / 8.0), rel=0.1)


def test_count_of_a_node_that_is_gone_costs_only_its_own_counts(desk: Any) -> None:
    (answer,) = ask(desk, "COUNT done=2 accepted.gone=4 queue=9")
    assert answer == {"error": "accepted.gone: unknown node; not counted"}
    assert desk.book.view("default", 0.0).queue == 9


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("JUMP high=1", "unknown verb 'JUMP'; use one of STATUS, REPORT"),
        ("REPORT", "queue is missing"),
        ("REPORT queue=nan", "queue must be a whole number from 0"),
        ("REPORT queue=-1", "queue must be a whole number from 0"),
        ("REPORT queue=1e3", "queue must be a whole number from 0"),
        ("REPORT queue=\u0663", "queue must be a whole number from 0"),
        ("REPORT queue=" + "9" * 400, "queue must be a whole number from 0"),
        ("REPORT queue=1 servers=0", "servers must be a whole number from 1"),
        ("REPORT queue=1 rate=NaN", "rate must be a number of jobs per second, above 0"),
        ("REPORT queue=1 rate=inf", "rate must be a number of jobs per second, above 0"),
        ("REPORT queue=1 rate=-2", "rate must be a number of jobs per second, above 0"),
        ("REPORT queue=1 rate=0", "rate must be a number of jobs per second, above 0"),
        ("REPORT queue=1 queue=2", "queue is given twice"),
        ("REPORT queue", "'queue' is not key=value"),
        ("REPORT queue=1 colour=red", "REPORT has no field 'colour'"),
        ("REPORT queue=1 service=a/b", "must be 1 to 32 of the characters"),
        ("REPORT queue=1 address=" + "x" * 65, "address must be at most 64"),
        ("ROUTE service=none", "send REPORT service=none queue=0 first"),
        ("ROUTE hops=x", "hops must be a whole number"),
        ("DONE count=0", "count must be a whole number from 1"),
        ("ACCEPT", "from is missing"),
        ("ACCEPT from=z", "from=z is an unknown node"),
        ("OFFLOAD from=b to=a rate=1", "from=b is not this node, a"),
        ("OFFLOAD from=a to=z rate=1", "to=z is an unknown node"),
        ("OFFLOAD from=a to=b", "rate is missing"),
        ("COUNT sent.b=-1", "sent.b must be a whole number"),
        ("STATUS now=1", "STATUS has no field 'now'"),
    ],
)
def test_a_bad_line_gets_one_line_that_names_the_field_and_changes_nothing(
    line: str, says: str, desk: Any
) -> None:
    (answer,) = ask(desk, line)
    assert answer is not None and list(answer) == ["error"]
    assert says in answer["error"] and "\n" not in answer["error"]
    view = desk.book.view("default", time.monotonic())
    assert (view.queue, view.arrived, view.done, view.sent, view.accepted) == (0, 0, 0, {}, {})


def test_bytes_that_are_no_text_are_refused(desk: Any) -> None:
    answer = Commands(desk, time.monotonic).obey(b"REPORT \xff\xfe", Session())
    assert answer == {"error": "the line is not UTF-8; send VERB key=value ..."}


def test_too_many_services(desk: Any) -> None:
    answers = ask(desk, *(f"REPORT service=s{n} queue=0" for n in range(8)))
    assert answers[:7] == [{"ok": True}] * 7
    assert answers[7] is not None and "one more than 8" in answers[7]["error"]
