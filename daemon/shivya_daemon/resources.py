"""What this machine has and how much of it is free, for the resource gradient."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from shivya_daemon.core.gossip.resources import Resource, Resources
from shivya_daemon.telemetry import HostSample

_WORTH_TELLING = 0.05  # change of a share that the fleet hears of at once
_REPEAT = 10.0  # seconds after which it hears of any change
_MIB = 2**20


Lent = Mapping[Resource, tuple[float, float | None]]
"""Free share and capacity of what is lent, as `Leases.shares` has it."""


class ResourceSampler:
    """Measures compute, storage and bandwidth; a small change is not worth a gossip round of the fleet."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._told: Resources | None = None
        self._told_at = float("-inf")

    def news(self, host: HostSample, now: float, lent: Lent | None = None) -> Resources | None:
        """Return what is free, None while that is about what was told last; `lent` as it is lent."""
        found = with_quota(measure(self._state_dir, host), lent or {})
        told = self._told
        if told is not None and found == told:
            return None
        if told is not None and found.capacity == told.capacity and now - self._told_at < _REPEAT:
            change = max(abs(a - b) for a, b in zip(found.free, told.free, strict=True))
            if change < _WORTH_TELLING:
                return None
        self._told, self._told_at = found, now
        return found


def with_quota(measured: Resources, lent: Lent) -> Resources:
    """Return what is told where leases are lent: what is free of the quota, not of the machine."""
    free, capacity = list(measured.free), list(measured.capacity)
    for resource, (share, size) in lent.items():
        free[resource] = share
        capacity[resource] = capacity[resource] if size is None else size
    return Resources(
        (free[0], free[1], free[2], free[3]), (capacity[0], capacity[1], capacity[2], capacity[3])
    )


def measure(state_dir: Path, host: HostSample) -> Resources:
    """Return the free shares and capacities: millicores, MiB below `state_dir`, bytes per second, credit."""
    idle, millicores = 1.0 - min(max(host.cpu, 0.0), 1.0), 1000.0 * (os.cpu_count() or 1)
    room, size = _storage(state_dir)
    unused, speed = _bandwidth(host.network)
    no_credit = 0.0  # without a ledger
    return Resources((idle, room, unused, no_credit), (millicores, size, speed, no_credit))


def _storage(folder: Path) -> tuple[float, float]:
    try:
        usage = psutil.disk_usage(str(folder))
    except OSError:
        return 0.0, 0.0
    return (usage.free / usage.total, usage.total / _MIB) if usage.total else (0.0, 0.0)


def _bandwidth(used: float) -> tuple[float, float]:
    """The fastest interface counts; one that does not know its speed, as virtual ones, counts as nothing."""
    try:
        speeds = [card.speed for name, card in psutil.net_if_stats().items() if card.isup and name != "lo"]
    except OSError:
        return 0.0, 0.0
    capacity = max(speeds, default=0) * 1e6 / 8
    return (max(0.0, 1.0 - used / capacity), capacity) if capacity > 0 else (0.0, 0.0)
