"""What a wire is: it carries frames between nodes, and says at which address a node has proved to receive.

Two wires share one codec: the secure one (`secure_wire`) is the default, the open one (`open_wire`) serves
trusted networks and the reference implementation. PING and PONG stay below this line: they prove addresses.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from shivya_daemon.core.frames import Payload
from shivya_daemon.core.settings import Address


class Inbound(Struct, frozen=True):
    """One frame that arrived."""

    sender: bytes
    """Id of the node that says it is the sender; only `proved` makes it so."""
    address: Address
    payload: Payload
    size: int
    """Bytes of the datagram: what an answer to an address that is not proved is measured by."""
    request: int | None
    """Id of the request that this is or answers; None on the open wire, which has none."""
    proved: bool
    """Whether the sender has proved to receive at `address`, by a round trip."""


class Rejected(Struct, frozen=True):
    """One frame that a node sent under its own keys, and why it is dropped."""

    sender: bytes
    reason: str


class Up(Struct, frozen=True):
    """A node proved itself at an address, and frames reach it from now on."""

    node: bytes
    address: Address
    rtt: float | None
    incarnation: int | None
    """None on the open wire: the first heartbeat will tell."""


class Alive(Struct, frozen=True):
    """A node that is up answered a probe, perhaps at another address than before."""

    node: bytes
    address: Address
    rtt: float | None


class Down(Struct, frozen=True):
    """A node that was up is no longer reached: `reason` is "replaced", "closed" or "expired"."""

    node: bytes
    reason: str


class Unreached(Struct, frozen=True):
    """Nobody, or not the node that was meant, answered at an address."""

    address: Address
    node: bytes | None
    reason: str


WireEvent = Up | Alive | Down | Unreached


class Wire(Protocol):
    """One way to carry frames; everything it sends goes through the node's outbox and its gate."""

    authentic: bool
    """Whether the sender of a frame is proved to be who it says, and not only to receive at its address."""

    def connect(
        self, address: Address, now: float, *, node: bytes | None = None, static: bytes | None = None
    ) -> None:
        """Try to bring up whoever receives at `address`; `Up` or `Unreached` follows.

        `node` must be the one that answers, `static` is its session key if that is known.
        """

    def probe(self, node: bytes, now: float) -> None:
        """Ask a node that is up for a sign of life; `Alive` follows if it gives one."""

    def send(self, node: bytes, frame: bytes, now: float, request: int = 0, *, urgent: bool = False) -> bool:
        """Send an encoded frame to a node, an urgent one before all that waits; False when it is not up."""

    def answer(self, inbound: Inbound, frame: bytes, now: float) -> None:
        """Send an encoded frame to where `inbound` came from, proved or not."""

    def receive(self, data: bytes, address: Address, now: float) -> Inbound | Rejected | str | None:
        """Take a datagram: a frame, the reason why it is dropped, or None if the wire itself took it."""

    def forget(self, node: bytes) -> None:
        """Take a node down without a word."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called; None while nothing is under way."""

    def events(self) -> list[WireEvent]:
        """Return what happened since the last call, and forget it."""
