"""Settings of leases; every duration in seconds."""

from __future__ import annotations

from types import MappingProxyType

from msgspec import Struct, field

from shivya_daemon.core.leases.kinds import Quota


class LeaseSettings(Struct, frozen=True):
    """What a node lends, and how patiently the two ends of a lease wait for each other."""

    quota: Quota = field(default_factory=lambda: MappingProxyType({}))
    ttl: float = 6.0
    """Silence of its holder after which a lease is free again; a node that starts lends nothing for as long,
    as what it lent before may still be in use."""
    confirm: float = 3.0
    """How long what was granted waits for its holder to say that it heard so."""
    credits: bool = False
    """Whether there is a ledger: then what is beyond the free part is lent for credits only, and paid for."""
    payment: float = 10.0
    """How long what was granted waits for credits to be reserved, and for the ledger to show them."""
    retry: float = 0.25
    """Between two transmissions of a request."""
    attempts: int = 6
    """Transmissions of a request before the next node is asked."""
    max_tried: int = 8
    """Nodes asked for one lease."""
    max_latency: float = 0.05
    """Largest round-trip time to a node that is asked."""
    request_above: float = 0.9
    """Share of the own quota above which others are asked first."""
    offer_above: float = 1.1
    """A node offers when its free share is more than this times the fleet's."""
    shunned: float = 60.0
    """How long a node is not asked again for what it does not lend."""
    remembered: float = 60.0
    """How long a lease that has ended is remembered."""
    ask_rate: float = 10.0
    """Requests per second taken from one node; three times that in a burst."""
    max_granted: int = 1024
    max_per_holder: int = 64
    max_claims: int = 64
    max_ended: int = 2048
    max_events: int = 256
