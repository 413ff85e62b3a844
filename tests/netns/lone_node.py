"""A node without a daemon, as a process: it stores and looks up, which no daemon is asked to do.

    lone_node.py KEY-FILE BIND PEER-HOST PEER-PORT NAME

It announces itself as fully as an announcement can. Requests come as lines, each answered by one JSON line:
`id`, `linked ID` (when there is a link), `sent BYTES` (when a datagram was so long), `put TEXT`, `get KEY`,
`find ID`, `drops`. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.gossip.capabilities import Capabilities, Compute, Storage
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Address, Node, NodeSettings, Operation
from shivya_daemon.net.udp import UdpDriver

_POLL = 0.02
_TEXTS = tuple(letter * 23 for letter in "abcdefgh")
PROFILE = Profile(
    capabilities=Capabilities(Compute(8, 16_384), Storage(10**6, 10**4), _TEXTS, 10**9, _TEXTS),
    seeks=Capabilities(gateway=_TEXTS, tags=_TEXTS[:4]),
)
"""With a name and an address, an announcement of nearly the 900 bytes that one may have."""


class Measured(Node):
    """A node that knows the longest datagram it ever sent."""

    longest = 0

    def datagrams(self) -> list[tuple[bytes, Address]]:
        """Return what to send, and look at it."""
        sent = super().datagrams()
        self.longest = max((self.longest, *(len(data) for data, _ in sent)))
        return sent


async def main(key_file: str, bind: str, host: str, port: str, name: str) -> None:
    """Join, and answer until standard input ends."""
    node = Measured(
        Identity.generate(os.urandom),
        NodeSettings(name=name),
        os.urandom,
        time.time_ns() // 1_000_000,
        mesh_key=Path(key_file).read_bytes(),
        profile=PROFILE,
    )
    driver = UdpDriver(node, bind)
    node.advertise((driver.address,))
    node.connect((host, int(port)), driver.now())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(driver.run())
        while line := await asyncio.to_thread(sys.stdin.readline):
            verb, _, argument = line.strip().partition(" ")
            answer = await _obey(node, driver, verb, argument)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        node.leave(driver.now())
        running.cancel()


async def _obey(node: Measured, driver: UdpDriver, verb: str, argument: str) -> Any:
    match verb:
        case "id":
            return node.id.hex()
        case "linked":
            while bytes.fromhex(argument) not in node.links:
                await asyncio.sleep(_POLL)
            return True
        case "put":
            stored = node.put(argument.encode())
            return {"key": stored.key.hex(), "holders": await _result(stored, driver)}
        case "get":
            value = await _result(node.get(bytes.fromhex(argument)), driver)
            return None if value is None else value.decode()
        case "find":
            peer = await _result(node.find(bytes.fromhex(argument)), driver)
            return None if peer is None else [peer.host, peer.port]
        case "drops":
            return dict(node.counters.drops)
        case "sent":
            while node.longest < int(argument):
                await asyncio.sleep(_POLL)
            return node.longest
    raise ValueError(verb)


async def _result(operation: Operation[Any], driver: UdpDriver) -> Any:
    driver.wake()
    while not operation.done:
        await asyncio.sleep(_POLL)
    return operation.result


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
