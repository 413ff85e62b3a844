"""Addresses of members that are gone, worth trying now and then: this is how a partition heals."""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush

from msgspec import Struct

from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.settings import Address

_BACKOFF = 1.5
_BURST = 8.0  # addresses at once


class _Contact(Struct):
    addresses: tuple[Address, ...]
    since: float
    pause: float
    turn: int = 0


class DeadContacts:
    """Who to try again and when: each ever more slowly, all within a budget, the oldest forgotten."""

    def __init__(self, settings: GossipSettings) -> None:
        self._settings = settings
        self._contacts: OrderedDict[bytes, _Contact] = OrderedDict()
        self._queue: list[tuple[float, int, bytes, _Contact]] = []
        self._serial = 0
        self._tokens = _BURST
        self._at = float("-inf")

    def add(self, node: bytes, addresses: tuple[Address, ...], now: float) -> None:
        """Start trying the addresses of a member that died."""
        if not addresses:
            return
        self._contacts.pop(node, None)
        if len(self._contacts) >= self._settings.max_contacts:
            self._contacts.popitem(last=False)
        contact = self._contacts[node] = _Contact(addresses, now, self._settings.contact_interval)
        self._push(node, contact, now)

    def drop(self, node: bytes) -> None:
        """Stop trying a member: it is back, or left for good."""
        self._contacts.pop(node, None)

    def due(self, now: float) -> list[Address]:
        """Return the addresses to try now, one of each member in turn."""
        rate = self._settings.contact_rate
        self._tokens = min(_BURST, self._tokens + max(0.0, now - self._at) * rate)
        self._at = now
        addresses: list[Address] = []
        while self._tokens >= 1.0 and self._queue and self._queue[0][0] <= now:
            _, _, node, contact = heappop(self._queue)
            if self._contacts.get(node) is not contact:
                continue
            if now - contact.since > self._settings.contact_expiry:
                del self._contacts[node]
                continue
            addresses.append(contact.addresses[contact.turn % len(contact.addresses)])
            contact.turn += 1
            self._tokens -= 1.0
            self._push(node, contact, now + contact.pause)
            contact.pause = min(_BACKOFF * contact.pause, self._settings.contact_interval_max)
        return addresses

    def __len__(self) -> int:
        return len(self._contacts)

    def _push(self, node: bytes, contact: _Contact, at: float) -> None:
        self._serial += 1
        heappush(self._queue, (at, self._serial, node, contact))
