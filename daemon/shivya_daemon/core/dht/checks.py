"""Ping-oldest: a full bucket takes a new peer only in place of one that has fallen silent."""

from __future__ import annotations

from shivya_daemon.core.dht.exchanges import Exchanges
from shivya_daemon.core.dht.requests import Kind, Message, Request
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.table import RoutingTable
from shivya_daemon.core.frames import Peer


class Checks:
    """Pings the oldest peer of a full bucket, one of a bucket at a time; who is silent loses its place.

    Nodes that were there for long tend to stay, and an attacker cannot displace them by making new ids
    (Maymounkov and Mazieres, 2002, 2.4).
    """

    def __init__(self, settings: DhtSettings, table: RoutingTable, exchanges: Exchanges) -> None:
        self._settings = settings
        self._table = table
        self._exchanges = exchanges
        self._running: set[bytes] = set()

    def start(self, oldest: Peer, now: float) -> None:
        """Ping `oldest`, unless it was heard lately or is being pinged."""
        heard_at = self._table.heard_at(oldest.id)
        if oldest.id in self._running or heard_at is None or now - heard_at < self._settings.check_after:
            return
        self._running.add(oldest.id)
        attempts = self._settings.check_attempts
        interval = self._settings.check_timeout / attempts
        self._exchanges.ask(self, oldest, Kind.PING, b"", (), now, attempts, interval)

    def answered(self, request: Request, message: Message, now: float) -> str | None:
        """Note that the oldest peer is alive, and now the one heard last."""
        self._running.discard(request.peer.id)
        self._table.touch(request.peer.id, now)
        return None

    def failed(self, request: Request, now: float) -> None:
        """Let the newest replacement have the place, unless the peer was heard of otherwise."""
        node = request.peer.id
        self._running.discard(node)
        heard_at = self._table.heard_at(node)
        if heard_at is not None and heard_at <= request.opened_at:
            self._table.remove(node)

    def step(self, now: float) -> None:
        """Nothing is left to do once an answer is in or given up."""
