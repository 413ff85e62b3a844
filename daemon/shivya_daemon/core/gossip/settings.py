"""Settings of membership and gossip; every duration in seconds, every size in bytes."""

from __future__ import annotations

from msgspec import Struct


class GossipSettings(Struct, frozen=True):
    """Intervals and limits of one `Gossip`."""

    interval: float = 0.5
    """Between two rounds; the own heartbeat counter advances by one each round."""
    fanout: int = 3
    """Peers asked in a round, as long as `budget` lasts."""
    budget: float = 5000.0
    """Bytes per second that leave in the long run, all overhead counted; one second's worth in a burst."""
    catch_up: float = 3500.0
    """Bytes per second on top for introducing nodes to peers that do not know them yet."""
    catch_up_burst: float = 16_000.0
    """As many at once: what it takes to introduce some 70 nodes."""
    message_bytes: int = 1100
    """Largest payload."""
    overhead: int = 62
    """What a payload costs besides itself: frame header, request id, session header and tag."""
    page: int = 60
    """Digest entries in one message."""
    max_nodes: int = 4096
    """Nodes known at a time, dead ones not yet forgotten included."""
    publish_interval: float = 1.0
    """Least time between two versions of the own values; grows with the fleet so as to keep to `budget`."""
    threshold: float = 8.0
    """Phi from which a node is dead."""
    prior_interval: float = 1.0
    """Assumed mean interval of a counter before any was seen."""
    prior_weight: float = 5.0
    """How many observed intervals the assumption is worth."""
    window: int = 1000
    """Observed intervals that the estimate of the mean remembers."""
    floor: float = 0.5
    """Least mean interval, however fast counters advance."""
    max_interval: float = 10.0
    """Intervals beyond this are outages: the estimate of the mean does not learn from them."""
    late: float = 1.0
    """A round this much overdue means that this node slept, and cannot judge who was silent."""
    grace: float = 60.0
    """How long the state of a dead or departed node is kept."""
    announcement_ttl: float = 60.0
    """An announcement is good for this long after the last sign of life of its node."""
    tombstone_lifetime: float = 3600.0
    """How long a forgotten life is remembered, so that a stale echo does not bring it back."""
    contact_rate: float = 4.0
    """Addresses of dead members tried per second."""
    contact_interval: float = 5.0
    """Between the first attempts at one dead member; later up to `contact_interval_max`."""
    contact_interval_max: float = 60.0
    contact_expiry: float = 86_400.0
    """How long a dead member is tried."""
    max_contacts: int = 1024
    peer_rate: float = 12.0
    """ACK and DELTA per second that are taken from one peer; twice that in a burst."""
    verify_rate: float = 100.0
    """Signatures per second that are checked on the word of one peer; four times that in a burst."""
