"""What crosses the links of one part of an organism, exactly once whatever the network does.

Both ends of a link keep an account of it, each under an epoch of its own: a number that only grows, over
restarts too. Amounts sent and received are totals under the pair of epochs, own-sent counters as placement
has them: what arrives is the difference to the total heard before, so loss, duplication and reordering
neither make nor lose nutrient. What was sent and not yet heard back is in transit. When the other end comes
with a higher epoch its former life is gone with all that was on the way to it: that is written off.

Times and messages in, messages out; the machine reads no clock and sends nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.limits import TokenBucket
from shivya_daemon.spirits.boundary import Boundary, decode, encode
from shivya_daemon.spirits.register import UNIT

WINDOW = UNIT
"""Most that may be in transit to one neighbour."""
INTERVAL = 1.0
"""Seconds between two messages over one link."""
RATE = 4.0
"""Messages per second over all links: a node may send 20 signals, and applications send them too."""
STALE = 10.0
"""Seconds of silence after which a neighbour gets nothing more."""
MAX_ACCOUNTS = 64
"""Kept, those of links that ended included; of these the one silent for longest makes room."""


@dataclass(frozen=True, slots=True)
class Far:
    """A neighbour's boundary cell as last heard."""

    nutrient: float | None
    phase: float
    age: float


@dataclass(slots=True)
class _Account:
    mine: int
    heard_at: float
    theirs: int = 0
    sent: int = 0
    acknowledged: int = 0
    received: int = 0
    sequence: int = 0
    heard: int = -1
    """Highest sequence of the other end's present epoch."""
    nutrient: float | None = None
    phase: float = 0.0
    told_at: float = float("-inf")
    linked: bool = True


