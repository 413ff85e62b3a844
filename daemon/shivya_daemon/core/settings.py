"""Settings of the protocol core; every duration in seconds, every rate per second."""

from __future__ import annotations

from dataclasses import dataclass

Address = tuple[str, int]
"""Textual IP address and UDP port."""


@dataclass(frozen=True)
class NodeSettings:
    """Intervals and limits of one `Node`."""

    name: str = ""
    """Node name carried by heartbeats: at most 32 of a-z A-Z 0-9 . _ -"""
    heartbeat_interval: float = 0.1
    """Between two heartbeats when `publish` paces them; the timer alone sends every 1.25 intervals."""
    descriptor_interval: float = 1.0
    """Longest time between two heartbeats that carry service descriptors."""
    push_interval: float = 1.0
    """Between two THERMODYNAMIC_PUSH to the same peer."""
    housekeeping_interval: float = 0.1
    """Granularity of time-outs and retransmissions."""
    peer_timeout: float = 4.0
    """Silence after which a peer is gone."""
    probe_after: float = 1.0
    """Silence after which a peer is pinged."""
    ping_timeout: float = 0.5
    """Between two transmissions of a PING or FIND_NODE."""
    ping_attempts: int = 3
    """Transmissions of a PING to an address that has not proved itself."""
    roam_after: float = 2.0
    """Silence at its old address before a peer may prove itself at another."""
    fresh_interval: float = 0.1
    """Between two discovery requests while new peers keep turning up."""
    fresh_window: float = 5.0
    """How long after the start, or after the last new peer, discovery stays fast."""
    discovery_interval: float = 5.0
    """Between two discovery requests afterwards."""
    contact_interval: float = 0.25
    """First pause between two attempts at a seed or a lost peer; doubles each time."""
    contact_interval_max: float = 5.0
    """Longest pause between two attempts."""
    contact_expiry: float = 3600.0
    """How long a lost peer is still looked for; seeds are looked for for ever."""
    bucket_size: int = 20
    """K of the routing table."""
    max_links: int = 12
    max_peers: int = 256
    max_probes: int = 256
    max_contacts: int = 64
    max_lookups: int = 64
    max_events: int = 1024
    max_datagrams: int = 4096
    """Datagrams waiting to be drained by the driver."""
    stranger_rate: float = 20.0
    """Frames per second taken from one address that has not proved itself; twice that in a burst."""
    strangers_rate: float = 500.0
    """The same for all such addresses together."""
    peer_rate: float = 400.0
    """Frames per second taken from one peer; twice that in a burst."""
