"""The page's server: whom it refuses, what it allows, and that no viewer holds anything up."""

from __future__ import annotations

import gc
import json
import math
import socket
import time
import tracemalloc
from contextlib import AsyncExitStack, closing, suppress
from importlib.resources import files
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pictures import picture
from serving import TOKEN, UPGRADE, ask, deaf, page, running, ticking
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views.web import MAX_VIEWERS, Mailbox, PageServer, encode

pytestmark = pytest.mark.anyio


def viewing(server: PageServer, **options: Any) -> connect:
    address = f"ws://127.0.0.1:{server.port}/live?token={TOKEN}"
    return connect(address, proxy=None, max_size=None, compression=None, **options)


async def message(viewer: ClientConnection) -> dict[str, Any]:
    document = json.loads(await viewer.recv())
    assert isinstance(document, dict)
    return document


async def test_the_link_opens_the_page_and_all_its_files() -> None:
    async with running(page()) as server:
        start = await ask(server.port, server.url.partition(str(server.port))[2])
        assert start.status == 200
        assert b"<title>Shivya</title>" in start.body
        for file in files("shivya_daemon.views").joinpath("page").iterdir():
            if file.name == "index.html":
                continue
            found = await ask(server.port, f"/{file.name}")
            assert (found.status, found.body) == (200, file.read_bytes()), file.name
            assert found.headers["content-length"] == str(len(found.body))


async def test_what_the_page_may_do_is_said_with_every_file() -> None:
    async with running(page()) as server:
        for path in (f"/?token={TOKEN}", "/main.js", "/base.css"):
            found = await ask(server.port, path)
            policy = found.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert found.headers["x-content-type-options"] == "nosniff"
            assert found.headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in found.headers


@pytest.mark.parametrize("folder", ["views/page", "drawing", "spirits/physarum"])
def test_the_pictures_need_nothing_from_elsewhere(folder: str) -> None:
    for file in files("shivya_daemon").joinpath(folder).iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "//cdn" not in text, file.name
        assert "innerHTML" not in text and "eval(" not in text, file.name
        assert " style=" not in text and " onclick=" not in text, file.name
        assert text.count("\n") < 400, f"{file.name} holds two ideas"


@pytest.mark.parametrize("upgrade", [(), UPGRADE])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{}", "127.0.0.1", "127.0.0.1:1", "", None, "\xff\x00"]
)
async def test_a_foreign_host_is_refused(host: str | None, upgrade: tuple[str, ...]) -> None:
    async with running(page()) as server:
        if host == "":
            host = " "
        name = None if host is None else host.format(server.port)
        found = await ask(server.port, f"/?token={TOKEN}", *upgrade, host=name)
        assert found.status in (0, 400, 421), "0: hung up on"
        assert b"<html" not in found.body
        if name is not None and name.isprintable():
            assert (found.status, server.counts.refused) == (421, 1)


@pytest.mark.parametrize("upgrade", [(), UPGRADE])
@pytest.mark.parametrize(
    "origins",
    [
        ("http://evil.example",), ("null",), ("https://127.0.0.1:{}",), ("http://127.0.0.1",),
        ("http://127.0.0.1:{}.evil.example",), ("http://127.0.0.1:{}", "http://evil.example"),
    ],
)  # fmt: skip
async def test_a_foreign_origin_is_refused(origins: tuple[str, ...], upgrade: tuple[str, ...]) -> None:
    async with running(page()) as server:
        lines = [f"Origin: {origin.format(server.port)}" for origin in origins]
        found = await ask(server.port, f"/?token={TOKEN}", *lines, *upgrade)
        assert (found.status, server.counts.refused) == (403, 1)


@pytest.mark.parametrize("upgrade", [(), UPGRADE])
@pytest.mark.parametrize(
    "query",
    ["", "?", "?token=", "?token=wrong", f"?token={TOKEN}x", f"?token={TOKEN}&token={TOKEN}", "?" + "&" * 99],
)
async def test_without_the_token_nothing_is_told(query: str, upgrade: tuple[str, ...]) -> None:
    async with running(page()) as server:
        for path in ("/", "/live")[: 2 if upgrade else 1]:
            found = await ask(server.port, path + query, *upgrade)
            assert found.status == 403
            assert b"shivya visualize" in found.body


async def test_our_own_names_and_origins_pass() -> None:
    async with running(page()) as server:
        for name in ("127.0.0.1", "localhost", "LOCALHOST"):
            host = f"{name}:{server.port}"
            assert (await ask(server.port, f"/?token={TOKEN}", host=host)).status == 200
            origin = f"http://{host.lower()}"
            async with viewing(server, origin=origin, additional_headers={}) as viewer:
                assert (await message(viewer))["name"] == "edge-0"


