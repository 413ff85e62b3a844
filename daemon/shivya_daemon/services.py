"""The service book: what this node's applications reported, and which jobs went to and came from whom.

All accounting behind the placement rule is here: queues as reported, measured rates, and per peer the jobs
sent, acknowledged and accepted (own-sent counters). Time is passed in, in seconds on one monotonic clock;
rates are per second. Bounded: `MAX_SERVICES` services, `MAX_PEERS` peers for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shivya_daemon.busy_time import BusyAccount
from shivya_daemon.in_service import InService
from shivya_daemon.placement import measured_rate
from shivya_daemon.rates import Arrivals, FadingSum
from shivya_daemon.settings import LawSettings, check_name

DEFAULT_SERVICE = "default"
MAX_SERVICES = 8
MAX_PEERS = 64
OFFLOAD_WINDOW = 3.0
"""Time constant of the measured offload to a peer."""
WRITE_OFF_AFTER = 3.0
"""Jobs without an acknowledgement are held against a peer for this long after the last news of it."""
LEARNING_WINDOW = 60.0
"""Busy seconds after which the rate of a node that was given none is learned; idleness forgets nothing."""
STATED_OFFLOAD_AGE = 30.0
"""An offload stated by hand holds for this long."""
_MIN_RATE, _MAX_RATE = 1e-6, 1e9


class ServiceError(ValueError):
    """A service that does not exist or cannot be added; the text says what to do."""


@dataclass(frozen=True)
class ServiceView:
    """One service at one instant, for readers. Keys of the mappings are node ids (20 bytes)."""

    name: str
    address: str | None
    """Where the application takes such jobs from neighbours."""
    queue: int
    """Jobs held, in service included, as last reported."""
    servers: int
    service_rate: float
    """Total of the node: as measured, beside what the application or the settings said it is."""
    arrival_rate: float
    arrival_variation: float
    """Squared coefficient of variation of the time between arrivals; 1 for Poisson arrivals."""
    arrived: int
    done: int
    lost_track: int
    """Jobs sent that no heartbeat ever acknowledged."""
    sent: Mapping[bytes, int]
    out: Mapping[bytes, int]
    """Jobs sent and not acknowledged yet."""
    accepted: Mapping[bytes, int]
    """Jobs taken over from a peer since its incarnation."""
    offloads: Mapping[bytes, float]
    """Jobs per second sent, measured or stated by hand."""
    overrun: float = 0.0
    """Seconds by which the next server to be free takes longer for it than usual."""
    net_arrivals: float = 0.0
    """Jobs per second taken, from outside and from peers, less those passed on."""
    paces: Mapping[bytes, float] = field(default_factory=dict)
    """Jobs per second sent of late."""


class _Peer:
    """Jobs exchanged with one peer."""

    def __init__(self, now: float, drift_seconds: float) -> None:
        self.sent = self.acknowledged = self.accepted = 0
        self.heard = 0
        """The peer's counter in its last heartbeat."""
        self.news = now
        """When jobs were last sent or acknowledged."""
        self.recent = FadingSum(OFFLOAD_WINDOW)
        self.pace = FadingSum(drift_seconds)
        self.stated: tuple[float, float] | None = None
        """Offload stated by hand, and when."""

    def offload(self, now: float) -> float:
        if self.stated is not None and now - self.stated[1] <= STATED_OFFLOAD_AGE:
            return self.stated[0]
        return max(0.0, self.recent.read(now)) / OFFLOAD_WINDOW


