"""Who is asked for a lease: the nodes with most to spare, as far as their resource gradient tells."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from shivya_daemon.core.gossip.resources import DECAY, Reading
from shivya_daemon.core.leases.kinds import Kind
from shivya_daemon.core.leases.settings import LeaseSettings

_STEP = 1 / 0xFFFF  # of a share on the wire


class Offer(Struct, frozen=True):
    """What is known of one node."""

    node: bytes
    reading: Reading
    """Of the resource that is asked for."""
    rtt: float | None


def rank(
    offers: Iterable[Offer], kind: Kind, amount: int, left: float, mean: float, settings: LeaseSettings
) -> list[bytes]:
    """Return whom to ask for `amount` of a kind, the best first.

    That is who is near enough, has so much free, and would have a larger share left, by strength, than the
    share `left` that would be left here. Who offers, its free share being well above the fleet's `mean`,
    comes first.
    """
    found: list[tuple[bool, float, bytes]] = []
    for offer in offers:
        reading = offer.reading
        if offer.rtt is None or offer.rtt > settings.max_latency or reading.hops is None:
            continue
        share = reading.free
        if kind.unit is not None:
            if reading.capacity <= 0:
                continue
            share -= amount * kind.unit / reading.capacity
        strength = max(0.0, share) * DECAY**reading.hops
        if share >= -_STEP and (strength > left or left == 0.0):
            found.append((reading.free <= settings.offer_above * mean, -strength, offer.node))
    return [node for _, _, node in sorted(found)]
