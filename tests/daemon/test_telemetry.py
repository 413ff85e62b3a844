"""Telemetry: shares stay shares, and traffic is what passed between two readings."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from shivya_daemon.telemetry import TelemetrySampler


def test_shares_stay_shares_and_traffic_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = iter([(1000, 500), (1600, 900), (100, 0), None])
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 140.0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(percent=25.0))

    def counters() -> SimpleNamespace | None:
        now = next(passed)
        return None if now is None else SimpleNamespace(bytes_sent=now[0], bytes_recv=now[1])

    monkeypatch.setattr(psutil, "net_io_counters", counters)
    sampler = TelemetrySampler()
    first = sampler.sample(10.0)
    assert (first.cpu, first.memory, first.network) == (1.0, 0.25, 0.0)
    assert sampler.sample(12.0).network == 500.0
    assert sampler.sample(13.0).network == 0.0, "a counter that began anew is no traffic backwards"
    assert sampler.sample(14.0).network == 0.0, "nor is a machine without counters"


def test_this_machine_can_be_read() -> None:
    sample = TelemetrySampler().sample(0.0)
    assert 0.0 <= sample.cpu <= 1.0 and 0.0 < sample.memory <= 1.0 and sample.network == 0.0
