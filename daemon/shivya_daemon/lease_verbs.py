"""The verbs of the control socket by which applications lease resources: ALLOCATE, RENEW, RELEASE, LEASES."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shivya_daemon.core.leases.kinds import MAX_AMOUNT, MAX_SECONDS
from shivya_daemon.core.leases.leases import LeaseRefused
from shivya_daemon.line import CommandError, Fields

Reply = dict[str, Any]
_RESOURCE = "what is wanted, millicores or memory_mb for example"
_LEASE = "its id, or the first digits of it"


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


class LeaseVerbs:
    """Obeys the verbs about leases."""

    def __init__(self, allocations: Callable[[], Allocations]) -> None:
        self._allocations = allocations
        self.actions: Mapping[str, Callable[[Fields, object], Reply]] = {
            "ALLOCATE": self._allocate,
            "RENEW": self._renew,
            "RELEASE": self._release,
            "LEASES": self._leases,
        }

    def _allocate(self, fields: Fields, _: object) -> Reply:
        resource = fields.required("resource", _RESOURCE)
        amount, seconds = (
            fields.count("amount", None, 1, MAX_AMOUNT),
            fields.count("seconds", None, 1, MAX_SECONDS),
        )
        fields.finish()
        if amount is None:
            raise CommandError("amount is missing; give a whole number")
        return _one(lambda: self._allocations().allocate(resource, amount, _term(seconds)))

    def _renew(self, fields: Fields, _: object) -> Reply:
        lease = fields.required("lease", _LEASE)
        seconds = fields.count("seconds", None, 1, MAX_SECONDS)
        fields.finish()
        return _one(lambda: self._allocations().renew(lease, _term(seconds)))

    def _release(self, fields: Fields, _: object) -> Reply:
        lease = fields.required("lease", _LEASE)
        fields.finish()
        return _one(lambda: self._allocations().release(lease))

    def _leases(self, fields: Fields, _: object) -> Reply:
        lease = fields.optional("lease")
        fields.finish()
        return (
            self._allocations().report() if lease is None else _one(lambda: self._allocations().look(lease))
        )


def _term(seconds: int | None) -> int:
    if seconds is None:
        raise CommandError("seconds is missing; give how long it is wanted, and renew it later")
    return seconds


def _one(action: Callable[[], Reply]) -> Reply:
    try:
        return {"lease": action()}
    except LeaseRefused as error:
        raise CommandError(str(error)) from None
