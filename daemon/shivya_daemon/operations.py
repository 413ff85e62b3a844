"""What an operator asks of a running node: signals, a planned end, and what `shivya doctor` judges."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shivya_daemon.clockwatch import ClockWatch
from shivya_daemon.core.node import Address, Node
from shivya_daemon.core.signals.events import SignalEvent
from shivya_daemon.core.signals.frame import Kind
from shivya_daemon.lease_desk import LeaseDesk
from shivya_daemon.resources import ResourceSampler
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import DaemonSettings, SettingsError, parse_node_id
from shivya_daemon.signal_log import SignalLog
from shivya_daemon.spirit_verbs import Summons
from shivya_daemon.status import format_address
from shivya_daemon.telemetry import HostSample

_TOLD = 0.5  # seconds after which neighbours and clients have heard that a node is full


@dataclass(frozen=True)
class Place:
    """Where a daemon keeps what outlives it, and where it listens."""

    state_dir: Path
    address: Address
    """Bound, not advertised."""
    allowed: int | None
    """Nodes on the allow-list; None where there is none."""


class Drilled(Protocol):
    """A guard, as far as an operator may tell it anything."""

    def inject(self, anomalies: float, weight: float | None, peer: bytes | None) -> None:
        """Count anomalies that did not happen, and set the weight of the threat model."""
        ...


class Reporting(Protocol):
    """What can say how it stands."""

    def report(self) -> dict[str, Any]:
        """Return that as a JSON object."""
        ...


class NodeOperations:
    """Implements `mesh_verbs.Operations`; `look` wants to be called once a second."""

    def __init__(
        self,
        node: Node,
        book: ServiceBook,
        settings: DaemonSettings,
        place: Place,
        clock: Callable[[], float],
    ) -> None:
        self._signals = SignalLog()
        self._node = node
        self._book = book
        self._settings = settings
        self._place = place
        self._clock = clock
        self._clock_watch = ClockWatch()
        self.page: str | None = None
        """The link that opens the page, with its token; None where there is no page."""
        self._resources = ResourceSampler(place.state_dir)
        self._seeds: dict[Address, bool] = {}
        """Resolved addresses of the configured peers, and whether each was ever up."""
        self.leases = LeaseDesk(node, clock)
        self.guard: Drilled | None = None
        self.treasury: Reporting | None = None
        self.spirits: Summons | None = None
        self._drain: tuple[float, float] | None = None
        """When the drain began, and when it ends at the latest."""

    def joins_by(self, address: Address) -> None:
        """Note a configured peer."""
        self._seeds[address] = False

    def hear(self, event: SignalEvent) -> None:
        """Note what signals brought."""
        self._signals.take(event, self._clock())

    def look(self, wall: float, host: HostSample) -> None:
        """Look at clocks and configured peers, and tell the fleet what is free here."""
        now = self._clock()
        self._clock_watch.look(wall, now)
        for address in self._up() & self._seeds.keys():
            self._seeds[address] = True
        resources = self._resources.news(host, now, self._node.leases.shares())
        if resources is not None:
            self._node.offer(resources)

    # Draining

    @property
    def draining(self) -> bool:
        """Whether no new work is to come."""
        return self._drain is not None

    @property
    def emptied(self) -> bool:
        """Whether the node may leave: it was asked to drain, and nothing waits or the time is over."""
        if self._drain is None:
            return False
        begun, latest = self._drain
        now = self._clock()
        return now >= latest or (now - begun >= _TOLD and self._held() == 0)

    def drain(self, wait: float) -> dict[str, Any]:
        """Take no new work; asked again, the new `wait` replaces the old."""
        now = self._clock()
        begun = now if self._drain is None else self._drain[0]
        self._drain = (begun, now + wait)
        self._node.leases.drain()
        return {"draining": True, "queue": self._held(), "wait_seconds": wait}

    def _held(self) -> int:
        return sum(self._book.held(service) for service in self._book.services)

    # Signals

    def signal(self, kind: Kind, name: str, payload: bytes, ttl: int | None) -> bytes:
        """Send a signal of type `name`; returns its id. Raises `EncodeError` or `SignalRefused`."""
        return self._node.signal(kind, name, payload, self._clock(), ttl=ttl)

    def node(self, name_or_id: str) -> bytes | None:
        """Return the id of a node; a name that two peers share is nobody's."""
        found = [peer.id for peer in self._node.peers(self._clock()) if peer.name == name_or_id]
        if name_or_id == self._node.settings.name:
            found.append(self._node.id)
        if found:
            return found[0] if len(found) == 1 else None
        try:
            return parse_node_id(name_or_id)
        except SettingsError:
            return None

    def signals(self) -> dict[str, Any]:
        """Return the object of `shivya signals --json`."""
        now = self._clock()
        names = {peer.id: peer.name for peer in self._node.peers(now)}
        names[self._node.id] = self._node.settings.name
        return self._signals.to_json(lambda node: names.get(node, ""), now)

    # Drills

    def inject(self, anomalies: float, weight: float | None, peer: bytes | None) -> dict[str, Any]:
        """Run a drill of the guard; raises `ValueError`."""
        if self.guard is None:
            raise ValueError("this node runs no guard")
        peer = None if peer == self._node.id else peer
        self.guard.inject(anomalies, weight, peer)
        return {"drill": True, "anomalies": anomalies, "peer": None if peer is None else peer.hex()}

    def credits(self) -> dict[str, Any]:
        """Return how this node stands with the ledger of credits."""
        return {"on": False} if self.treasury is None else {"on": True, **self.treasury.report()}

    # Facts

    def facts(self) -> dict[str, Any]:
        """Return what `shivya doctor` judges besides the status."""
        settings, place, up = self._settings, self._place, self._up()
        links = self._node.settings.links
        return {
            "pid": os.getpid(),
            "wire": self._node.settings.wire,
            "bind": place.address[0],
            "port": place.address[1],
            "mesh_key_file": None if settings.mesh_key_file is None else str(settings.mesh_key_file),
            "allowed": place.allowed,
            "state_dir": str(place.state_dir),
            "compile_cache": os.environ.get("JAX_COMPILATION_CACHE_DIR"),
            "seeds": [
                {"address": format_address(address), "up": address in up, "ever": ever}
                for address, ever in self._seeds.items()
            ],
            "clock": {"jumps": self._clock_watch.jumps, "largest_seconds": self._clock_watch.largest},
            "violations": [
                {"rule": found.rule, "node": None if found.node is None else found.node.hex()}
                for found in self._node.invariants(self._clock())
            ],
            "members": len(self._node.members),
            "links": {"now": len(self._node.links), "least": links.min_links, "most": links.max_links},
            "law": {"stale_after": settings.law.stale_after, "tick_interval": settings.law.tick_interval},
            "draining": self.draining,
            "page": self.page,
        }

    def _up(self) -> set[Address]:
        return {peer.address for peer in self._node.peers(self._clock())}
