"""One link of a node as its host may see it."""

from __future__ import annotations

from msgspec import Struct

from shivya_daemon.core.links.agreement import Agreement
from shivya_daemon.core.members import Member
from shivya_daemon.core.settings import Address


class LinkView(Struct, frozen=True):
    """A frozen picture of one agreement."""

    id: bytes
    name: str
    """Empty until a heartbeat named the peer."""
    address: Address | None
    """None while the peer is not up on the wire."""
    rtt: float | None
    """Smoothed round-trip time of the link's own probes, in seconds."""
    bandwidth: float | None
    """Towards the peer, in bytes per second; None until measured."""
    thickness: float
    conductance: float
    """What this end advertises."""
    state: str
    """"proposed", "confirming", "pending", "established" or "parting"."""
    breaker: str
    """"closed": work flows; "open" and "half-open": none does."""
    degree: int
    """Links of the peer, as it last said."""
    age: float
    """Seconds since the link was established, or begun."""


def view(agreement: Agreement, member: Member | None, now: float) -> LinkView:
    """Return the picture of `agreement`, whose peer is up as `member` or not at all."""
    beat = None if member is None else member.beat
    return LinkView(
        id=agreement.node,
        name="" if beat is None else beat.name,
        address=None if member is None else member.address,
        rtt=agreement.rtt.smoothed,
        bandwidth=agreement.bandwidth.value,
        thickness=agreement.thickness.value,
        conductance=agreement.conductance,
        state=agreement.phase.value,
        breaker=agreement.breaker.state.value,
        degree=agreement.degree,
        age=max(0.0, now - agreement.since),
    )
