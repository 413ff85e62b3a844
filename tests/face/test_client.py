"""The client against a real control socket: decisions, counts that arrive, and a daemon that goes away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import shivya
from anyio.from_thread import BlockingPortal, start_blocking_portal
from shivya import leasing
from shivya.client import Client, Load, Peer

from shivya_daemon import placement
from shivya_daemon.control import ControlServer
from shivya_daemon.services import ServiceBook

B, C = b"\xbb" * 20, b"\xcc" * 20
SAFETY = 20.0
"""Seconds after which a test gives up waiting for an event."""


class Daemon:
    """A desk with two idle neighbours; `c` is the dearer one."""

    def __init__(self) -> None:
        self.book = ServiceBook(20.0)
        self.tick = 1
        self.flow = 0
        self.ages = {B: 0.05, C: 0.05}
        self.queues = {B: 0, C: 0}
        self.operations = None

    def status(self) -> dict[str, Any]:
        return {"name": "a", "node_id": "aa" * 20}

    def settle(self, service: str) -> list[dict[str, Any]]:
        return []

    def peer_id(self, name_or_id: str) -> bytes | None:
        return {"b": B, "c": C, B.hex(): B, C.hex(): C}.get(name_or_id)

    def table(self, service: str) -> dict[str, Any]:
        view = self.book.view(service, time.monotonic())
        rows = [
            {
                "id": peer.hex(),
                "name": name,
                "address": f"127.0.0.1:700{index}",
                "potential": potential,
                "slope": 0.1,
                "service_rate": 20.0,
                "queue": self.queues[peer],
                "servers": 1,
                "hop": 0.001,
                "age": self.ages[peer],
                "out": view.out.get(peer, 0),
                "flow": self.flow,
            }
            for index, (name, peer, potential) in enumerate((("b", B, 0.05), ("c", C, 0.2)))
        ]
        return {
            "service": service,
            "tick": self.tick,
            "gap": 0.05,
            "hop_limit": 8,
            "stale_after": 1.0,
            "pull_wait": 0.06,
            "service_rate": view.service_rate,
            "servers": view.servers,
            "neighbours": rows,
        }


@contextmanager
def serving(portal: BlockingPortal, path: Path, desk: Daemon) -> Iterator[ControlServer]:
    server = ControlServer(desk, path)

    future, _ = portal.start_task(server.serve)
    try:
        yield server
    finally:
        future.cancel()
        with suppress(CancelledError):
            future.result(SAFETY)


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal("asyncio") as portal:
        yield portal


class Bench:
    """A daemon and a client that has its table."""

    def __init__(self, portal: BlockingPortal, server: ControlServer, desk: Daemon, client: Client) -> None:
        self.portal, self.server, self.desk, self.client = portal, server, desk, client

    def push(self) -> None:
        """Push a table and wait until the client decides by it."""
        before = self.client._table
        self.portal.call(self.server.notify)
        until(lambda: self.client._table is not before)

    def view(self) -> Any:
        return self.portal.call(lambda: self.desk.book.view("resize", time.monotonic()))


def until(holds: Callable[[], bool]) -> None:
    """Wait for another thread to make something true."""
    tick, end = threading.Event(), time.monotonic() + SAFETY
    while not holds():
        assert time.monotonic() < end, "nothing happened"
        tick.wait(0.002)


@pytest.fixture
def bench(portal: BlockingPortal, tmp_path: Path) -> Iterator[Bench]:
    desk, path = Daemon(), tmp_path / "node.sock"
    with serving(portal, path, desk) as server, Client("resize", "127.0.0.1:7009", socket=path) as client:
        assert client.wait_ready(SAFETY)
        yield Bench(portal, server, desk, client)


def test_jobs_go_where_they_wait_least_and_are_counted(bench: Bench) -> None:
    client = bench.client
    client.report(3)  # own waiting .2; b costs .101, then .201 with a job under way; c .251
    assert client.route() == Peer(B.hex(), "b", "127.0.0.1:7000")
    assert client.route() is None  # .201 does not pay; four jobs here now, .25
    assert client.route() == Peer(B.hex(), "b", "127.0.0.1:7000")
    assert client.route(hops=1) is None
    until(lambda: bench.view().arrived == 3)
    view = bench.view()
    assert (view.address, view.sent, view.queue) == ("127.0.0.1:7009", {B: 2}, 5)


def test_a_job_that_uses_a_lease_goes_to_the_node_that_lends_it(bench: Bench, tmp_path: Path) -> None:
    row = {"id": "ab" * 16, "resource": "millicores", "amount": 5, "name": "c", "price": 0}
    bench.client.report(queue=0)
    there = leasing.Lease(tmp_path / "s", {**row, "provider": C.hex(), "here": False}, 60)
    here = leasing.Lease(tmp_path / "s", {**row, "provider": "aa" * 20, "here": True}, 60)
    gone = leasing.Lease(tmp_path / "s", {**row, "provider": "ff" * 20, "here": False}, 60)
    peer = bench.client.route(lease=there)
    assert peer is not None and peer.id == C.hex(), "the dearer neighbour"
    assert bench.client.route(lease=here) is None
    with pytest.raises(shivya.LeaseRefused, match="takes no jobs of service resize"):
        bench.client.route(lease=gone)
    there.lost.set()
    with pytest.raises(shivya.LeaseRefused, match="the lease is over"):
        bench.client.route(lease=there)
    bench.client.report(queue=1)
    until(lambda: (bench.view().sent, bench.view().queue) == ({C: 1}, 1))


def test_a_job_born_earlier_than_those_that_wait_has_less_to_wait_for(bench: Bench) -> None:
    bench.client.report(3)  # last in line it would wait .2 here, first .1; b costs .101
    assert bench.client.route(hops=1, ahead=0) is None
    assert bench.client.route(hops=1, ahead=3) == Peer(B.hex(), "b", "127.0.0.1:7000")


def test_an_idle_node_asks_the_neighbour_that_has_most(bench: Bench) -> None:
    client = bench.client
    bench.desk.queues = {B: 3, C: 40}
    bench.push()
    assert client.whom_to_ask() is None, "nothing was reported yet"
    client.report(0)
    assert client.whom_to_ask() == Peer(C.hex(), "c", "127.0.0.1:7001")
    client.report(1)
    assert client.whom_to_ask() is None
    assert client.handover() == [] and sum(bench.view().sent.values()) == 0, "asking counts nothing"


def test_what_is_given_to_an_idle_neighbour_counts_as_sent(bench: Bench) -> None:
    client = bench.client
    assert client.give("b") is None
    client.report(3)  # tail .15; there 1/20 + .001 + .05
    assert client.give("nobody") is None
    peer = client.give("b")
    assert peer == Peer(B.hex(), "b", "127.0.0.1:7000")
    assert client._out == [1, 0]
    assert client.give(C.hex()) is None, "two are left, and the last one waits .1"
    until(lambda: bench.view().sent == {B: 1} and bench.view().queue == 2)
    client.unsent(peer)
    until(lambda: bench.view().sent == {B: 0} and bench.view().queue == 3)


def test_before_the_first_report_everything_stays(bench: Bench) -> None:
    assert [bench.client.route() for _ in range(50)] == [None] * 50
    assert bench.client.load() is None


def test_done_and_accepted_are_reported(bench: Bench) -> None:
    client = bench.client
    client.report(6, servers=2, service_rate=8.0)
    client.done(2)
    client.accepted("b", 3)
    client.accepted(Peer(C.hex(), "c", None))
    client.accepted("no node\n")
    until(lambda: bench.view().done == 2 and len(bench.view().accepted) == 2)
    view = bench.view()
    assert (view.queue, view.servers) == (4, 2)
    assert view.service_rate == pytest.approx(12 / (10 / 8.0), rel=0.1), (
        "two jobs in no time, beside ten at 8 per second"
    )
    assert view.accepted == {B: 3, C: 1}
    assert client.ignored == 1


def test_busy_time_is_counted_to_the_instant_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, now = Client("resize", socket=tmp_path / "nobody.sock"), 100.0
    monkeypatch.setattr("shivya.client.time.monotonic", lambda: now)

    def told(after: float) -> str:
        nonlocal now
        now += after
        return client._collect().decode().split()[-1]

    client.report(3, servers=2)
    assert told(0.25) == "busy=0.500000"
    client.done(2)  # one is left, and one server idle
    assert told(0.1) == "busy=0.100000"
    now += 0.003
    client.done()
    assert told(1.0) == "busy=0.003000"
    assert client.route() is None
    now += 0.5
    client._on_open()  # another daemon: what was counted for the last one is no news to it
    assert told(0.125) == "busy=0.125000"


def test_a_table_that_counts_our_jobs_does_not_count_them_twice(bench: Bench) -> None:
    client = bench.client
    client.report(30)
    peers = [client.route() for _ in range(6)]
    until(lambda: sum(bench.view().sent.values()) == 6)
    priced = list(client._out)
    assert sum(priced) == len([peer for peer in peers if peer]) == 6
    bench.push()
    assert client._out == priced  # the daemon's count has taken the place of our own
    bench.portal.call(bench.desk.book.acknowledge, "resize", B, 6, time.monotonic())
    bench.push()
    assert client._out == [0, priced[1]]


def test_unsent_jobs_are_here_again(bench: Bench) -> None:
    client = bench.client
    client.report(10)
    peer = client.route()
    assert peer is not None
    client.unsent(peer)
    assert client._out[0] == 0
    until(lambda: bench.view().queue == 11)
    assert sum(bench.view().out.values()) == 0


def test_handover_gives_each_ticks_numbers_once(bench: Bench) -> None:
    client = bench.client
    client.report(40)
    assert client.handover() == []
    bench.desk.flow, bench.desk.tick = 3, 2
    bench.push()
    peers = [Peer(B.hex(), "b", "127.0.0.1:7000"), Peer(C.hex(), "c", "127.0.0.1:7001")]
    assert client.handover() == [(peers[0], 3), (peers[1], 3)]
    bench.push()  # the same tick again, with fresher ages
    assert client.handover() == []
    bench.desk.tick = 3
    bench.push()
    assert client.handover() == [(peers[0], 3), (peers[1], 3)]
    until(lambda: bench.view().sent == {B: 6, C: 6})
    assert client.load() is not None and client.load().queue == 28  # type: ignore[union-attr]


def test_a_table_older_than_a_second_means_here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = bench.client
    client.report(100)
    bench.desk.ages = {B: 0.9, C: 0.2}
    bench.push()
    now = time.monotonic()
    monkeypatch.setattr("shivya.client.time.monotonic", lambda: now + 0.5)
    assert client.route() == Peer(C.hex(), "c", "127.0.0.1:7001")
    monkeypatch.setattr("shivya.client.time.monotonic", lambda: now + 1.01)
    assert client.route() is None
    assert client.handover() == []


def test_load_is_what_placement_knows(bench: Bench) -> None:
    bench.client.report(30, service_rate=20.0)
    load = bench.client.load()
    assert load == Load(30, 20.0, pytest.approx(0.05 + 0.001 + 0.05))


def test_without_a_daemon_every_job_stays(tmp_path: Path) -> None:
    with Client(socket=tmp_path / "nobody.sock") as client:
        assert not client.connected
        client.report(500)
        assert client.route() is None
        assert client.handover() == []
        client.done(3)
        assert not client.wait_ready(0.0)


def test_a_restarted_daemon_is_told_anew(portal: BlockingPortal, tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    with Client("resize", "127.0.0.1:7009", socket=path) as client:
        with serving(portal, path, Daemon()):
            assert client.wait_ready(SAFETY)
            client.report(30, servers=3, service_rate=9.0)
            assert client.route() is not None
        until(lambda: not client.connected)
        assert client.route() is None
        second = Daemon()
        with serving(portal, path, second):
            assert client.wait_ready(SAFETY)
            until(lambda: second.book.view("resize", 0.0).queue == 31)
            view = second.book.view("resize", 0.0)
            assert (view.address, view.servers, view.service_rate) == ("127.0.0.1:7009", 3, 9.0)
            assert (view.sent, view.arrived) == ({}, 0)  # what the first one was told is not news
            assert client.route() is not None


def test_what_was_counted_last_arrives_before_the_end(portal: BlockingPortal, tmp_path: Path) -> None:
    desk, path = Daemon(), tmp_path / "node.sock"
    with serving(portal, path, desk):
        with Client("resize", socket=path) as client:
            assert client.wait_ready(SAFETY)
            client.report(7)
            client.done(2)
        until(lambda: desk.book.view("resize", 0.0).done == 2)


def test_the_daemons_objection_can_be_read(portal: BlockingPortal, tmp_path: Path) -> None:
    desk, path = Daemon(), tmp_path / "node.sock"
    for index in range(7):
        desk.book.report(f"s{index}", 0.0, 0)
    with serving(portal, path, desk), Client("one-more", socket=path) as client:
        until(lambda: client.last_error is not None)
        assert "one more than 8" in str(client.last_error)


def test_many_counts_fit_into_the_daemons_lines(bench: Bench) -> None:
    for index in range(64):
        bench.client.accepted(f"{index:040x}")
    bench.client.done(1)
    until(lambda: len(bench.view().accepted) == 64)
    assert bench.client.last_error is None


@pytest.mark.parametrize(
    "bad", [{"queue": -1}, {"queue": 1, "servers": 0}, {"queue": 1, "service_rate": 0.0}]
)
def test_a_report_out_of_range_is_refused_at_once(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Client(socket=tmp_path / "node.sock").report(**bad)


def test_garbage_from_the_socket_is_counted_not_raised(tmp_path: Path) -> None:
    client = Client(socket=tmp_path / "node.sock")
    link = client._link
    table = json.dumps({"table": Daemon().table("default")}).encode()
    rest = link._read(b'\xff\n[1]\n7\n{"table":3}\n{"table":{}}\n' + b"[" * 100_000 + b"\n" + table + b"\n{")
    assert (rest, link.malformed) == (b"{", 6)
    assert client._table is not None


def test_a_decision_takes_no_system_call_while_counts_are_pending(tmp_path: Path) -> None:
    """The thread is rung at most once until it has collected."""
    client = Client(socket=tmp_path / "nobody.sock")
    rings: list[bytes] = []

    class Ring:
        def send(self, data: bytes) -> int:
            rings.append(data)
            return len(data)

    client._link._ring = Ring()  # type: ignore[assignment]
    client._on_table(placement.parse_table(Daemon().table("default")))
    client.report(10)
    for _ in range(1000):
        client.route()
    assert len(rings) == 1
