"""What can be leased, how much of it a node can have at most, and what it costs.

Amounts and seconds are whole numbers and prices whole units of 10^-6 credit, so that every node computes the
same. Prices: 1 credit for a core-hour, for 4 GiB-hours of memory, or for 100 GB-hours of storage, rounded up;
what is limited only so that it is not overrun (operations, bandwidth, connections) costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from fractions import Fraction
from types import MappingProxyType

from msgspec import Struct

from shivya_daemon.core.gossip.resources import Resource

FREE_PART = 10
"""One in so many units of a quota is free for each holder."""
MAX_SECONDS = 30 * 24 * 3600
"""Longest term of a lease; it can be renewed."""

_CREDIT = 1_000_000
_HOUR = 3600
_CORE = Fraction(_CREDIT, 1000 * _HOUR)
_MEMORY = Fraction(_CREDIT, 4 * 1024 * _HOUR)
_STORAGE = Fraction(_CREDIT * 2**20, 100 * 10**9 * _HOUR)  # amounts are in MiB, the price is per GB


class Kind(IntEnum):
    """One thing that can be leased; the member's name in lower case is its name everywhere."""

    MILLICORES = 1
    MEMORY_MB = 2
    GPU_MEMORY_MB = 3
    EPHEMERAL_MB = 4
    """Storage that may go with the lease."""
    PERSISTENT_MB = 5
    """Storage that outlives the machine's restart."""
    REPLICATED_MB = 6
    """Storage that outlives the machine."""
    IOPS = 7
    INGRESS_MBPS = 8
    EGRESS_MBPS = 9
    CONNECTIONS = 10

    @property
    def label(self) -> str:
        """Its name in settings, on the command line and in JSON."""
        return self.name.lower()

    @property
    def most(self) -> int:
        """The largest quota there is."""
        return _SORTS[self].most

    @property
    def resource(self) -> Resource:
        """The resource of the gradient that it belongs to."""
        return _SORTS[self].resource

    @property
    def unit(self) -> float | None:
        """How many units of that resource one of it is; None if it cannot be told in them."""
        return _SORTS[self].unit


class _Sort(Struct, frozen=True):
    most: int
    resource: Resource
    unit: float | None = None
    rate: Fraction = Fraction(0)
    """Units of 10^-6 credit for one of it and a second."""


_SORTS: Mapping[Kind, _Sort] = MappingProxyType(
    {
        Kind.MILLICORES: _Sort(128_000, Resource.COMPUTE, 1.0, _CORE),
        Kind.MEMORY_MB: _Sort(1_048_576, Resource.COMPUTE, None, _MEMORY),
        Kind.GPU_MEMORY_MB: _Sort(1_048_576, Resource.COMPUTE, None, _MEMORY),
        Kind.EPHEMERAL_MB: _Sort(2**40, Resource.STORAGE, 1.0, _STORAGE),
        Kind.PERSISTENT_MB: _Sort(2**40, Resource.STORAGE, 1.0, _STORAGE),
        Kind.REPLICATED_MB: _Sort(2**40, Resource.STORAGE, 1.0, _STORAGE),
        Kind.IOPS: _Sort(10_000_000, Resource.STORAGE),
        Kind.INGRESS_MBPS: _Sort(10_000_000, Resource.BANDWIDTH, 125_000.0),
        Kind.EGRESS_MBPS: _Sort(10_000_000, Resource.BANDWIDTH, 125_000.0),
        Kind.CONNECTIONS: _Sort(1_000_000, Resource.BANDWIDTH),
    }
)

MAX_AMOUNT = max(sort.most for sort in _SORTS.values())
LABELS: Mapping[str, Kind] = MappingProxyType({kind.label: kind for kind in Kind})
"""The kinds by name."""

Quota = Mapping[Kind, int]
"""What a node lends in all, by kind; what is not in it is not lent."""


def price(kind: Kind, amount: int, seconds: int) -> int:
    """Return what `amount` of a kind costs for `seconds`, rounded up, in 10^-6 credit."""
    return -(-_SORTS[kind].rate * amount * seconds // 1)


def covered(kind: Kind, amount: int, paid: int) -> int:
    """Return for how many whole seconds `paid` buys `amount` of a kind, at most `MAX_SECONDS`."""
    rate = _SORTS[kind].rate * amount
    return min(MAX_SECONDS, paid // rate) if rate else MAX_SECONDS


def billable(capacity: int, held: int, amount: int) -> int:
    """Return how much of `amount` is beyond a holder's free part of a quota, of which it has `held`."""
    return max(0, amount - max(0, capacity // FREE_PART - held))
