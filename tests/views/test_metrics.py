"""The metrics: a parser reads them, they say what the snapshot says, and what is built on them exists."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from pictures import picture
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import ask, running, ticking

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views.metrics import render
from shivya_daemon.views.scrape import MetricsServer
from shivya_daemon.views.web import PageCounts

ROOT = Path(__file__).resolve().parents[2]
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def values(text: bytes) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_parser_reads_what_the_snapshot_says() -> None:
    found = values(render(picture(), PageCounts(viewers=2, sent=9, dropped=4), refused=3))
    work, first = (("service", "work"),), (("neighbour", "010101010101"),)
    expected = {
        ("shivya_queue_jobs", work): 200.0,
        ("shivya_waiting_seconds", work): 10.0,
        ("shivya_link_conductance", first): 1.0,
        ("shivya_link_rtt_seconds", first): 0.0012,
        ("shivya_recommended_rate", (*first, *work)): 10.0,
        ("shivya_ticks_total", ()): 1.0,
        ("shivya_jobs_sent_total", ()): 5.0,
        ("shivya_datagrams_dropped_total", (("reason", "bad_frame"),)): 2.0,
        ("shivya_peers_departed_total", (("reason", "left"),)): 1.0,
        ("shivya_health", (("shivya_health", "ok"),)): 1.0,
        ("shivya_cell_action", (("service", "work"), ("shivya_cell_action", "shed"))): 1.0,
        ("shivya_circulation", (("component", "curl"),)): 0.5,
        ("shivya_guard_threat_ratio", ()): 0.1,
        ("shivya_guard_actions_total", (("action", "ALERT"),)): 2.0,
        ("shivya_guard_quarantined", ()): 1.0,
        ("shivya_page_frames_dropped_total", ()): 4.0,
        ("shivya_requests_refused_total", (("server", "metrics"),)): 3.0,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_what_is_not_known_has_no_sample() -> None:
    early = picture(1, law="starting", collective_free_energy=None, tick_seconds_p50=None, cells=(), host={})
    names = {name for name, _ in values(render(early))}
    assert {"shivya_free_energy", "shivya_tick_median_seconds", "shivya_host_cpu_ratio"}.isdisjoint(names)
    assert "shivya_links" in names


@pytest.mark.parametrize("snapshot", [picture(), picture(1), picture(guard=None, phase=None, ledger=None)])
def test_names_keep_to_the_rules(snapshot: Snapshot) -> None:
    for family in text_string_to_metric_families(render(snapshot, PageCounts()).decode()):
        assert re.fullmatch(r"shivya_[a-z_]+", family.name)
        assert family.documentation
        assert not re.search(r"_(milliseconds|ms|kilobytes|percent|minutes)(_|$)", family.name)


def test_no_name_that_a_peer_chose_is_a_label() -> None:
    text = render(picture()).decode()
    assert "edge-1" not in text and "edge-0" in text


def test_the_dashboard_and_the_alerts_name_what_exists() -> None:
    known = {name for name, _ in values(render(picture(), PageCounts()))}
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "shivya.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    asked += re.findall(r"expr: (.+)", alerts)
    assert len(asked) > 20
    for expression in asked:
        bare = re.sub(r"\{[^}]*\}|by ?\([^)]*\)|\[[^\]]*\]", "", expression)
        names = set(re.findall(r"shivya_\w+", bare))
        assert names or "up{" in expression, expression
        assert names <= known, f"{names - known} in {expression}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    assert dashboard["uid"] == "shivya"


@pytest.mark.anyio
async def test_scrapes_and_probes() -> None:
    now = [100.0]
    held = [picture(tick=1)]
    async with running(MetricsServer(lambda: held[0], "127.0.0.1", 0, lambda: now[0])) as server:
        scraped = await ask(server.port, "/metrics")
        assert scraped.status == 200
        assert scraped.headers["content-type"].startswith("application/openmetrics-text")
        assert values(scraped.body)[("shivya_ticks_total", ())] == 1.0
        assert (await ask(server.port, "/healthz")).body == b"ok\n"
        held[0] = picture(tick=2, status=("NOT_CONVERGED: raise max_iterations",))
        now[0] += 60.0
        assert (await ask(server.port, "/healthz")).body == b"degraded\n"
        now[0] += 60.0
        stalled = await ask(server.port, "/healthz")
        assert (stalled.status, stalled.body) == (503, b"stalled\n")
        held[0] = picture(tick=3, draining=True)
        assert (await ask(server.port, "/healthz")).body == b"draining\n"
        assert (await ask(server.port, "/")).status == 404


@pytest.mark.anyio
async def test_on_loopback_foreign_hosts_and_origins_are_refused() -> None:
    async with running(MetricsServer(ticking(), "127.0.0.1", 0, time.monotonic)) as server:
        assert (await ask(server.port, "/metrics", host="evil.example")).status == 421
        assert (await ask(server.port, "/metrics", "Origin: http://evil.example")).status == 403
        found = values((await ask(server.port, "/metrics", host=f"localhost:{server.port}")).body)
        assert found[("shivya_requests_refused_total", (("server", "metrics"),))] == 2.0


@pytest.mark.anyio
async def test_on_all_interfaces_any_name_will_do_but_no_other_site() -> None:
    async with running(MetricsServer(ticking(), "0.0.0.0", 0, time.monotonic)) as server:
        assert (await ask(server.port, "/metrics", host="edge-7.internal:8000")).status == 200
        assert (await ask(server.port, "/metrics", "Origin: http://evil.example")).status == 403
