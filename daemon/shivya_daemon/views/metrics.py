"""A snapshot as OpenMetrics text: prefix `shivya_`, base units, counters that end in `_total`.

Labels are bounded: services of this node (at most 8), its link neighbours by the first digits of their id,
drop reasons and resources. No name that another node chose is ever a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from shivya_daemon.snapshot import CellRow, LinkRow, Snapshot
from shivya_daemon.views.web import PageCounts
from shivya_daemon.views.words import health

CONTENT_TYPE: str = CONTENT_TYPE_LATEST
_ID_DIGITS = 12
_HEALTH = ("ok", "starting", "degraded", "failed")
_ACTIONS = ("hold", "shed", "absorb", "probe")
_BREAKERS = ("closed", "half-open", "open")

_Sample = tuple[tuple[str, ...], float | None]


def render(snapshot: Snapshot, page: PageCounts | None = None, refused: int = 0) -> bytes:
    """Return the metrics of one moment; `page` and `refused` are the counts of the servers themselves."""
    registry = CollectorRegistry()
    registry.register(_Moment(snapshot, page, refused))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text


class _Moment(Collector):
    """One snapshot, as the client library wants to collect it."""

    def __init__(self, snapshot: Snapshot, page: PageCounts | None, refused: int) -> None:
        self._families = (
            *_node(snapshot),
            *_services(snapshot.cells),
            *_links(snapshot.links),
            *_flows(snapshot),
            *_traffic(snapshot),
            *_host(snapshot),
            *_planes(snapshot),
            *_servers(page, refused),
        )

    def collect(self) -> Iterable[Metric]:
        return self._families


def _node(s: Snapshot) -> Iterator[Metric]:
    build = InfoMetricFamily("shivya_build", "Version of the daemon")
    build.add_metric([], {"version": s.version})
    yield build
    node = InfoMetricFamily("shivya_node", "Identity and name of this node")
    node.add_metric([], {"id": s.node_id, "name": s.name})
    yield node
    word = health(s.law, s.status)
    states = StateSetMetricFamily("shivya_health", "State of the node")
    states.add_metric([], {state: state == word for state in _HEALTH})
    yield states
    yield _gauge("shivya_uptime_seconds", "Since the start of the daemon", s.uptime_seconds, "seconds")
    yield _gauge("shivya_draining", "1 while the node takes no new work and is about to stop", s.draining)
    yield _gauge("shivya_remedies", "Texts in the status that say what to do", len(s.status))
    yield _counter("shivya_ticks", "Control steps", s.tick)
    yield _gauge(
        "shivya_tick_median_seconds",
        "Median duration of the last control steps",
        s.tick_seconds_p50,
        "seconds",
    )
    yield _gauge(
        "shivya_free_energy", "Collective variational free energy, in nats", s.collective_free_energy
    )
    norms = GaugeMetricFamily(
        "shivya_circulation", "Jobs per second that only go in circles, as a norm", labels=["component"]
    )
    norms.add_metric(["curl"], s.curl_norm)
    norms.add_metric(["harmonic"], s.harmonic_norm)
    yield norms
    yield _gauge("shivya_peers", "Live peers", len(s.peers))


def _services(cells: Iterable[CellRow]) -> Iterator[Metric]:
    cells = tuple(cells)

    def column(name: str, text: str, value: str, unit: str = "") -> Metric:
        rows: list[_Sample] = [((cell.service,), getattr(cell, value)) for cell in cells]
        return _table(name, text, ("service",), rows, unit)

    yield column("shivya_queue_jobs", "Jobs held, those in service included", "queue")
    yield column("shivya_servers", "Jobs served at the same time", "servers")
    yield column("shivya_service_rate", "Jobs per second that the node can serve", "service_rate")
    yield column("shivya_arrival_rate", "Jobs per second that arrive", "arrival_rate")
    yield column(
        "shivya_waiting_seconds",
        "Time in system of a job that would come now and stay",
        "waiting_seconds",
        "seconds",
    )
    yield column(
        "shivya_potential_seconds", "The same when the job may be passed on", "potential_seconds", "seconds"
    )
    yield column("shivya_cell_free_energy", "Variational free energy of the own cell, in nats", "free_energy")
    actions = StateSetMetricFamily("shivya_cell_action", "What the cell chose to do", labels=["service"])
    for cell in cells:
        actions.add_metric([cell.service], {action: action == cell.action for action in _ACTIONS})
    yield actions


def _links(links: Iterable[LinkRow]) -> Iterator[Metric]:
    links = tuple(links)

    def column(name: str, text: str, value: str, unit: str = "") -> Metric:
        rows: list[_Sample] = [((link.id[:_ID_DIGITS],), getattr(link, value)) for link in links]
        return _table(name, text, ("neighbour",), rows, unit)

    yield _gauge("shivya_links", "Links of this node", len(links))
    yield _table(
        "shivya_link_breakers", "Links by state of their breaker; work flows if closed", ("state",),
        [((state,), sum(link.breaker == state for link in links)) for state in _BREAKERS],
    )  # fmt: skip
    yield column("shivya_link_rtt_seconds", "Smoothed round-trip time", "rtt_seconds", "seconds")
    yield column("shivya_link_age_seconds", "Since the neighbour's last datagram", "age_seconds", "seconds")
    yield column("shivya_link_conductance", "How readily the link carries work", "conductance")
    yield column("shivya_link_thickness", "How much use has thickened the link", "thickness")
    yield column(
        "shivya_link_bandwidth_bytes_per_second", "Bytes per second towards the neighbour", "bandwidth"
    )
    yield column(
        "shivya_link_offload_rate", "Jobs per second along the link, positive away from here", "reported"
    )


def _flows(s: Snapshot) -> Iterator[Metric]:
    rows: list[_Sample] = [((flow.to[:_ID_DIGITS], flow.service), flow.rate) for flow in s.flows]
    yield _table("shivya_recommended_rate", "Jobs per second to hand over", ("neighbour", "service"), rows)


def _traffic(s: Snapshot) -> Iterator[Metric]:
    for key, name, text in (
        ("datagrams_received", "shivya_datagrams_received", "Datagrams of the mesh received"),
        ("datagrams_sent", "shivya_datagrams_sent", "Datagrams of the mesh sent"),
        ("bytes_received", "shivya_received_bytes", "Bytes of the mesh received"),
        ("bytes_sent", "shivya_sent_bytes", "Bytes of the mesh sent"),
        ("jobs_sent", "shivya_jobs_sent", "Jobs handed to neighbours"),
        ("jobs_accepted", "shivya_jobs_accepted", "Jobs accepted from neighbours"),
        ("jobs_unaccounted", "shivya_jobs_unaccounted", "Jobs whose fate a departed neighbour took with it"),
    ):
        yield _counter(name, text, s.traffic.get(key, 0.0), "bytes" if name.endswith("_bytes") else "")
    departed = {key.removeprefix("peers_"): n for key, n in s.traffic.items() if key.startswith("peers_")}
    yield _counters("shivya_peers_departed", "Peers that left, by how", departed)
    yield _counters("shivya_datagrams_dropped", "Datagrams dropped, by reason", s.drops)


def _host(s: Snapshot) -> Iterator[Metric]:
    yield _gauge("shivya_host_cpu_ratio", "Share of all cores in use", s.host.get("cpu"), "ratio")
    yield _gauge("shivya_host_memory_ratio", "Share of memory in use", s.host.get("memory"), "ratio")
    yield _gauge(
        "shivya_host_network_bytes_per_second", "Bytes per second on all interfaces", s.host.get("network")
    )
    free: list[_Sample] = [((row.resource,), row.free) for row in s.resources]
    yield _table("shivya_resource_free_ratio", "Share that is free here", ("resource",), free, "ratio")
    fleet: list[_Sample] = [((row.resource,), row.fleet_free) for row in s.resources]
    yield _table(
        "shivya_resource_fleet_free_ratio", "Share that is free in the fleet", ("resource",), fleet, "ratio"
    )


def _planes(s: Snapshot) -> Iterator[Metric]:
    """Phase, guard and ledger: only where this node has them."""
    if s.phase is not None:
        yield _gauge(
            "shivya_phase_order_ratio", "How far the phases agree, 1 = all", s.phase.get("order"), "ratio"
        )
    if s.guard is not None:
        yield _gauge(
            "shivya_guard_threat_ratio", "Threat that the guard sees", _number(s.guard.get("threat")), "ratio"
        )
        yield _counters(
            "shivya_guard_actions", "Decisions, by kind", _numbers(s.guard.get("actions")), "action"
        )
        out = [row for row in _rows(s.guard.get("peers")) if row.get("state") == "quarantined"]
        yield _gauge("shivya_guard_quarantined", "Peers in quarantine", len(out))
    if s.ledger is not None:
        yield _gauge("shivya_ledger_entries", "Entries of the audit ledger", _number(s.ledger.get("length")))

    if s.credits is not None:
        balance = _number(s.credits.get("balance"))
        yield _gauge(
            "shivya_credits_balance_ucredits", "Balance of this node, in 10^-6 credit", balance, "ucredits"
        )
        yield _counters(
            "shivya_credits_jobs", "Jobs on the ledger", _numbers(s.credits.get("counters")), "kind"
        )


def _servers(page: PageCounts | None, refused: int) -> Iterator[Metric]:
    turned_away = {"metrics": refused}
    if page is not None:
        turned_away["page"] = page.refused
        yield _gauge("shivya_page_viewers", "Open pages", page.viewers)
        yield _counter("shivya_page_frames_sent", "Pictures sent to pages", page.sent)
        yield _counter("shivya_page_frames_dropped", "Pictures that a slow page never got", page.dropped)
        yield _counter("shivya_page_viewers_stuck", "Pages let go because they did not read", page.stuck)
    yield _counters(
        "shivya_requests_refused", "Requests with a foreign Host, Origin or token", turned_away, "server"
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _numbers(value: object) -> dict[str, float]:
    items = value.items() if isinstance(value, Mapping) else ()
    return {str(key): float(n) for key, n in items if isinstance(n, (int, float))}


def _rows(value: object) -> list[Mapping[str, object]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _gauge(name: str, text: str, value: float | None, unit: str = "") -> Metric:
    """Return a gauge; what is not known yet has no sample, rather than a 0 that was never measured."""
    return _table(name, text, (), [((), value)], unit)


def _table(name: str, text: str, labels: tuple[str, ...], rows: Iterable[_Sample], unit: str = "") -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels, unit=unit)
    for row, value in rows:
        if value is not None:
            family.add_metric(row, float(value))
    return family


def _counter(name: str, text: str, value: float, unit: str = "") -> Metric:
    return CounterMetricFamily(name, text, value=float(value), unit=unit)


def _counters(name: str, text: str, values: Mapping[str, float], label: str = "reason") -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family
