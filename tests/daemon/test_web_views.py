"""The page and the metrics of real daemons: found by their links, closed to strangers, gone with it."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.client import connect

pytestmark = pytest.mark.processes
PATIENCE = 120.0  # seconds; a bound against hanging, not a claim


def get(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def test_a_daemon_shows_itself_and_leaves_with_a_viewer_on(start: Callable[..., Any]) -> None:
    daemon = start("seen", flags=("--visualize", "0", "--metrics", "0"))
    link = daemon.first_line.split()[-1]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{22}", link)
    assert daemon.ask("FACTS")["page"] == link
    assert link.partition("=")[2] not in json.dumps(daemon.ask("STATUS"))
    assert "main.js" in get(link)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(link[:-1])
    assert daemon.process.stderr is not None
    metrics = daemon.process.stderr.readline().split()[-1]
    assert "shivya_build_info" in get(metrics)
    assert get(metrics.replace("metrics", "healthz")) in ("starting\n", "ok\n")

    stream = link.replace("http://", "ws://").replace("/?", "/live?")
    with connect(stream, proxy=None, max_size=None) as viewer:
        first, second = (json.loads(viewer.recv(timeout=PATIENCE)) for _ in range(2))
        assert first["name"] == "seen" and second["t"] > first["t"]
        assert first.keys() - {"t", "age_seconds"} == daemon.ask("STATUS").keys()
        assert first["phase"] is None or 0.0 <= first["phase"]["order"] <= 1.0
        assert daemon.stop(signal.SIGTERM) == 0


def test_a_second_page_on_the_port_is_refused_with_a_remedy(start: Callable[..., Any]) -> None:
    first = start("one", flags=("--visualize", "0"))
    port = re.search(r":(\d+)/\?token", first.first_line)
    assert port is not None
    second = start("two", flags=("--visualize", port[1]))
    assert second.wait() == 1
    assert f"127.0.0.1 port {port[1]}" in second.first_line and "--visualize PORT" in second.first_line
