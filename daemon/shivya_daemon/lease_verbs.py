"""The verbs of the control socket by which applications lease resources: ALLOCATE, RENEW, RELEASE, LEASES."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Protocol

from shivya_daemon.core.leases.kinds import MAX_AMOUNT, MAX_SECONDS
from shivya_daemon.core.leases.leases import LeaseRefused
from shivya_daemon.line import CommandError, Fields
from shivya_daemon.placement import Table, leased

Reply = dict[str, Any]
_RESOURCE = "what is wanted, millicores or memory_mb for example"
_LEASE = "its id, or the first digits of it"
MAX_WATCHED = 64
"""Leases that one connection watches."""
_TOLD = ("state", "provider", "renewing", "price", "reason")
"""A change of one of these is told to who watches."""
_LAST = ("refused", "over")
Shown = tuple[object, ...]


class Allocations(Protocol):
    """What the verbs ask of the daemon; each may raise `LeaseRefused`."""

    def allocate(self, resource: str, amount: int, seconds: int) -> Reply:
        """Claim some of a resource; returns the claim as it stands."""
        ...

    def renew(self, lease: str, seconds: int) -> Reply:
        """Ask for another term, from now."""
        ...

    def release(self, lease: str) -> Reply:
        """Give a lease back."""
        ...

    def look(self, lease: str) -> Reply:
        """Return one claim."""
        ...

    def report(self) -> Reply:
        """Return what is lent, to whom, and what is held."""
        ...


class Watcher(Protocol):
    """A connection, as far as it watches leases."""

    leases: MutableMapping[str, Shown]
    """How each lease that it watches was last shown to it, by id."""


class LeaseVerbs:
    """Obeys the verbs about leases."""

    def __init__(self, allocations: Callable[[], Allocations]) -> None:
        self._allocations = allocations
        self.actions: Mapping[str, Callable[[Fields, Watcher], Reply]] = {
            "ALLOCATE": self._allocate,
            "RENEW": self._renew,
            "RELEASE": self._release,
            "LEASES": self._leases,
        }

    def news(self, watcher: Watcher) -> list[Reply]:
        """Return what has changed of the leases that a connection watches; of one that is over, the last."""
        found: list[Reply] = []
        for lease, shown in list(watcher.leases.items()):
            try:
                row = self._allocations().look(lease)
            except LeaseRefused as error:
                del watcher.leases[lease]
                found.append({"error": str(error)})
                continue
            if _show(row, watcher) != shown:
                found.append({"lease": row})
        return found

    def place(self, lease: str, table: Table) -> int | None:
        """Return which neighbour of a table runs a job that uses a lease, None where the lease is here.

        However dear: what was leased is nowhere else. Raises `CommandError` if nobody can run it.
        """
        row = _one(lambda: self._allocations().look(lease))["lease"]
        if row["state"] != "held":
            raise CommandError(f"the lease is {row['state']}; send ROUTE without it, or allocate anew")
        index = None if row["here"] else leased(table, row["provider"])
        if index is None and not row["here"]:
            raise CommandError(
                f"{row['name'] or row['provider']} has the lease and takes no jobs of service "
                f"{table.service} from here: no link neighbour, or no application there offers the service"
            )
        return index

    def _allocate(self, fields: Fields, watcher: Watcher) -> Reply:
        resource = fields.required("resource", _RESOURCE)
        amount, seconds = (
            fields.count("amount", None, 1, MAX_AMOUNT),
            fields.count("seconds", None, 1, MAX_SECONDS),
        )
        watch = _watches(fields, watcher)
        fields.finish()
        if amount is None:
            raise CommandError("amount is missing; give a whole number")
        reply = _one(lambda: self._allocations().allocate(resource, amount, _term(seconds)))
        return _watch(reply, watcher) if watch else reply

    def _renew(self, fields: Fields, watcher: Watcher) -> Reply:
        lease = fields.required("lease", _LEASE)
        seconds = fields.count("seconds", None, 1, MAX_SECONDS)
        watch = _watches(fields, watcher)
        fields.finish()
        reply = _one(lambda: self._allocations().renew(lease, _term(seconds)))
        return _watch(reply, watcher) if watch else reply

    def _release(self, fields: Fields, _: object) -> Reply:
        lease = fields.required("lease", _LEASE)
        fields.finish()
        return _one(lambda: self._allocations().release(lease))

    def _leases(self, fields: Fields, watcher: Watcher) -> Reply:
        lease, watch = fields.optional("lease"), _watches(fields, watcher)
        fields.finish()
        if lease is None:
            if watch:
                raise CommandError("watch=1 needs the lease to watch; give lease=<id>")
            return self._allocations().report()
        reply = _one(lambda: self._allocations().look(lease))
        return _watch(reply, watcher) if watch else reply


def _watches(fields: Fields, watcher: Watcher) -> bool:
    if not fields.count("watch", 0, 0, 1):
        return False
    if len(watcher.leases) >= MAX_WATCHED:
        raise CommandError(f"a connection watches at most {MAX_WATCHED} leases; open another")
    return True


def _watch(reply: Reply, watcher: Watcher) -> Reply:
    _show(reply["lease"], watcher)
    return reply


def _show(row: Reply, watcher: Watcher) -> Shown:
    """Note how a lease is shown; one that is refused or over is watched no more."""
    shown = tuple(row.get(key) for key in _TOLD)
    if row.get("state") in _LAST:
        watcher.leases.pop(row["id"], None)
    else:
        watcher.leases[row["id"]] = shown
    return shown


def _term(seconds: int | None) -> int:
    if seconds is None:
        raise CommandError("seconds is missing; give how long it is wanted, and renew it later")
    return seconds


def _one(action: Callable[[], Reply]) -> Reply:
    try:
        return {"lease": action()}
    except LeaseRefused as error:
        raise CommandError(str(error)) from None
