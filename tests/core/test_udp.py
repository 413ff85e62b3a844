"""The UDP driver on loopback: two real nodes meet, noise is survived, goodbyes are sent."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Callable

import anyio
import pytest

from shivya_daemon.core.events import Event, HeartbeatReceived, PeerJoined, PeerLeft
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import LocalLoad, Node, NodeSettings
from shivya_daemon.net.udp import UdpDriver

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Watch:
    """Collects the events of one driver, and lets a test await a condition on them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = anyio.Event()

    def __call__(self, events: list[Event]) -> None:
        self.events += events
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not condition():
                await self._changed.wait()


def driver(watch: Watch | None = None, host: str = "127.0.0.1", **options: int) -> UdpDriver:
    node = Node(Identity.generate(os.urandom), NodeSettings(), os.urandom, incarnation=1)
    driven = UdpDriver(node, host, on_events=watch, **options)
    node.advertise((driven.address,))
    return driven


def saw(watch: Watch, kind: type) -> bool:
    return any(isinstance(event, kind) for event in watch.events)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_two_nodes_meet_talk_and_part(host: str) -> None:
    watches = Watch(), Watch()
    try:
        first, second = driver(watches[0], host), driver(watches[1], host)
    except OSError:
        pytest.skip(f"no {host} on this machine")
    second.node.connect(first.address, second.now())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        tasks.start_soon(second.run)
        for watch, other in zip(watches, (second, first), strict=True):
            await watch.until(lambda watch=watch: saw(watch, HeartbeatReceived))
            assert PeerJoined(other.node.id, 1) in watch.events
        (view,) = first.node.peers(first.now())
        assert view.address == second.address
        assert view.rtt is not None and 0.0 <= view.rtt < 1.0
        second.node.leave(second.now())
        second.wake()
        await watches[0].until(lambda: saw(watches[0], PeerLeft))
        assert PeerLeft(second.node.id, "left") in watches[0].events
        tasks.cancel_scope.cancel()


async def test_publication_is_sent_by_wake_and_not_by_the_timer() -> None:
    watch = Watch()
    first, second = driver(watch), driver()
    second.node.connect(first.address, second.now())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        tasks.start_soon(second.run)
        await watch.until(lambda: saw(watch, HeartbeatReceived))
        second.node.publish(LocalLoad(free_energy=7.5), second.now())
        second.wake()
        await watch.until(lambda: first.node.peers(first.now())[0].free_energy == 7.5)
        tasks.cancel_scope.cancel()


async def test_a_flood_of_noise_is_survived() -> None:
    watch = Watch()
    first, second = driver(watch), driver()
    noise = random.Random(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            for number in range(5000):
                head = b"SHVY" if number % 2 else b""
                attacker.sendto(head + noise.randbytes(noise.randrange(1400)), first.address)
                if number % 50 == 0:
                    await anyio.lowlevel.checkpoint()
        second.node.connect(first.address, second.now())
        tasks.start_soon(second.run)
        await watch.until(lambda: saw(watch, HeartbeatReceived))
        tasks.cancel_scope.cancel()
    drops = first.node.counters.drops
    assert sum(drops.get(reason, 0) for reason in ("unknown_type", "truncated", "trailing_bytes")) > 500
    assert first.node.members == {second.node.id}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what its queue had no room for")
async def test_what_the_kernel_had_no_room_for_is_counted_once() -> None:
    busy, peer = driver(receive_buffer=8192), driver()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(500):  # nobody reads yet
            sender.sendto(b"noise", busy.address)
    counters = busy.node.counters
    peer.node.connect(busy.address, peer.now())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(busy.run)
        tasks.start_soon(peer.run)
        with anyio.fail_after(20):
            while not counters.drops.get("kernel_queue_full"):
                await anyio.sleep(0.01)
        lost = counters.drops["kernel_queue_full"]
        assert lost > 400
        timers = counters.datagrams_sent + 20
        with anyio.fail_after(20):
            while counters.datagrams_sent < timers:
                await anyio.sleep(0.01)
        assert counters.drops["kernel_queue_full"] == lost, "the same ones are not counted again"
        assert lost + counters.drops["unknown_type"] == 500
        tasks.cancel_scope.cancel()


async def test_where_the_kernel_does_not_tell_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shivya_daemon.net.udp._SO_MEMINFO", 9999)
    watch = Watch()
    first, second = driver(watch), driver()
    second.node.connect(first.address, second.now())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        tasks.start_soon(second.run)
        await watch.until(lambda: saw(watch, HeartbeatReceived))
        tasks.cancel_scope.cancel()
    assert "kernel_queue_full" not in first.node.counters.drops


async def test_what_cannot_be_sent_is_counted_and_forgotten() -> None:
    lonely = driver()
    lonely.node.connect(("2001:db8::1", 8085), lonely.now())  # unreachable from an IPv4 socket
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lonely.run)
        with anyio.fail_after(20):
            while not lonely.node.counters.drops.get("send_failed"):
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_the_last_words_are_sent_when_the_driver_is_cancelled() -> None:
    watch = Watch()
    first, second = driver(watch), driver()
    second.node.connect(first.address, second.now())
    async with anyio.create_task_group() as outer:
        outer.start_soon(first.run)
        async with anyio.create_task_group() as inner:
            inner.start_soon(second.run)
            await watch.until(lambda: saw(watch, HeartbeatReceived))
            second.node.leave(second.now())
            inner.cancel_scope.cancel()
        await watch.until(lambda: PeerLeft(second.node.id, "left") in watch.events)
        outer.cancel_scope.cancel()


def test_a_port_in_use_is_an_os_error() -> None:
    first = driver()
    with pytest.raises(OSError):
        UdpDriver(first.node, *first.address)
    first.close()
    first.close()
