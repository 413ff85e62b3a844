"""The operator's verbs of the control socket: what the mesh is told, and what is asked about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.signals.frame import (
    MAX_REFRACTORY,
    MAX_TTL,
    ActionPotential,
    Directed,
    Flood,
    Gradient,
    Kind,
)
from shivya_daemon.core.signals.settings import SignalSettings
from shivya_daemon.core.signals.signals import SignalRefused
from shivya_daemon.guard.sight import MAX_INJECTED, MAX_WEIGHT
from shivya_daemon.lease_verbs import Allocations, LeaseVerbs, Watcher
from shivya_daemon.line import CommandError, Fields
from shivya_daemon.spirit_verbs import SpiritVerbs, Summons

MAX_DRAIN_WAIT = 3600.0
DEFAULT_DRAIN_WAIT = 30.0
DEFAULT_DECAY = SignalSettings().decay

Reply = dict[str, Any]


class Operations(Protocol):
    """What the verbs ask of the daemon."""

    def drain(self, wait: float) -> Reply:
        """Take no new work, hand over what waits, and stop when all is done or `wait` seconds are over."""
        ...

    def signals(self) -> Reply:
        """Return the signals received last, and how many of each type."""
        ...

    def signal(self, kind: Kind, name: str, payload: bytes, ttl: int | None) -> bytes:
        """Send a signal of type `name`; returns its id. Raises `EncodeError` or `SignalRefused`."""
        ...

    def node(self, name_or_id: str) -> bytes | None:
        """Return the id of a known node, and of any node that is named by its id."""
        ...

    def facts(self) -> Reply:
        """Return what `shivya doctor` judges."""
        ...

    def inject(self, anomalies: float, weight: float | None, peer: bytes | None) -> Reply:
        """Run a drill of the guard; raises `ValueError`."""
        ...

    def credits(self) -> Reply:
        """Return how the node stands with the ledger of credits."""
        ...

    @property
    def leases(self) -> Allocations:
        """Where applications lease resources."""
        ...

    @property
    def spirits(self) -> Summons | None:
        """Where spirits are summoned."""
        ...


class MeshVerbs:
    """Obeys the operator's verbs."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.leases = LeaseVerbs(lambda: operations.leases)
        self.actions: Mapping[str, Callable[[Fields, Watcher], Reply]] = {
            "DRAIN": self._drain,
            "SIGNALS": self._signals,
            "SIGNAL": self._signal,
            "FACTS": self._facts,
            "INJECT": self._inject,
            "CREDITS": self._credits,
            **self.leases.actions,
            **SpiritVerbs(lambda: operations.spirits).actions,
        }

    def _drain(self, fields: Fields, _: object) -> Reply:
        wait = fields.number("wait", DEFAULT_DRAIN_WAIT, 0.0, MAX_DRAIN_WAIT)
        fields.finish()
        return self._operations.drain(wait)

    def _signals(self, fields: Fields, _: object) -> Reply:
        fields.finish()
        return self._operations.signals()

    def _facts(self, fields: Fields, _: object) -> Reply:
        fields.finish()
        return self._operations.facts()

    def _credits(self, fields: Fields, _: object) -> Reply:
        fields.finish()
        return self._operations.credits()

    def _inject(self, fields: Fields, _: object) -> Reply:
        anomalies = fields.number("anomalies", 0.0, 0.0, MAX_INJECTED)
        weight = fields.number("weight", -1.0, 0.0, MAX_WEIGHT)
        name = fields.optional("peer")
        fields.finish()
        peer = None if name is None else self._operations.node(name)
        if name is not None and peer is None:
            raise CommandError(f"peer={name[:64]} is an unknown node; see the peers in STATUS")
        try:
            return self._operations.inject(anomalies, None if weight < 0.0 else weight, peer)
        except ValueError as error:
            raise CommandError(str(error)) from None

    def _signal(self, fields: Fields, _: object) -> Reply:
        kind = self._kind(fields)
        name = fields.required("type", "what the signal means")
        payload = fields.data("payload")
        ttl = fields.count("ttl", None, 1, MAX_TTL)
        fields.finish()
        try:
            return {"id": self._operations.signal(kind, name, payload, ttl).hex()}
        except (EncodeError, SignalRefused) as error:
            raise CommandError(str(error)) from None

    def _kind(self, fields: Fields) -> Kind:
        match fields.required("kind", "flood, gradient, directed or action"):
            case "flood":
                return Flood()
            case "gradient":
                return Gradient(fields.number("decay", DEFAULT_DECAY, 0.0, 1.0))
            case "directed":
                text = fields.required("target", "the name or id of the node that it is for")
                target = self._operations.node(text)
                if target is None:
                    raise CommandError(f"target={text[:64]} is an unknown node; see the peers in STATUS")
                return Directed(target)
            case "action":
                return ActionPotential(fields.number("refractory", 0.0, 0.0, MAX_REFRACTORY))
            case other:
                raise CommandError(f"kind must be flood, gradient, directed or action, not {other[:64]!r}")
