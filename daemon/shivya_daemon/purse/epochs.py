"""Helpers are paid: every ten seconds a node shares what pooling gained it, from what it set aside before.

The game of an epoch: what each would hold if nobody had taken work over, this node what it passed on besides
what waits here, a helper what waits there without it; at their rates. The gain of a coalition is the waiting
that jobs are spared when its queues are level (`shivya_kernels.coalition.pooling_gain`). Its price is that of
a core for as long. By additivity the shares of several services add up.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from shivya_daemon.core.node import Node
from shivya_daemon.ledgers.credits import CREDIT, Post, Posted, Reserve, apportion, fee, settlement
from shivya_daemon.ledgers.credits.units import HOUR, SECOND, Amount
from shivya_daemon.purse.account import Account
from shivya_daemon.purse.purse import Job, Purse
from shivya_daemon.services import ServiceView
from shivya_daemon.world import World

EPOCH = 10.0
HELPERS = 7
"""Of an epoch, the largest receivers."""
_PRICE = CREDIT * SECOND / HOUR / 2  # per job second of the gain, half of which is waiting
_KEPT = 600 * SECOND  # what was set aside is void after that, if no epoch comes that uses it
_SPARE: Amount = 1_000
_LABEL = b"shivya/1 epoch\0"

Share = Callable[[Sequence[tuple[float, float]]], list[float]]
"""Of the players of a game, (backlog in jobs, rate in jobs/s), their Shapley shares."""
Game = tuple[tuple[bytes, float, float], ...]
"""Public key, backlog and rate of each player."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one epoch."""

    gain: float
    """Job seconds."""
    paid: Mapping[bytes, Amount]
    """By public key."""
    reserved: tuple[bytes, ...]
    """The reservations for the next."""


class Epochs:
    """Pays the helpers of one node; `limit` is what an epoch may cost, fee included."""

    def __init__(
        self, node: Node, purse: Purse, clock: Callable[[], float], wall: Callable[[], int], limit: Amount
    ):
        self._node = node
        self._purse = purse
        self._clock = clock
        self._wall = wall
        self._limit = limit
        self.share: Share | None = None
        """None while no law runs."""
        self._began: float | None = None
        self._before: dict[tuple[str, bytes], int] = {}
        self._reserved: tuple[bytes, ...] = ()
        self._settling = False
        self.paid: Amount = 0
        """In all, without fees."""

    def look(self, worlds: Iterable[tuple[World, ServiceView]]) -> None:
        """Close an epoch that is over; `worlds` are the services as of now."""
        now, worlds = self._clock(), tuple(worlds)
        if self.share is None or self._settling or self._limit <= 0:
            return
        if self._began is None:
            self._begin(worlds)
        elif now - self._began >= EPOCH:
            games = tuple(game for world, view in worlds if (game := self._game(world, view)))
            if not games:
                self._begin(worlds)
                return
            self._settling = True
            number = self._wall() // round(EPOCH * SECOND)
            work = partial(
                settle_epoch,
                games=games,
                share=self.share,
                reserved=self._reserved,
                number=number,
                limit=self._limit,
            )
            self._purse.ask(Job("epochs", work, partial(self._done, worlds), now + EPOCH))

    def _begin(self, worlds: Iterable[tuple[World, ServiceView]]) -> None:
        self._began = self._clock()
        self._before = {(v.name, peer): n for _, v in worlds for peer, n in v.sent.items()}

    def _done(self, worlds: Iterable[tuple[World, ServiceView]], outcome: Outcome | None) -> None:
        self._settling, self._began = False, None  # the next begins when its credits are set aside
        self._reserved = ()
        if outcome is not None:
            self._reserved = outcome.reserved
            self.paid += sum(outcome.paid.values())

    def _game(self, world: World, view: ServiceView) -> Game:
        """Return the game of one service; none where nothing was passed on."""
        sent = {p: n - self._before.get((view.name, p), 0) for p, n in view.sent.items()}
        rows = [(sent.get(v.id, 0), v, self._node.public_key(v.id)) for v in world.vertices[1:] if v.direct]
        helpers = sorted(
            ((n, v, key) for n, v, key in rows if n > 0 and key is not None and v.service_rate > 0),
            key=lambda row: (-row[0], row[1].id),
        )[:HELPERS]
        if not helpers or view.service_rate <= 0:
            return ()
        own = (
            self._node.identity.public_key,
            view.queue + float(sum(n for n, _, _ in helpers)),
            view.service_rate,
        )
        return (own, *((key, max(0.0, float(v.queue - n)), v.service_rate) for n, v, key in helpers))


def settle_epoch(
    account: Account,
    games: Sequence[Game],
    share: Share,
    reserved: Sequence[bytes],
    number: int,
    limit: Amount,
) -> Outcome:
    """Pay the helpers of an epoch from what was reserved before it, and reserve for the next.

    Again with the same arguments it does nothing twice. Raises `Unavailable`.
    """
    shares: dict[bytes, float] = {}
    for game in games:
        found = share([(backlog, rate) for _, backlog, rate in game])
        for (key, _, _), part in zip(game, found, strict=True):
            shares[key] = shares.get(key, 0.0) + (part if math.isfinite(part) else 0.0)
    gain = sum(max(0.0, part) for part in shares.values())
    amount = round(gain * _PRICE)
    standing = account.read().reservations
    held = {key: there for key in reserved if (there := standing.get(key)) is not None}
    paid = {}
    for action in settlement(amount, shares, held):
        payee = held[action.reservation].payee
        outcome = account.do(_digest(b"settle", action.reservation), action)
        if isinstance(outcome, Posted) and isinstance(action, Post):
            paid[payee] = action.amount
    parts = {key: part for key, part in apportion(amount, shares).items() if key != account.key and part > 0}
    now = account.read().now
    made = []
    for key, part in sorted(parts.items()):
        most = limit // len(parts)
        wanted = min(2 * part + _SPARE, most - fee(most))
        reservation = _digest(b"reserve", account.key, number.to_bytes(8, "big"), key)
        aside = Reserve(key, wanted, now + _KEPT, account.key, "epoch")
        if wanted > 0 and isinstance(account.do(reservation, aside), Posted):
            made.append(reservation)
    return Outcome(gain, paid, tuple(made))


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha3_256(_LABEL + b"".join(parts)).digest()[:16]