class _Account:
    """The books of one service."""

    def __init__(self, default_rate: float, law: LawSettings) -> None:
        self.address: str | None = None
        self.queue = self.held = 0
        self.servers = 1
        self.given_rate: float | None = None
        self.done = self.lost_track = 0
        self.arrivals = Arrivals()
        self.net = FadingSum(law.drift_seconds)
        """Jobs taken, less those passed on."""
        self.peers: dict[bytes, _Peer] = {}
        self._default_rate = default_rate
        self._law = law
        self._completed = FadingSum(law.rate_seconds)
        self._busy = BusyAccount(law.rate_seconds)
        self._learned = FadingSum(LEARNING_WINDOW)
        self._in_service = InService()

    def peer(self, identity: bytes, now: float) -> _Peer:
        """Return the account of a peer, opened at need; the one longest untouched makes room."""
        account = self.peers.pop(identity, None) or _Peer(now, self._law.drift_seconds)
        if len(self.peers) >= MAX_PEERS:
            del self.peers[next(iter(self.peers))]
        self.peers[identity] = account
        return account

    def advance(self, now: float) -> None:
        """Add the busy server-seconds since the last change of the queue."""
        self._busy.advance(min(self.held, self.servers), self.servers, now)

    def hold(self, held: int, now: float) -> None:
        """Take another number of jobs held."""
        self.advance(now)
        self.held = max(0, held)
        self._in_service.occupy(self.held, self.servers, now)

    def complete(self, now: float, count: int) -> None:
        self.advance(now)
        self.done += count
        self.held = max(0, self.held - count)
        self._completed.add(now, count)
        self._learned.add(self._busy.total, count)  # its clock is the time at work
        self._in_service.complete(count, self.held, self.servers, now)

    def work(self, seconds: float, now: float) -> None:
        """Take the server-seconds that the client counted since it last did."""
        self.advance(now)
        self._busy.tell(seconds, self.servers, now)

    def service_rate(self, now: float) -> float:
        """Rate measured while servers are busy, beside the one given, or else learned."""
        self.advance(now)
        prior = self._law.prior_jobs
        worked = self._busy.total
        if not self.done or worked <= 0.0:  # nothing measured: no DONE, or DONE without a queue
            return self._default_rate if self.given_rate is None else self.given_rate
        nominal = self.given_rate
        if nominal is None:
            busy = LEARNING_WINDOW * -math.expm1(-worked / LEARNING_WINDOW)
            nominal = measured_rate(self._learned.read(worked), busy, self._default_rate, prior)
        rate = measured_rate(self._completed.read(now), self._busy.faded(now) / self.servers, nominal, prior)
        return min(max(rate, _MIN_RATE), _MAX_RATE)

    def overrun(self, now: float) -> float:
        """Seconds by which the next server to be free takes longer for it than usual."""
        return self._in_service.overrun(self.servers, self.service_rate(now), self._law.kappa, now)

    def out(self, account: _Peer, now: float) -> int:
        missing = account.sent - account.acknowledged
        if missing > 0 and now - account.news > WRITE_OFF_AFTER:
            self.lost_track += missing
            account.acknowledged = account.sent
            return 0
        return missing


