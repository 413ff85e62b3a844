"""The control socket over real Unix sockets: its verbs, its manners towards bad input, and its bounds."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from shivya_daemon.commands import Commands, Session
from shivya_daemon.control import MAX_CONNECTIONS, MAX_LINE, ControlError, ControlServer
from shivya_daemon.services import ServiceBook

B = b"\xbb" * 20
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Daemon:
    """A desk whose neighbour `b` is idle and wants three jobs a tick."""

    def __init__(self) -> None:
        self.book = ServiceBook(20.0)
        self.tick = 1

    def status(self) -> dict[str, Any]:
        return {"name": "a", "node_id": "aa" * 20}

    def settle(self, service: str) -> list[dict[str, Any]]:
        return [{"from": "a", "to": "b", "service": service, "recommended": 1.5}]

    def peer_id(self, name_or_id: str) -> bytes | None:
        return B if name_or_id in ("b", B.hex()) else None

    def table(self, service: str) -> dict[str, Any]:
        view = self.book.view(service, time.monotonic())
        neighbour = {
            "id": B.hex(),
            "name": "b",
            "address": "127.0.0.1:7001",
            "potential": 0.05,
            "slope": 0.02,
            "service_rate": 40.0,
            "queue": 0,
            "servers": 1,
            "hop": 0.001,
            "age": 0.05,
            "out": view.out.get(B, 0),
            "flow": 3,
        }
        return {
            "service": service,
            "tick": self.tick,
            "gap": 0.05,
            "hop_limit": 8,
            "stale_after": 1.0,
            "service_rate": view.service_rate,
            "servers": view.servers,
            "neighbours": [neighbour],
        }


def ask(desk: Daemon, *lines: str) -> list[dict[str, Any] | None]:
    """Obey lines as one connection, without a socket."""
    commands, session = Commands(desk, time.monotonic), Session()
    return [commands.obey(line.encode(), session) for line in lines]


def test_a_service_ends_with_the_last_connection_that_serves_it() -> None:
    desk = Daemon()
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


def test_the_default_service_goes_back_to_its_beginning() -> None:
    desk = Daemon()
    commands, session = Commands(desk, time.monotonic), Session()
    commands.obey(b"WATCH address=127.0.0.1:7000", session)
    commands.obey(b"REPORT queue=9 rate=3", session)
    commands.close(session)
    view = desk.book.view("default", time.monotonic())
    assert (view.queue, view.service_rate, view.address) == (0, 20.0, None)


@asynccontextmanager
async def serving(path: Path, desk: Daemon | None = None) -> AsyncIterator[ControlServer]:
    server = ControlServer(desk or Daemon(), path)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.serve)
            yield server
            tasks.cancel_scope.cancel()


class Talk:
    """A client that reads one line at a time."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream, self.buffer = stream, b""

    async def line(self) -> dict[str, Any]:
        while b"\n" not in self.buffer:
            self.buffer += await self.stream.receive()
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    async def ask(self, text: str) -> dict[str, Any]:
        await self.stream.send(text.encode() + b"\n")
        return await self.line()


@asynccontextmanager
async def talking(path: Path) -> AsyncIterator[Talk]:
    async with await anyio.connect_unix(path) as stream:
        yield Talk(stream)


# The verbs


def test_status_is_the_answer_to_an_empty_line_too() -> None:
    assert ask(Daemon(), "", "status", "  STATUS ") == [{"name": "a", "node_id": "aa" * 20}] * 3


def test_route_counts_what_it_decides() -> None:
    desk = Daemon()
    answers = ask(desk, "ROUTE", "REPORT queue=10", "ROUTE", "ROUTE hops=3", "ROUTE hops=8")
    target = {"id": B.hex(), "name": "b", "address": "127.0.0.1:7001"}
    assert answers == [{"to": None}, {"ok": True}, {"to": target}, {"to": target}, {"to": None}]
    view = desk.book.view("default", time.monotonic())
    assert (view.arrived, view.sent) == (2, {B: 2})
    assert desk.book.held("default") == 11


