"""What the daemon holds between ticks: the node, the books, and the law's last verdicts.

It prepares what the law judges, takes the verdicts, and answers the control socket and the views from them.
It owns no task and no socket; `now` is handed in, but for the control socket's questions, which read `clock`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from shivya_daemon.core.chorus import order_parameter
from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.events import (
    Event,
    HeartbeatReceived,
    IncarnationAdopted,
    LeaseDenied,
    LeaseEnded,
    LeaseGranted,
    LeaseObtained,
    LeaseOver,
    LeaseRenewed,
    Linked,
    PeerLeft,
    PeerRestarted,
    QuorumReached,
    SignalReceived,
    Undeliverable,
    Unlinked,
)
from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.heartbeat import Descriptor, ServiceLoad, service_tag
from shivya_daemon.core.node import LocalLoad, Node, PeerView, Told
from shivya_daemon.guard.sentry import Sentry
from shivya_daemon.journal import Journal
from shivya_daemon.known import known
from shivya_daemon.operations import NodeOperations, Reporting
from shivya_daemon.placement import parse_table, waiting_time
from shivya_daemon.recent import Recent
from shivya_daemon.renewal import renewed
from shivya_daemon.services import DEFAULT_SERVICE, ServiceBook, ServiceView
from shivya_daemon.settings import LawSettings
from shivya_daemon.snapshot import Snapshot
from shivya_daemon.spirits.spirits import Spirits
from shivya_daemon.status import (
    Judged,
    capability_row,
    cell_rows,
    flow_rows,
    format_address,
    link_rows,
    peer_rows,
    resource_rows,
    settle_rows,
)
from shivya_daemon.table import full, neighbour_table, service_load
from shivya_daemon.telemetry import HostSample
from shivya_daemon.verdict import Learned, Verdict, shortest_expected_delay
from shivya_daemon.world import World, survey, without

_NO_SERVICE = 1e-6  # jobs per second; waiting times stay finite
_DRAINING = "draining: this node takes no new work, and stops when none is left"


class NodeDesk:
    """The state of one daemon on the event loop; see the module."""

    def __init__(
        self,
        node: Node,
        book: ServiceBook,
        law: LawSettings,
        address: tuple[str, int],
        version: str,
        clock: Callable[[], float],
        operations: NodeOperations,
        notices: tuple[str, ...] = (),
    ) -> None:
        self.node = node
        self.book = book
        self.host = HostSample()
        self.law_state = "starting"
        self.trouble: tuple[str, ...] = ()
        """Texts for the status line that do not come from the law."""
        self.tick = 0
        self.tick_seconds_p50: float | None = None
        self.learned: Mapping[str, Learned] = {}
        """How the predictor of each service stands."""
        self.guard: Sentry | None = None
        self.journal: Journal | None = None
        self.treasury: Reporting | None = None
        self.spirits: Spirits | None = None
        self._law = law
        self._address = address
        self._version = version
        self._clock = clock
        self._started = clock()
        self._judged: tuple[Judged, ...] = ()
        self._lawless: frozenset[str] = frozenset()
        """Services that the last tick placed by shortest expected delay."""
        self._renewable_at = 0.0
        self._departed: dict[str, int] = {}
        self._recent = Recent()
        self._operations = operations
        self._notices = notices

    # The tick

    def take(self, events: list[Event]) -> bool:
        """Book what the mesh told; return whether what clients watch may have changed."""
        changed = False
        for event in events:
            match event:
                case HeartbeatReceived():
                    changed = True
                case PeerRestarted(id=peer):
                    self.book.forget(peer)
                    changed = True
                case IncarnationAdopted():  # a new life to every peer: their counters start again
                    for known in self.node.members:
                        self.book.forget(known)
                    changed = True
                case PeerLeft(reason=reason):
                    self._departed[reason] = self._departed.get(reason, 0) + 1
                    changed = True
                case Linked() | Unlinked() | LeaseGranted() | LeaseEnded():
                    changed = True
                case LeaseObtained() | LeaseOver() | LeaseRenewed() | LeaseDenied():
                    changed = True
                case SignalReceived() | QuorumReached() | Undeliverable():
                    self._operations.hear(event)
                case _:
                    pass
        return changed

    def worlds(self, now: float) -> tuple[tuple[World, ServiceView], ...]:
        """Return what is known of each offered service."""
        peers = self._peers(now)
        found = tuple((self._survey(view, peers, now), view) for view in self.book.views(now))
        self._recent.note((world for world, _ in found), now)
        return found

    def conclude(
        self, worlds: tuple[tuple[World, ServiceView], ...], verdicts: Mapping[str, Verdict], now: float
    ) -> None:
        """Take the verdicts of a tick (services without one fall back) and publish what heartbeats carry."""
        self.tick += 1
        self._lawless = frozenset(world.service for world, _ in worlds) - verdicts.keys()
        self._judged = tuple(
            Judged(world, view, verdicts.get(world.service) or shortest_expected_delay(world))
            for world, view in worlds
        )
        self._publish(now)

    def renew(self, now: float) -> bool:
        """Publish at once, between two ticks, what neighbours may have been told too wrong; whether any was.

        A wait that has moved is looked at where a heartbeat may be due by it (`Told.in_doubt`), at most four
        times in a heartbeat's interval: an application may report a thousand jobs a second.
        """
        if self._operations.draining or not self.node.links or now < self._renewable_at:
            return False
        told, judged = self.node.told, {j.view.name: j for j in self._judged}
        moved = [name for name in self.book.services if name in judged and self._moved(name, told, now)]
        if not moved:
            return False
        self._renewable_at = now + 0.25 * self.node.settings.heartbeat_interval
        peers = self._peers(now)
        for name in moved:
            view = self.book.view(name, now)
            world = self._survey(view, peers, now)
            verdict = judged[name].verdict
            if name in self._lawless:
                verdict = shortest_expected_delay(world)
            else:
                table = parse_table(self._table(world, verdict, peers))
                verdict = renewed(verdict, world.own, table, self._law.slope_share)
            judged[name] = Judged(world, view, verdict)
        self._judged = tuple(judged.values())
        self._publish(now)
        return True

    def _moved(self, service: str, told: Mapping[bytes, Told], now: float) -> bool:
        last = told.get(service_tag(service))
        view = self.book.view(service, now)
        wait = waiting_time(view.queue, view.servers, view.service_rate, view.overrun)
        return last is not None and last.in_doubt(wait, self.node.settings.heartbeat_change)

    def _publish(self, now: float) -> None:
        load = LocalLoad(
            free_energy=self._collective_free_energy() or 0.0,
            active_cells=len(self._judged),
            services=tuple(self._load(judged) for judged in self._judged),
            descriptors=tuple(Descriptor(j.view.name, j.view.address or "") for j in self._judged),
            conductances=self._advertised(),
        )
        try:
            self.node.publish(load, now)
        except EncodeError as error:  # an application's number that no heartbeat can carry
            self.trouble = (f"heartbeats keep their old load: {error}",)
        else:
            self.trouble = ()

    @property
    def surveyed(self) -> tuple[tuple[World, ServiceView], ...]:
        """What was known of each offered service at the last tick."""
        return tuple((judged.world, judged.view) for judged in self._judged)

    # The control socket's questions (`commands.Desk`)

    def status(self) -> dict[str, Any]:
        """Return the object of `shivya status --json`."""
        return self.snapshot(self._clock()).to_json()

    def settle(self, service: str) -> list[dict[str, Any]]:
        """Return one row per known link of a service, as of the last tick."""
        judged = [j for j in self._judged if j.world.service == service]
        return [row.to_json() for row in settle_rows(self._names(self._clock()), judged)]

    def known(self, service: str) -> dict[str, Any]:
        """Return what is known of the mesh for an offered service, as of now, and of whom nothing is."""
        now = self._clock()
        peers = self._peers(now)
        world = survey(self.node.id, self.book.view(service, now), peers, now, self._law)
        told = known(self.node, world, {peer.id: peer for peer in peers}, self._recent, self._law)
        return {**told, "draining": self._operations.draining}

    def table(self, service: str) -> dict[str, Any]:
        """Return the neighbour table of an offered service, with ages and counts as of now."""
        now = self._clock()
        peers = self._peers(now)
        world = self._survey(self.book.view(service, now), peers, now)
        verdict = next((j.verdict for j in self._judged if j.world.service == service), None)
        return self._table(world, verdict or shortest_expected_delay(world), peers)

    def peer_id(self, name_or_id: str) -> bytes | None:
        """Return the id of a live peer; a name that two peers share is nobody's."""
        peers = self.node.peers(self._clock())
        found = [p.id for p in peers if name_or_id in (p.name, p.id.hex())]
        return found[0] if len(found) == 1 else None

    @property
    def operations(self) -> NodeOperations:
        """What an operator asks of the node."""
        return self._operations

    # The views

    def move(self, address: tuple[str, int]) -> None:
        """Show another address of this node from now on."""
        self._address = address

    def snapshot(self, now: float) -> Snapshot:
        """Return the frozen picture of this moment."""
        peers = self.node.peers(now)
        own = self.node.id
        profile = self.node.profile(own) or Profile()
        names = self._names(now)
        judged = self._judged
        sums = self.node.counters
        phases = self.node.phases(now)
        credits = None if self.treasury is None else self.treasury.report()
        return Snapshot(
            node_id=own.hex(),
            name=self.node.settings.name,
            version=self._version,
            address=format_address(self._address),
            port=self._address[1],
            uptime_seconds=now - self._started,
            law=self.law_state,
            tick=self.tick,
            tick_seconds_p50=self.tick_seconds_p50,
            collective_free_energy=self._collective_free_energy(),
            curl_norm=_norm(j.verdict.curl_norm for j in judged),
            harmonic_norm=_norm(j.verdict.harmonic_norm for j in judged),
            peers=peer_rows(self.node, peers, phases),
            links=link_rows(own, self.node.link_views(now), peers, judged),
            cells=cell_rows(own, judged, self.learned),
            flows=flow_rows(own, names, judged),
            settle=settle_rows(names, judged),
            resources=resource_rows(self.node, names, now),
            capabilities=capability_row(profile.capabilities),
            seeks=capability_row(profile.seeks),
            traffic={
                "datagrams_received": sums.datagrams_received,
                "datagrams_sent": sums.datagrams_sent,
                "bytes_received": sums.bytes_received,
                "bytes_sent": sums.bytes_sent,
                "jobs_sent": sum(sum(j.view.sent.values()) for j in judged),
                "jobs_accepted": sum(sum(j.view.accepted.values()) for j in judged),
                "jobs_unaccounted": sum(j.view.lost_track for j in judged),
                **{f"peers_{reason}": count for reason, count in self._departed.items()},
            },
            drops=dict(sums.drops),
            host=self.host.as_dict(),
            guard=None if self.guard is None else self.guard.report(now, names),
            ledger=None if self.journal is None else self.journal.manifest(),
            phase={"theta": phases[own], "order": order_parameter(phases.values())} if phases else None,
            leases=self._operations.leases.report(now),
            credits=credits,
            spirit=None if self.spirits is None else self.spirits.report(now),
            draining=self._operations.draining,
            status=(
                *self._notices,
                *(() if self.journal is None or self.journal.trouble is None else (self.journal.trouble,)),
                *((f"credits: {credits['trouble']}",) if credits and credits["trouble"] else ()),
                *((_DRAINING,) if self._operations.draining else ()),
                *self.trouble,
                *dict.fromkeys(text for j in judged for text in j.verdict.status),
            ),
        )

    # Helpers

    def _table(self, world: World, verdict: Verdict, peers: tuple[PeerView, ...]) -> dict[str, Any]:
        by_id = {peer.id: peer for peer in peers}
        return neighbour_table(
            world, verdict, by_id, self.tick, self._law, draining=self._operations.draining
        )

    def _survey(self, view: ServiceView, peers: tuple[PeerView, ...], now: float) -> World:
        if self._operations.draining:  # the law then sees a node that cannot work off what it holds
            view = replace(view, service_rate=_NO_SERVICE)
        world = survey(self.node.id, view, peers, now, self._law)
        return world if self.guard is None else without(world, self.guard.outcasts)

    def _load(self, judged: Judged) -> ServiceLoad:
        load = service_load(judged.world, judged.verdict, judged.view)
        return full(load) if self._operations.draining else load

    def _peers(self, now: float) -> tuple[PeerView, ...]:
        """Return the live peers, with their counters of accepted jobs booked."""
        peers = self.node.peers(now)
        for service in self.book.services:
            tag = service_tag(service)
            for peer in peers:
                load = peer.services.get(tag)
                for row in load.neighbours if load else ():
                    if row.node == self.node.id:
                        self.book.acknowledge(service, peer.id, row.accepted, now)
        return peers

    def _names(self, now: float) -> dict[bytes, str]:
        names = {peer.id: peer.name for peer in self.node.peers(now)}
        return {**names, self.node.id: self.node.settings.name}

    def _collective_free_energy(self) -> float | None:
        known = [f for j in self._judged if (f := j.verdict.collective_free_energy) is not None]
        return sum(known) if known else None

    def _advertised(self) -> dict[bytes, float]:
        own = self.node.id
        found: dict[bytes, float] = {}
        for judged in self._judged:
            if judged.world.service != DEFAULT_SERVICE:
                continue  # a link is one thing, whatever travels on it
            for edge in judged.verdict.edges:
                if own in (edge.tail, edge.head):
                    found[edge.head if edge.tail == own else edge.tail] = edge.advertised
        return found


def _norm(parts: Iterable[float]) -> float:
    return math.sqrt(sum(x * x for x in parts))