class ServiceBook:
    """Accounts of the services that this node offers; `default` always exists.

    `default_rate` is the service rate (jobs per second) of a service until a better one is known; `law` says
    how much is made of what is measured.
    """

    def __init__(self, default_rate: float, law: LawSettings | None = None) -> None:
        self.reported: Callable[[], None] | None = None
        """Called after each report."""
        self._default_rate = default_rate
        self._law = law or LawSettings()
        self._accounts = {DEFAULT_SERVICE: self._open()}

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services offered, in order of appearance."""
        return tuple(self._accounts)

    def offer(self, service: str, now: float, address: str | None = None) -> None:
        """Add a service (at most `MAX_SERVICES`), or set where its jobs are taken."""
        if service not in self._accounts:
            if len(self._accounts) >= MAX_SERVICES:
                raise ServiceError(
                    f"service {service[:64]!r} would be one more than {MAX_SERVICES}; use one of "
                    f"{', '.join(self._accounts)}"
                )
            self._accounts[check_name(service)] = self._open()
        if address is not None:
            self._accounts[service].address = address

    def withdraw(self, service: str) -> None:
        """End a service whose application has gone; `default` goes back to how it began."""
        if service == DEFAULT_SERVICE:
            self._accounts[service] = self._open()
        else:
            self._accounts.pop(service, None)

    def report(
        self,
        service: str,
        now: float,
        queue: int,
        servers: int | None = None,
        service_rate: float | None = None,
        address: str | None = None,
    ) -> None:
        """Replace the queue (jobs held, in service included); what is None stays as it was."""
        self.offer(service, now, address)
        account = self._accounts[service]
        account.advance(now)
        account.queue = queue
        if servers is not None:
            account.servers = servers
        account.hold(queue, now)
        if service_rate is not None:
            account.given_rate = min(max(service_rate, _MIN_RATE), _MAX_RATE)
        if self.reported is not None:
            self.reported()

    def hold(self, service: str, change: int, now: float) -> None:
        """Correct the estimate of jobs held until the next report: placed here (> 0) or handed over (< 0)."""
        account = self._account(service)
        account.hold(account.held + change, now)

    def held(self, service: str) -> int:
        """Jobs held, by the last report and what was placed, handed over and done since."""
        return self._account(service).held

    def overrun(self, service: str, now: float) -> float:
        """Seconds by which the next server to be free takes longer for it than usual."""
        return self._account(service).overrun(now)

    def arrived(self, service: str, count: int, now: float) -> None:
        """Count jobs that arrived from outside the mesh."""
        if count > 0:
            account = self._account(service)
            account.arrivals.add(now, count)
            account.net.add(now, count)

    def done(self, service: str, count: int, now: float) -> None:
        """Count completed jobs."""
        if count > 0:
            self._account(service).complete(now, count)

    def worked(self, service: str, seconds: float, now: float) -> None:
        """Take the server-seconds at work that a client counted since it last told them."""
        self._account(service).work(seconds, now)

    def sent(self, service: str, peer: bytes, count: int, now: float) -> None:
        """Count jobs sent to a peer."""
        if count > 0:
            account = self._account(service)
            account.net.add(now, -count)
            entry = account.peer(peer, now)
            entry.sent += count
            entry.news = now
            entry.recent.add(now, count)
            entry.pace.add(now, count)

    def unsent(self, service: str, peer: bytes, count: int, now: float) -> None:
        """Take back jobs counted as sent whose transfer failed."""
        account = self._account(service)
        entry = account.peers.get(peer)
        if entry is not None:
            returned = min(count, entry.sent - entry.acknowledged)
            account.net.add(now, returned)
            entry.sent -= returned
            entry.recent.add(now, -returned)
            entry.pace.add(now, -returned)

    def accepted(self, service: str, peer: bytes, count: int, now: float) -> None:
        """Count jobs taken over from a peer."""
        if count > 0:
            account = self._account(service)
            account.net.add(now, count)
            account.peer(peer, now).accepted += count

    def acknowledge(self, service: str, peer: bytes, total: int, now: float) -> None:
        """Take the counter of a peer's heartbeat: jobs it accepted from this node so far.

        A counter that went down has started again at zero, so only its increases count. A service that is not
        offered here is ignored: heartbeats come from the network.
        """
        account = self._accounts.get(service)
        if account is None or (total == 0 and peer not in account.peers):
            return
        entry = account.peers.get(peer) or account.peer(peer, now)
        increase = total - entry.heard if total >= entry.heard else total
        entry.heard = total
        if increase > 0:
            entry.acknowledged = min(entry.sent, entry.acknowledged + increase)
            entry.news = now

    def forget(self, peer: bytes) -> None:
        """Close the accounts of a peer that restarted: its counters begin at zero again."""
        for account in self._accounts.values():
            account.peers.pop(peer, None)

    def out(self, service: str, peer: bytes, now: float) -> int:
        """Jobs sent to a peer and not acknowledged; written off after `WRITE_OFF_AFTER` without news."""
        account = self._account(service)
        entry = account.peers.get(peer)
        return account.out(entry, now) if entry else 0

    def explicit_offload(self, service: str, peer: bytes, rate: float, now: float) -> None:
        """State the offload to a peer by hand; replaces the measured one for `STATED_OFFLOAD_AGE`."""
        self._account(service).peer(peer, now).stated = (rate, now)

    def view(self, service: str, now: float) -> ServiceView:
        """Return one service as it is now."""
        account, window = self._account(service), self._law.drift_seconds
        out = {peer: account.out(entry, now) for peer, entry in account.peers.items()}
        return ServiceView(
            name=service,
            address=account.address,
            queue=account.queue,
            servers=account.servers,
            service_rate=account.service_rate(now),
            arrival_rate=account.arrivals.rate(now),
            arrival_variation=account.arrivals.variation(),
            arrived=account.arrivals.total,
            done=account.done,
            lost_track=account.lost_track,
            sent={peer: entry.sent for peer, entry in account.peers.items()},
            out=out,
            accepted={peer: entry.accepted for peer, entry in account.peers.items()},
            offloads={peer: entry.offload(now) for peer, entry in account.peers.items()},
            overrun=account.overrun(now),
            net_arrivals=max(0.0, account.net.read(now)) / window,
            paces={p: max(0.0, entry.pace.read(now)) / window for p, entry in account.peers.items()},
        )

    def views(self, now: float) -> tuple[ServiceView, ...]:
        """Return every service as it is now."""
        return tuple(self.view(service, now) for service in self._accounts)

    def _open(self) -> _Account:
        return _Account(self._default_rate, self._law)

    def _account(self, service: str) -> _Account:
        try:
            return self._accounts[service]
        except KeyError:
            raise ServiceError(
                f"service {service[:64]!r} is not offered here; send REPORT service=... queue=0 first"
            ) from None
