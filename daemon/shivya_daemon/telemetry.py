"""Telemetry of this machine: processor load, memory pressure and network traffic."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import psutil


@dataclass(frozen=True)
class HostSample:
    """One reading of the machine."""

    cpu: float = 0.0
    """Share of all cores in use since the last sample, 0 to 1."""
    memory: float = 0.0
    """Share of memory in use, 0 to 1."""
    network: float = 0.0
    """Bytes per second received and sent on all interfaces since the last sample."""

    def as_dict(self) -> dict[str, float]:
        """Return the reading as plain numbers."""
        return asdict(self)


class TelemetrySampler:
    """Reads psutil; rates are differences between two calls of `sample`, so the first one reports none."""

    def __init__(self) -> None:
        psutil.cpu_percent(interval=None)  # the first call only sets psutil's reference point
        self._bytes: int | None = None
        self._time = 0.0

    def sample(self, now: float) -> HostSample:
        """Read the machine; `now` in seconds on a monotonic clock."""
        counters = psutil.net_io_counters()
        total = 0 if counters is None else counters.bytes_sent + counters.bytes_recv
        elapsed = now - self._time
        network = 0.0
        if self._bytes is not None and elapsed > 0:
            network = max(0, total - self._bytes) / elapsed  # a counter that wrapped gives one zero
        self._bytes, self._time = total, now
        return HostSample(
            cpu=min(1.0, psutil.cpu_percent(interval=None) / 100.0),
            memory=min(1.0, psutil.virtual_memory().percent / 100.0),
            network=network,
        )


def machine() -> tuple[int, int]:
    """Return the processor cores of this machine, and its memory in MiB."""
    return psutil.cpu_count() or 1, psutil.virtual_memory().total // 2**20
