"""The control socket over real Unix sockets: who is served, who is refused, and its bounds."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from shivya_daemon.control import MAX_CONNECTIONS, MAX_LINE, ControlError, ControlServer

B = b"\xbb" * 20
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def serving(path: Path, desk: Any) -> AsyncIterator[ControlServer]:
    server = ControlServer(desk, path)
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


async def test_lines_are_answered_in_order_however_they_are_cut(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "node.sock"
    async with serving(path, desk), talking(path) as client:
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


async def test_a_line_without_end_closes_the_connection(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "node.sock"
    async with serving(path, desk):
        async with talking(path) as client:
            await client.stream.send(b"x" * (MAX_LINE + 1))
            assert "longer than 4096 bytes" in (await client.line())["error"]
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.stream.receive()
        async with talking(path) as client:
            assert (await client.ask("STATUS"))["name"] == "a"


async def test_a_fault_behind_the_desk_is_an_error_line(tmp_path: Path, desk: Any) -> None:
    class Broken(type(desk)):  # type: ignore[misc]
        def status(self) -> dict[str, Any]:
            raise RuntimeError("boom")

    path = tmp_path / "node.sock"
    async with serving(path, Broken()), talking(path) as client:
        assert "see its log" in (await client.ask("STATUS"))["error"]
        assert await client.ask("DONE") == {"ok": True}


async def test_a_watcher_gets_the_table_at_once_and_on_every_change(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "node.sock"
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


async def test_who_watches_a_lease_is_told_and_let_go_when_it_is_over(tmp_path: Path, desk: Any) -> None:
    path, leases = tmp_path / "node.sock", desk.operations.leases
    leases.row = {"state": "held"}
    async with serving(path, desk) as server, talking(path) as client:
        assert (await client.ask("LEASES lease=abcd watch=1"))["lease"]["state"] == "held"
        await client.stream.send_eof()
        server.notify()  # nothing has changed, and nothing is said
        leases.row = {"state": "over", "reason": "silent"}
        server.notify()
        assert (await client.line())["lease"]["reason"] == "silent"
        with pytest.raises(anyio.EndOfStream):
            await client.stream.receive()


async def test_a_watcher_that_does_not_read_gets_the_latest_table_and_delays_nobody(
    tmp_path: Path, desk: Any
) -> None:
    class Verbose(type(desk)):  # type: ignore[misc]
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


async def test_a_watcher_that_has_nothing_more_to_say_still_watches(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "node.sock"
    async with serving(path, desk) as server, talking(path) as client:
        await client.stream.send(b"WATCH")  # without a newline, as `printf WATCH | nc -UN` sends it
        await client.stream.send_eof()
        assert (await client.line())["table"]["tick"] == 1
        desk.tick = 2
        server.notify()
        assert (await client.line())["table"]["tick"] == 2


async def test_connections_are_bounded(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "node.sock"
    async with serving(path, desk) as server:
        streams = [await anyio.connect_unix(path) for _ in range(MAX_CONNECTIONS)]
        for stream in streams:
            assert await Talk(stream).ask("DONE") == {"ok": True}
        async with talking(path) as extra:
            assert "64 connections are open" in (await extra.line())["error"]
        assert server.refused == 1
        for stream in streams:
            await stream.aclose()


async def test_the_socket_is_private_and_goes_with_the_server(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "run" / "node.sock"
    async with serving(path, desk):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_live_socket_is_refused_and_a_dead_one_replaced(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "node.sock"
    async with serving(path, desk):
        with pytest.raises(ControlError, match="a daemon already answers"):
            await ControlServer(desk, path).serve()
        async with talking(path) as client:
            assert await client.ask("DONE") == {"ok": True}
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(path, desk), talking(path) as client:
        assert await client.ask("DONE") == {"ok": True}


async def test_a_socket_that_replaced_ours_is_left_alone(tmp_path: Path, desk: Any) -> None:
    path = tmp_path / "node.sock"
    async with serving(path, desk):
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
    tmp_path: Path, spoil: Any, says: str, desk: Any
) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    spoil(folder)
    with pytest.raises(ControlError, match=says):
        await ControlServer(desk, folder / "node.sock").serve()


async def test_a_linked_directory_and_one_of_another_user_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desk: Any
) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(ControlError, match="symbolic link"):
        await ControlServer(desk, tmp_path / "link" / "node.sock").serve()
    owner = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    with pytest.raises(ControlError, match="belongs to another user"):
        await ControlServer(desk, tmp_path / "real" / "node.sock").serve()
