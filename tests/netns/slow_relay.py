"""A UDP relay that takes its time: the latency that this kernel cannot make, between two hosts.

    slow_relay.py SECONDS LISTEN>HOST SECONDS LISTEN>HOST      (addresses as 10.0.0.1:8085)

Each pair is one side: what HOST sends to LISTEN leaves from the other side's LISTEN to the other side's HOST,
SECONDS later. It says `ready` when it listens, and ends when its input does.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

MAX_WAITING = 4096  # datagrams of one direction; more are lost
_LONGEST = 65_535

Address = tuple[str, int]


@dataclass
class Side:
    """One of the two hosts, and the socket that stands for the other."""

    delay: float
    host: Address
    socket: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    """What came from the host, and when it may go on."""

    def take(self) -> None:
        """Read one datagram; what is not from the host, or too much, is dropped."""
        data, source = self.socket.recvfrom(_LONGEST)
        if source == self.host and len(self.waiting) < MAX_WAITING:
            self.waiting.append((time.monotonic() + self.delay, data))

    def pass_on(self, other: Side) -> None:
        """Send on what has waited long enough; an unreachable host loses it, as a network would."""
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, data = self.waiting.popleft()
            try:
                other.socket.sendto(data, other.host)
            except OSError:
                continue


def main(arguments: list[str]) -> None:
    """Relay until standard input ends."""
    near, far = (
        _side(float(delay), pair) for delay, pair in zip(arguments[::2], arguments[1::2], strict=True)
    )
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for side in (near, far):
            selector.register(side.socket, selectors.EVENT_READ, side)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            due = [side.waiting[0][0] for side in (near, far) if side.waiting]
            pause = max(0.0, min(due) - time.monotonic()) if due else None
            for key, _ in selector.select(pause):
                if key.data is None:
                    return
                key.data.take()
            near.pass_on(far)
            far.pass_on(near)


def _side(delay: float, pair: str) -> Side:
    listen, host = (_address(text) for text in pair.split(">"))
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(listen)
    return Side(delay, host, bound)


def _address(text: str) -> Address:
    host, port = text.rsplit(":", 1)
    return host, int(port)


if __name__ == "__main__":
    main(sys.argv[1:])
