"""Settings of signals; every duration in seconds, every rate per second."""

from __future__ import annotations

from msgspec import Struct


class SignalSettings(Struct, frozen=True):
    """Lifetimes, rates and bounds of one `Signals`."""

    ttl: int = 8
    """Links a signal travels at most, unless its sender says otherwise; 16 is the longest."""
    decay: float = 0.9
    """What is left of a gradient per link, unless its sender says otherwise."""
    gradient_threshold: float = 0.05
    """A gradient is passed on while more than this would be left of it one link further."""
    gradient_lifetime: float = 60.0
    """How long a gradient that is not repeated can be read."""
    min_refractory: float = 1.0
    """Shortest rest of a type after an action potential; twice the largest round trip if that is more."""
    quorum_lifetime: float = 60.0
    """How long contributions to one subject are collected, from the first on."""
    source_rate: float = 20.0
    """Signals per second sent, as many in a burst; and taken from one source, twice as many in a burst."""
    verify_rate: float = 100.0
    """Signatures per second checked for one neighbour; twice that in a burst."""
    verify_total_rate: float = 1000.0
    """The same for all neighbours together."""
    max_sources: int = 4096
    """Sources whose last numbers are remembered; the one silent for longest is forgotten."""
    max_recent: int = 1024
    """Signals of which a copy that came a shorter way is still passed on."""
    max_neighbours: int = 256
    """Neighbours whose rate is remembered."""
    max_gradient_sources: int = 1024
    max_gradients_per_source: int = 8
    """Types of gradient kept of one source; its oldest makes room."""
    max_rosters: int = 64
    max_tallies: int = 256
    """Subjects and contents under count; the one with the fewest contributors makes room."""
    max_fired: int = 4096
    """Subjects remembered as decided."""
    max_refractory_types: int = 256
    max_queue: int = 1024
    """Signals waiting to be sent in each of the two lanes."""
    max_events: int = 1024
    """Events waiting to be drained in each of the two lanes."""