def test_route_prices_what_it_has_just_sent() -> None:
    answers = ask(Daemon(), "REPORT queue=4", *["ROUTE"] * 30)
    sent = [answer for answer in answers[1:] if answer != {"to": None}]
    assert 5 <= len(sent) < 25  # own waiting .25: the slope of .02 stops the first burst, then both grow


def test_handover_gives_each_ticks_numbers_once() -> None:
    desk = Daemon()
    move = {"id": B.hex(), "name": "b", "address": "127.0.0.1:7001", "count": 3}
    assert ask(desk, "REPORT queue=30", "HANDOVER", "HANDOVER")[1:] == [{"moves": [move]}, {"moves": []}]
    desk.tick = 2
    assert ask(desk, "HANDOVER") == [{"moves": [move]}]
    assert desk.book.held("default") == 24
    assert desk.book.view("default", time.monotonic()).sent == {B: 6}


def test_accept_done_offload_and_settle() -> None:
    desk = Daemon()
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


def test_count_is_silent_and_complete() -> None:
    desk = Daemon()
    line = f"COUNT arrived=5 done=2 sent.{B.hex()}=3 unsent.{B.hex()}=1 accepted.b=4 queue=9 servers=2 rate=8"
    assert ask(desk, line) == [None]
    view = desk.book.view("default", time.monotonic())
    assert (view.arrived, view.done, view.sent, view.accepted) == (5, 2, {B: 2}, {B: 4})
    assert (view.queue, view.servers, view.service_rate) == (9, 2, 8.0)


def test_count_of_a_node_that_is_gone_costs_only_its_own_counts() -> None:
    desk = Daemon()
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
def test_a_bad_line_gets_one_line_that_names_the_field_and_changes_nothing(line: str, says: str) -> None:
    desk = Daemon()
    (answer,) = ask(desk, line)
    assert answer is not None and list(answer) == ["error"]
    assert says in answer["error"] and "\n" not in answer["error"]
    view = desk.book.view("default", time.monotonic())
    assert (view.queue, view.arrived, view.done, view.sent, view.accepted) == (0, 0, 0, {}, {})


def test_bytes_that_are_no_text_are_refused() -> None:
    answer = Commands(Daemon(), time.monotonic).obey(b"REPORT \xff\xfe", Session())
    assert answer == {"error": "the line is not UTF-8; send VERB key=value ..."}


def test_too_many_services() -> None:
    answers = ask(Daemon(), *(f"REPORT service=s{n} queue=0" for n in range(8)))
    assert answers[:7] == [{"ok": True}] * 7
    assert answers[7] is not None and "one more than 8" in answers[7]["error"]


# The socket


async def test_lines_are_answered_in_order_however_they_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with serving(path), talking(path) as client:
        for byte in b"REPORT queue=5\nDO":
            await client.stream.send(bytes([byte]))
        assert await client.line() == {"ok": True}
        await client.stream.send(b"NE\nSTATUS\r\n\nROUTE hops=9")
        assert await client.line() == {"ok": True}
        assert (await client.line())["name"] == "a"
        assert (await client.line())["name"] == "a"
        await client.stream.send_eof()
        assert await client.line() == {"to": None}
        with pytest.raises(anyio.EndOfStream):
            await client.stream.receive()


async def test_a_line_without_end_closes_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with serving(path):
        async with talking(path) as client:
            await client.stream.send(b"x" * (MAX_LINE + 1))
            assert "longer than 4096 bytes" in (await client.line())["error"]
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.stream.receive()
        async with talking(path) as client:
            assert (await client.ask("STATUS"))["name"] == "a"


async def test_a_fault_behind_the_desk_is_an_error_line(tmp_path: Path) -> None:
    class Broken(Daemon):
        def status(self) -> dict[str, Any]:
            raise RuntimeError("boom")

    path = tmp_path / "node.sock"
    async with serving(path, Broken()), talking(path) as client:
        assert "see its log" in (await client.ask("STATUS"))["error"]
        assert await client.ask("DONE") == {"ok": True}


