"""The resource gradient (after VUDO): what share of each resource is free, here and everywhere.

Value, age and distance are kept apart. What a node said stays what it said, however far away it is; how
attractive it is from here, `strength = value * 0.9**hops`, is computed when it is read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum

from msgspec import Struct

from shivya_daemon.core.errors import DecodeError, EncodeError

DECAY = 0.9
"""Factor of strength per hop."""
MAX_CAPACITY = 2.0**50
"""About 1e15; a power of two, so that binary32 holds it exactly."""

_ONE = 0xFFFF  # the share 1.0 on the wire
_RECORD = struct.Struct(">HHHHffff")


class Resource(IntEnum):
    """The four resources of the gradient; the unit is that of the capacity."""

    COMPUTE = 0
    """Millicores."""
    STORAGE = 1
    """MiB."""
    BANDWIDTH = 2
    """Bytes per second."""
    CREDIT = 3
    """Atomic units of credit."""


class Resources(Struct, frozen=True):
    """What a node has: by `Resource`, the free share (0 saturated, 1 idle) of which capacity."""

    free: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    capacity: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


class Reading(Struct, frozen=True):
    """One resource of one node as it is known here."""

    free: float
    """Free share, as the node said."""
    capacity: float
    age: float
    """Seconds since it was received."""
    hops: int | None
    """Links between here and there; None if no way is known."""

    @property
    def strength(self) -> float:
        """The free share as it counts from here; 0 if no way is known."""
        return 0.0 if self.hops is None else self.free * DECAY**self.hops


def encode_resources(resources: Resources) -> bytes:
    """Return the value of RESOURCES (24 bytes); raises `EncodeError` for a share outside [0, 1]."""
    if not all(0 <= share <= 1 for share in resources.free):
        raise EncodeError(f"free shares are from 0 to 1, not {resources.free}")
    if not all(0 <= capacity <= MAX_CAPACITY for capacity in resources.capacity):
        raise EncodeError(f"capacities are from 0 to 2^50, not {resources.capacity}")
    return _RECORD.pack(*(round(share * _ONE) for share in resources.free), *resources.capacity)


def decode_resources(value: bytes) -> Resources:
    """Return what is in a value of RESOURCES; raises `DecodeError`."""
    if len(value) != _RECORD.size:
        raise DecodeError("truncated" if len(value) < _RECORD.size else "trailing_bytes")
    a, b, c, d, *units = _RECORD.unpack(value)
    capacity = (units[0], units[1], units[2], units[3])
    if not all(map(math.isfinite, capacity)):
        raise DecodeError("not_finite")
    if not all(0 <= unit <= MAX_CAPACITY for unit in capacity):
        raise DecodeError("out_of_range")
    return Resources((a / _ONE, b / _ONE, c / _ONE, d / _ONE), capacity)


class _Known(Struct):
    stamp: tuple[int, int]
    resources: Resources
    received_at: float


class ResourceGradient:
    """The resources of the own node and of others; (incarnation, version) decides what is newer, no clock."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._mine = Resources()
        self._known: dict[bytes, _Known] = {}

    @property
    def own(self) -> Resources:
        """What this node has."""
        return self._mine

    @own.setter
    def own(self, resources: Resources) -> None:
        self._mine = resources

    def hear(self, node: bytes, stamp: tuple[int, int], resources: Resources, now: float) -> bool:
        """Take what another node published as of `stamp`; False if something as new is known."""
        known = self._known.get(node)
        if node == self._own or (known is not None and stamp <= known.stamp):
            return False
        self._known[node] = _Known(stamp, resources, now)
        return True

    def forget(self, node: bytes) -> None:
        """Drop a node that is gone."""
        self._known.pop(node, None)

    def reading(
        self, node: bytes, resource: Resource, hops: Mapping[bytes, int], now: float
    ) -> Reading | None:
        """Return one resource of a node, with its age and its distance by `hops`; None if it is unknown."""
        if node == self._own:
            return Reading(self._mine.free[resource], self._mine.capacity[resource], 0.0, 0)
        known = self._known.get(node)
        if known is None:
            return None
        free, capacity = known.resources.free[resource], known.resources.capacity[resource]
        return Reading(free, capacity, max(0.0, now - known.received_at), hops.get(node))

    def flow_direction(self, resource: Resource, neighbours: Iterable[bytes]) -> bytes | None:
        """Return the neighbour (one hop) whose strength most exceeds the own; ties go to the lowest id."""
        best, strongest = None, self._mine.free[resource]
        for node in sorted(neighbours):
            known = self._known.get(node)
            if known is not None and known.resources.free[resource] * DECAY > strongest:
                best, strongest = node, known.resources.free[resource] * DECAY
        return best

    def average(self, resource: Resource) -> float:
        """Return the free share of the fleet: free units over units of capacity, this node included."""
        every = [self._mine, *(known.resources for known in self._known.values())]
        capacity = math.fsum(one.capacity[resource] for one in every)
        free = math.fsum(one.free[resource] * one.capacity[resource] for one in every)
        return free / capacity if capacity > 0 else 0.0

    def should_offer(self, resource: Resource, threshold: float = 1.0) -> bool:
        """Return whether a larger share is free here than `threshold` times that of the fleet."""
        return self._mine.free[resource] > threshold * self.average(resource)

    def should_request(
        self, resource: Resource, committed: float, amount: float, threshold: float = 1.0
    ) -> bool:
        """Return whether `amount` units on top of those `committed` ask too much of what is free here.

        Both are divided by the own capacity before they are compared with `threshold` times the free share:
        a share is compared with a share. Without capacity, everything has to be requested.
        """
        capacity = self._mine.capacity[resource]
        return not (capacity > 0 and (committed + amount) / capacity <= threshold * self._mine.free[resource])
