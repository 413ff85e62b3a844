"""The gradients that reached this node: of each source and type the newest, by its shortest way."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from shivya_daemon.core.signals.frame import Gradient, Signal
from shivya_daemon.core.signals.settings import SignalSettings


class GradientReading(Struct, frozen=True):
    """One gradient as it is felt here: value, age and distance are kept apart."""

    node: bytes
    """Its source."""
    strength: float
    """decay ^ hops: 1 at the source."""
    age: float
    """Seconds since it was first received."""
    hops: int
    payload: bytes


class _Felt(Struct):
    signal: Signal
    hops: int
    at: float


class Gradients:
    """A bounded table by source and type; a source that sends many types displaces only its own."""

    def __init__(self, settings: SignalSettings) -> None:
        self._settings = settings
        self._sources: OrderedDict[bytes, OrderedDict[str, _Felt]] = OrderedDict()

    def feel(self, source: bytes, signal: Signal, hops: int, now: float) -> None:
        """Keep an authentic gradient that came over `hops` links, unless a later or nearer one is known."""
        types = self._sources.get(source)
        if types is None:
            if len(self._sources) >= self._settings.max_gradient_sources:
                self._sources.popitem(last=False)
            types = self._sources[source] = OrderedDict()
        self._sources.move_to_end(source)
        felt = types.get(signal.type)
        if felt is None and len(types) >= self._settings.max_gradients_per_source:
            types.popitem(last=False)
        order = 1 if felt is None else _compare(signal, felt.signal)
        if order > 0:
            types[signal.type] = _Felt(signal, hops, now)
            types.move_to_end(signal.type)
        elif order == 0 and felt is not None:
            felt.hops = min(felt.hops, hops)

    def read(self, name: str, now: float) -> list[GradientReading]:
        """Return every gradient of one type that is not too old, the strongest first."""
        oldest = now - self._settings.gradient_lifetime
        readings = [
            GradientReading(
                source,
                strength(felt.signal, felt.hops),
                max(0.0, now - felt.at),
                felt.hops,
                felt.signal.payload,
            )
            for source, types in self._sources.items()
            if (felt := types.get(name)) is not None and felt.at >= oldest
        ]
        return sorted(readings, key=lambda reading: (-reading.strength, reading.node))

    def __len__(self) -> int:
        return sum(map(len, self._sources.values()))


def strength(signal: Signal, hops: int) -> float:
    """Return what is left of `signal` after `hops` links: decay ^ hops for a gradient, else 1."""
    return signal.kind.decay**hops if isinstance(signal.kind, Gradient) else 1.0


def _compare(a: Signal, b: Signal) -> int:
    """Return 1, 0 or -1 as `a` is later than, the same as, or earlier than `b` of the same source."""
    one, other = (a.incarnation, a.counter), (b.incarnation, b.counter)
    return (one > other) - (one < other)