@pytest.mark.parametrize(
    "path", ["/../snapshot.py", "/%2e%2e/web.py", "/index.html", "//etc/passwd", "/main.js/", "/x"]
)
async def test_no_path_leads_out_of_the_page(path: str) -> None:
    async with running(page()) as server:
        assert (await ask(server.port, path)).status == 404
        assert (await ask(server.port, f"{path}?token={TOKEN}", *UPGRADE)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_it_only_tells(method: str) -> None:
    async with running(page()) as server:
        assert (await ask(server.port, f"/?token={TOKEN}", method=method)).status == 405


async def test_noise_ends_no_server() -> None:
    async with running(page()) as server:
        for noise in (b"\x00\xff" * 500, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300, b""):
            async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                await stream.send(noise)
        assert (await ask(server.port, f"/?token={TOKEN}")).status == 200


async def test_the_silent_cannot_take_all_the_room() -> None:
    async with running(page()) as server, AsyncExitStack() as stack:
        for _ in range(64):
            await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", server.port))
        async with await anyio.connect_tcp("127.0.0.1", server.port) as one_more:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await one_more.receive()
        await stack.aclose()
        while (await ask(server.port, f"/?token={TOKEN}")).status != 200:
            pass


async def test_messages_are_the_status_with_time_and_age() -> None:
    async with running(page()) as server, viewing(server) as viewer:
        before = time.time()
        document = await message(viewer)
        expected = picture(tick=document["tick"]).to_json()
        assert before - 60 < document.pop("t") <= time.time()
        assert document.pop("age_seconds") == 0.0
        assert document == json.loads(json.dumps(expected))


def test_a_number_that_is_none_spoils_no_message() -> None:
    def strict(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    odd = picture(collective_free_energy=math.nan, drops={"x": 1}, host={"cpu": math.inf, "memory": 0.5})
    document = json.loads(encode(odd, 1.0, 0.0), parse_constant=strict)
    assert document["collective_free_energy"] is None
    assert document["host"] == {"cpu": None, "memory": 0.5}
    assert len(document["peers"]) == 4


async def test_a_daemon_whose_ticks_end_looks_old() -> None:
    async with running(page(lambda: picture(tick=7))) as server, viewing(server) as viewer:
        ages = [(await message(viewer))["age_seconds"] for _ in range(3)]
        assert ages[0] < ages[1] < ages[2]


async def test_at_most_ten_messages_a_second_and_none_for_nobody() -> None:
    looked: list[float] = []
    look = ticking()

    def watched() -> Any:
        looked.append(time.monotonic())
        return look()

    async with running(page(watched)) as server:
        await ask(server.port)
        assert looked == [], "nobody looks, so no picture is made"
        async with viewing(server) as viewer:
            for _ in range(11):
                await message(viewer)
        assert looked[10] - looked[0] >= 1.0


def large(tick: int) -> Snapshot:
    """A long message that is soon written: one that is not comes the more rarely."""
    return picture(tick=tick, drops={"a long reason " * 12_000: 1})


async def test_a_viewer_that_does_not_read_delays_nobody() -> None:
    async with running(page(ticking(large))) as server, viewing(server) as viewer:
        with closing(deaf(server.port)):
            ticks = []
            while server.counts.dropped < 2:
                ticks.append((await message(viewer))["tick"])
            assert ticks == list(range(ticks[0], ticks[0] + len(ticks))), "the other one missed nothing"
            assert server.counts.viewers == 2


async def test_two_hundred_that_never_read_delay_no_tick_and_take_no_memory() -> None:
    crowd: list[socket.socket] = []

    def come() -> None:
        for _ in range(200):
            with suppress(OSError):  # hung up on before it had asked: that is what the others get, too
                crowd.append(deaf(server.port))

    async with running(page(ticking(large), patience=1e6)) as server, viewing(server) as viewer:
        size = len(await viewer.recv())
        tracemalloc.start()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, come)
                ticks = [(await message(viewer))["tick"] for _ in range(5)]
            while server.counts.viewers < MAX_VIEWERS:
                ticks.append((await message(viewer))["tick"])
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            dropped = server.counts.dropped
            ticks += [(await message(viewer))["tick"] for _ in range(10)]
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            for one in crowd:
                one.close()
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks))), "whoever reads missed nothing"
        assert server.counts.dropped - dropped >= 5 * (MAX_VIEWERS - 1), "each stuck one holds one frame"
        assert after - before < 3 * size, "and no more of them as time goes on"


async def test_a_viewer_that_does_not_read_is_let_go() -> None:
    async with running(page(ticking(large), patience=0.1)) as server, viewing(server) as viewer:
        with closing(deaf(server.port)):
            while not server.counts.stuck:
                await message(viewer)
        await message(viewer)
        assert (server.counts.viewers, server.counts.stuck) == (1, 1)


async def test_a_mailbox_holds_the_newest_frame_only() -> None:
    box = Mailbox()
    assert [box.put(frame) for frame in ("a", "b", "c")] == [False, True, True]
    assert await box.take() == "c"
    assert box.put("d") is False


async def test_viewers_are_limited_and_a_place_is_free_again() -> None:
    async with running(page()) as server:
        async with anyio.create_task_group() as tasks:
            full = anyio.Event()

            async def look_on(*, task_status: Any) -> None:
                async with viewing(server) as viewer:
                    await message(viewer)
                    task_status.started()
                    await full.wait()

            for _ in range(MAX_VIEWERS):
                await tasks.start(look_on)
            with pytest.raises(InvalidStatus) as refused:
                await viewing(server)
            assert refused.value.response.status_code == 503
            full.set()
        async with viewing(server) as viewer:
            await message(viewer)


@pytest.mark.parametrize("said", ['{"do": "drain"}', b"\x00" * 100, "x" * 5000])
async def test_a_viewer_that_speaks_is_let_go(said: str | bytes) -> None:
    async with running(page()) as server, viewing(server) as viewer:
        await viewer.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await viewer.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code in (1008, 1009)


async def test_a_port_in_use_says_what_to_do() -> None:
    async with running(page()) as first:
        second = PageServer(ticking(), first.port, TOKEN, time.monotonic, time.time)
        with pytest.raises(OSError, match="--visualize PORT"):
            await second.serve()


async def test_the_end_of_the_daemon_waits_for_no_viewer() -> None:
    async with running(page()) as server:
        stuck = deaf(server.port)
        async with viewing(server) as viewer:
            await message(viewer)
            begun = time.monotonic()
    stuck.close()
    assert begun > 0.0  # leaving the contexts came to an end
