"""The leases of a running node in the words of the control socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shivya_daemon.core.leases.kinds import LABELS
from shivya_daemon.core.leases.leases import ClaimView, LeaseRefused
from shivya_daemon.core.node import Node

MIN_PREFIX = 4
"""Hexadecimal digits that name a lease, if it is the only one they fit."""


class LeaseDesk:
    """Allocates, renews and gives back on behalf of this node's applications."""

    def __init__(self, node: Node, clock: Callable[[], float]) -> None:
        self._node = node
        self._clock = clock
        self.acted: Callable[[], None] | None = None
        """Called after an application had something done: there is something to send, and to tell."""

    def allocate(self, resource: str, amount: int, seconds: int) -> dict[str, Any]:
        """Claim some of a resource; returns the claim as it stands. Raises `LeaseRefused`."""
        kind = LABELS.get(resource)
        if kind is None:
            raise LeaseRefused(f"resource must be one of {', '.join(LABELS)}, not {resource[:64]!r}")
        now = self._clock()
        lease_id = self._node.leases.allocate(kind, amount, seconds, now)
        self._act()
        return self._one(lease_id, now)

    def renew(self, lease: str, seconds: int) -> dict[str, Any]:
        """Ask for another term, from now. Raises `LeaseRefused`."""
        now = self._clock()
        lease_id = self._find(lease, now)
        self._node.leases.renew(lease_id, seconds, now)
        self._act()
        return self._one(lease_id, now)

    def release(self, lease: str) -> dict[str, Any]:
        """Give a lease back. Raises `LeaseRefused`."""
        now = self._clock()
        lease_id = self._find(lease, now)
        self._node.leases.release(lease_id, now)
        self._act()
        return self._one(lease_id, now)

    def look(self, lease: str) -> dict[str, Any]:
        """Return one claim. Raises `LeaseRefused`."""
        now = self._clock()
        return self._one(self._find(lease, now), now)

    def report(self, now: float | None = None) -> dict[str, Any]:
        """Return what is lent, to whom, and what is held or was until a minute ago."""
        now = self._clock() if now is None else now
        leases, names = self._node.leases, self._names(now)
        return {
            "quota": [
                {"resource": kind.label, "capacity": leases.capacity(kind), "taken": leases.taken(kind)}
                for kind in leases.kinds
            ],
            "held": [_row(view, self._node.id, names) for view in leases.claims(now)],
            "granted": [
                {
                    "id": lease.id.hex(),
                    "resource": lease.kind.label,
                    "amount": lease.amount,
                    "holder": lease.holder.hex(),
                    "name": names.get(lease.holder, ""),
                    "seconds_left": max(0.0, lease.until - now),
                    "price": 0 if lease.holder == self._node.id else lease.price,
                }
                for lease in leases.granted
            ],
        }

    def _act(self) -> None:
        if self.acted is not None:
            self.acted()

    def _one(self, lease_id: bytes, now: float) -> dict[str, Any]:
        view = self._node.leases.claim(lease_id, now)
        if view is None:
            raise LeaseRefused("the lease has ended")
        return _row(view, self._node.id, self._names(now))

    def _find(self, lease: str, now: float) -> bytes:
        """Return the id that begins with the digits `lease`."""
        found = [view.id for view in self._node.leases.claims(now) if view.id.hex().startswith(lease.lower())]
        if len(lease) < MIN_PREFIX or len(found) != 1:
            what = "is the beginning of several leases; write more of it" if len(found) > 1 else "is no lease"
            raise LeaseRefused(f"lease {lease[:64]!r} {what} of this node; see 'shivya leases'")
        return found[0]

    def _names(self, now: float) -> dict[bytes, str]:
        names = {}
        for peer in self._node.peers(now):
            profile = self._node.profile(peer.id)
            names[peer.id] = peer.name or (profile.name if profile is not None else "")
        return {**names, self._node.id: self._node.settings.name}


def _row(view: ClaimView, own: bytes, names: dict[bytes, str]) -> dict[str, Any]:
    return {
        "id": view.id.hex(),
        "state": view.state,
        "resource": view.kind.label,
        "amount": view.amount,
        "provider": None if view.provider is None else view.provider.hex(),
        "here": view.provider == own,
        "name": "" if view.provider is None else names.get(view.provider, ""),
        "seconds_left": view.seconds_left,
        "renewing": view.renewing,
        "price": view.price,
        "payment": None if view.payment is None else view.payment.hex(),
        "reason": view.reason,
    }
