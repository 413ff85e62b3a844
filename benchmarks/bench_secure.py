"""What does the secure wire cost: a handshake, a frame, and a datagram of somebody who lacks the mesh key?

Two `Sessions` in one process hand each other their datagrams, so every figure is the processor time of both
sides together; a frame is 250 bytes, about a heartbeat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.secure.events import Established, Opened
from shivya_daemon.core.secure.sessions import Sessions
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.settings import Address
from timing import Row, fix_environment, measure, publish

FRAME = bytes(250)
MESH_KEY = bytes(range(32))
ANNA, BEN = ("10.0.0.1", 7000), ("10.0.0.2", 7000)
UNLIMITED = SecureSettings(handshake_rate=1e9, handshake_burst=1e9, calm_rate=1e9, calm_burst=1e9)


def main() -> None:
    publish("secure", list(rows()))


def rows() -> Iterator[Row]:
    entropy = random.Random(1).randbytes
    people = [Identity.generate(entropy) for _ in range(2)]

    def strangers() -> None:
        meet(*(Sessions(person, UNLIMITED, entropy, 1, MESH_KEY) for person in people))

    yield row("handshake XX and both sides' set-up", strangers)
    anna, ben = (Sessions(person, UNLIMITED, entropy, 1, MESH_KEY) for person in people)
    meet(anna, ben)
    yield row("handshake XX, signatures known", lambda: shake(anna, ben))
    static = people[1].static_public
    yield row("handshake IK, signatures known", lambda: shake(anna, ben, people[1].node_id, static))

    def frame() -> None:
        sealed = anna.seal(people[1].node_id, 1, FRAME, 1.0)
        if sealed is None or not isinstance(ben.receive(sealed[0], ANNA, 1.0), Opened):
            raise RuntimeError("the frame did not arrive")

    yield row("frame sealed and opened", frame)
    outsider = Sessions(people[0], UNLIMITED, entropy, 1, None)
    outsider.connect(BEN, 0.0)
    ((data, _),) = outsider.datagrams()
    yield row("initiation without the mesh key", lambda: ben.receive(data, ANNA, 1.0))


def meet(anna: Sessions, ben: Sessions) -> None:
    """One handshake that both must have taken part in."""
    shake(anna, ben)
    if not any(isinstance(event, Established) for event in ben.events()):
        raise RuntimeError("no session")


def shake(anna: Sessions, ben: Sessions, node: bytes | None = None, static: bytes | None = None) -> None:
    """One handshake begun by `anna`, and all that follows from it."""
    anna.connect(BEN, 0.0, node=node, static=static)
    while deliver(anna, ben, ANNA) + deliver(ben, anna, BEN):
        pass


def deliver(sender: Sessions, receiver: Sessions, source: Address) -> int:
    datagrams = sender.datagrams()
    for data, _ in datagrams:
        receiver.receive(data, source, 0.0)
    return len(datagrams)


def row(what: str, call: Callable[[], object]) -> Row:
    spent = measure(call)
    return {
        "what": what,
        "unit": "us",
        "cpu": 1e6 * spent.cpu,
        "cpu_median": 1e6 * spent.cpu_median,
        "wall": 1e6 * spent.wall,
        "per_second": 1.0 / spent.cpu,
    }


if __name__ == "__main__":
    fix_environment()
    main()