async def test_a_watcher_gets_the_table_at_once_and_on_every_change(tmp_path: Path) -> None:
    path, desk = tmp_path / "node.sock", Daemon()
    async with serving(path, desk) as server, talking(path) as client:
        table = (await client.ask("WATCH service=resize address=10.0.0.7:7000"))["table"]
        assert (table["service"], table["tick"], table["neighbours"][0]["seen"]) == ("resize", 1, 0)
        assert desk.book.view("resize", 0.0).address == "10.0.0.7:7000"
        await client.stream.send(f"COUNT service=resize sent.{B.hex()}=2\n".encode())
        assert await client.ask("DONE service=resize") == {"ok": True}
        desk.tick = 2
        server.notify()
        table = (await client.line())["table"]
        assert table["tick"] == 2
        assert (table["neighbours"][0]["out"], table["neighbours"][0]["seen"]) == (2, 2)
        async with talking(path) as other:  # what one connection reported, another has not
            table = (await other.ask("WATCH service=resize"))["table"]
            assert (table["neighbours"][0]["out"], table["neighbours"][0]["seen"]) == (2, 0)


async def test_a_watcher_that_does_not_read_gets_the_latest_table_and_delays_nobody(tmp_path: Path) -> None:
    class Verbose(Daemon):
        """One table fills the socket's buffers."""

        def table(self, service: str) -> dict[str, Any]:
            return {**super().table(service), "padding": "x" * 500_000}

    path, desk = tmp_path / "node.sock", Verbose()
    async with serving(path, desk) as server, talking(path) as slow, talking(path) as other:
        await slow.stream.send(b"WATCH\n")
        for tick in range(2, 200):
            desk.tick = tick
            server.notify()
            assert await other.ask("DONE") == {"ok": True}
        ticks = [(await slow.line())["table"]["tick"]]
        while ticks[-1] != 199:
            ticks.append((await slow.line())["table"]["tick"])
        assert len(ticks) < 10 and ticks == sorted(ticks)


async def test_a_watcher_that_has_nothing_more_to_say_still_watches(tmp_path: Path) -> None:
    path, desk = tmp_path / "node.sock", Daemon()
    async with serving(path, desk) as server, talking(path) as client:
        await client.stream.send(b"WATCH")  # without a newline, as `printf WATCH | nc -UN` sends it
        await client.stream.send_eof()
        assert (await client.line())["table"]["tick"] == 1
        desk.tick = 2
        server.notify()
        assert (await client.line())["table"]["tick"] == 2


async def test_connections_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with serving(path) as server:
        streams = [await anyio.connect_unix(path) for _ in range(MAX_CONNECTIONS)]
        for stream in streams:
            assert await Talk(stream).ask("DONE") == {"ok": True}
        async with talking(path) as extra:
            assert "64 connections are open" in (await extra.line())["error"]
        assert server.refused == 1
        for stream in streams:
            await stream.aclose()


# The file


async def test_the_socket_is_private_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "run" / "node.sock"
    async with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_live_socket_is_refused_and_a_dead_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with serving(path):
        with pytest.raises(ControlError, match="a daemon already answers"):
            await ControlServer(Daemon(), path).serve()
        async with talking(path) as client:
            assert await client.ask("DONE") == {"ok": True}
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(path), talking(path) as client:
        assert await client.ask("DONE") == {"ok": True}


async def test_a_socket_that_replaced_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    async with serving(path):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: folder.chmod(0o770), "others may write"),
        (lambda folder: folder.chmod(0o707), "others may write"),
        (lambda folder: (folder / "node.sock").write_text("mine"), "is no socket"),
    ],
)
async def test_a_directory_or_file_that_is_not_ours_alone_is_refused(
    tmp_path: Path, spoil: Any, says: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    spoil(folder)
    with pytest.raises(ControlError, match=says):
        await ControlServer(Daemon(), folder / "node.sock").serve()


async def test_a_linked_directory_and_one_of_another_user_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(ControlError, match="symbolic link"):
        await ControlServer(Daemon(), tmp_path / "link" / "node.sock").serve()
    owner = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    with pytest.raises(ControlError, match="belongs to another user"):
        await ControlServer(Daemon(), tmp_path / "real" / "node.sock").serve()