class Exchange:
    """The links of one part; `epochs()` gives a number higher than all that it gave before, in any life."""

    def __init__(self, organism: bytes, epochs: Callable[[], int], now: float) -> None:
        self.organism = organism
        self.drops: Counter[str] = Counter()
        """Messages that were of no use, by reason."""
        self.sent = self.received = self.lost = 0
        """Billionths since the beginning, over all links; `lost` was on the way to what is gone. It is a
        bound: some of it may have arrived before."""
        self._epochs = epochs
        self._accounts: dict[bytes, _Account] = {}
        self._arrived: dict[bytes, int] = {}
        self._bucket = TokenBucket(RATE, 1.0, now)

    # Links

    def link(self, peers: Iterable[bytes], now: float) -> None:
        """Name the link neighbours there are; the accounts of others wait for their return."""
        present = set(peers)
        for peer, account in self._accounts.items():
            account.linked = peer in present
        for peer in sorted(present - self._accounts.keys()):
            self._accounts[peer] = _Account(self._epochs(), now)
        waiting = sorted(
            (peer for peer, account in self._accounts.items() if not account.linked),
            key=lambda peer: self._accounts[peer].heard_at,
        )
        for peer in waiting[: max(0, len(self._accounts) - MAX_ACCOUNTS)]:
            self._write_off(self._accounts.pop(peer))

    def renew(self) -> None:
        """Begin every account anew, as after a restart: others remember higher epochs than this node gave."""
        for account in self._accounts.values():
            self._write_off(account)
            account.mine, account.sequence = self._epochs(), 0
            account.sent = account.acknowledged = account.received = 0

    # Nutrient

    def room(self, peer: bytes, now: float) -> int:
        """Return how much may be sent to a neighbour: nothing unless it has a cell and was heard lately."""
        account = self._accounts.get(peer)
        if account is None or not account.linked or not account.theirs or account.nutrient is None:
            return 0
        if now - account.heard_at > STALE:
            return 0
        return max(0, WINDOW - (account.sent - account.acknowledged))

    def send(self, peer: bytes, amount: int) -> None:
        """Send what has left the part; its total goes with the next message."""
        self.sent += amount
        account = self._accounts.get(peer)
        if account is None or not account.theirs:
            self.lost += amount
        else:
            account.sent += amount

    def arrivals(self) -> dict[bytes, int]:
        """Return what came, by neighbour, and forget it."""
        arrived, self._arrived = self._arrived, {}
        return arrived

    @property
    def waiting(self) -> int:
        """What came and was not yet asked for."""
        return sum(self._arrived.values())

    def transit(self, peer: bytes) -> int:
        """Return what was sent to a neighbour and has not been heard back."""
        account = self._accounts.get(peer)
        return 0 if account is None else account.sent - account.acknowledged

    @property
    def in_transit(self) -> int:
        """What was sent to anybody and has not been heard back."""
        return sum(account.sent - account.acknowledged for account in self._accounts.values())

    def far(self, peer: bytes, now: float) -> Far | None:
        """Return a neighbour's boundary cell; None if nothing was heard of it, or not lately."""
        account = self._accounts.get(peer)
        if account is None or account.heard < 0 or now - account.heard_at > STALE:
            return None
        return Far(account.nutrient, account.phase, max(0.0, now - account.heard_at))

    # Messages

    def due(self, cells: Mapping[bytes, tuple[float, float]], now: float) -> list[tuple[bytes, bytes]]:
        """Return the messages to send now; `cells` has nutrient and phase of the boundary cells there are."""
        ready = [
            (account.told_at, peer)
            for peer, account in self._accounts.items()
            if account.linked and now - account.told_at >= INTERVAL
        ]
        messages = []
        for _, peer in sorted(ready):  # who was told longest ago comes first
            if not self._bucket.allow(now):
                break
            account = self._accounts[peer]
            account.told_at = now
            account.sequence += 1
            nutrient, phase = cells.get(peer, (None, 0.0))
            messages.append(
                (
                    peer,
                    encode(
                        Boundary(
                            self.organism,
                            account.mine,
                            account.theirs,
                            account.sequence,
                            account.sent,
                            account.received,
                            nutrient,
                            phase,
                        )
                    ),
                )
            )
        return messages

    def hear(self, peer: bytes, payload: bytes, now: float) -> str | None:
        """Take a message of the authenticated node `peer`; returns None, or why it was of no use."""
        reason = self._hear(peer, payload, now)
        if reason is not None:
            self.drops[reason] += 1
        return reason

    def _hear(self, peer: bytes, payload: bytes, now: float) -> str | None:
        try:
            message = decode(payload)
        except DecodeError as error:
            return error.reason
        if message.organism != self.organism:
            return "other_organism"
        account = self._accounts.get(peer)
        if account is None:
            return "not_linked"
        if message.mine < account.theirs:
            return "stale_epoch"
        if message.mine > account.theirs:
            self._write_off(account)
            account.theirs, account.heard = message.mine, -1
            account.sent = account.acknowledged = account.received = 0
        if message.sequence > account.heard:
            account.heard, account.heard_at = message.sequence, now
            account.nutrient, account.phase = message.nutrient, message.phase
        if message.yours != account.mine:
            return None  # it does not know this life yet: its totals are of another
        if message.received > account.sent or message.sent - account.received > WINDOW:
            return "implausible"
        account.acknowledged = max(account.acknowledged, message.received)
        came = message.sent - account.received
        if came > 0:
            account.received = message.sent
            self.received += came
            self._arrived[peer] = self._arrived.get(peer, 0) + came
        return None

    def _write_off(self, account: _Account) -> None:
        self.lost += account.sent - account.acknowledged

    def accounts(self) -> dict[bytes, dict[str, int]]:
        """Return the totals of every account, for a report."""
        return {
            peer: {
                "epoch": account.mine,
                "their_epoch": account.theirs,
                "sent": account.sent,
                "acknowledged": account.acknowledged,
                "received": account.received,
            }
            for peer, account in self._accounts.items()
        }
