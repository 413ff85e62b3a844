"""Settings of the protocol core; every duration in seconds, every rate per second."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from shivya_daemon.core.address import Address
from shivya_daemon.core.chorus import ChorusSettings
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.leases.settings import LeaseSettings
from shivya_daemon.core.links.settings import LinksSettings
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.signals.settings import SignalSettings

__all__ = ["OWN_WAIT_CHANGE", "Address", "NodeSettings"]

OWN_WAIT_CHANGE = 0.08
"""`heartbeat_change` that makes as many heartbeats where W is the own wait, seconds: nodes without a law."""


class NodeSettings(Struct, frozen=True):
    """Intervals and limits of one `Node`."""

    name: str = ""
    """Node name: at most 32 of a-z A-Z 0-9 . _ -"""
    wire: Literal["secure", "open"] = "secure"
    """Noise sessions, or frames in clear for trusted networks and the reference implementation."""
    heartbeat_interval: float = 0.1
    """Between two heartbeats when `publish` paces them; the timer alone sends every 1.25 intervals."""
    heartbeat_silence: float | None = None
    """Longest time between two heartbeats while nothing has moved; None: what is published goes out at the
    pace of `heartbeat_interval`. Keep it under a third of `LinksSettings.quiet_after`."""
    heartbeat_change: float = 0.03
    """Seconds by which potential and slope of a service together must have moved for a heartbeat at once, or
    its wait by four times as many."""
    descriptor_interval: float = 1.0
    """Longest time between two heartbeats that carry service descriptors."""
    push_interval: float = 1.0
    """Between two THERMODYNAMIC_PUSH to the same peer; they go out on the open wire only."""
    housekeeping_interval: float = 0.1
    """Granularity of time-outs and retransmissions."""
    probe_after: float = 1.0
    """Silence after which a link neighbour is pinged."""
    peer_timeout: float = 4.0
    """Silence after which a link neighbour is gone."""
    idle_probe_after: float = 25.0
    """Silence after which any other peer is pinged."""
    idle_timeout: float = 31.0
    """Silence after which it is gone."""
    ping_timeout: float = 0.5
    """Between two transmissions of a PING."""
    ping_attempts: int = 3
    """Transmissions of a PING to an address that has not proved itself."""
    roam_after: float = 2.0
    """Open wire: silence at its old address before a peer may prove itself at another."""
    min_peers: int = 12
    """Peers that a node keeps up for gossip, if there are so many."""
    reach_interval: float = 0.25
    """Between two attempts at one more of them."""
    reach_timeout: float = 8.0
    """Longest time to bring a node up."""
    max_reaching: int = 64
    """Nodes being brought up at a time."""
    contact_interval: float = 0.25
    """First pause between two attempts at a seed or a lost peer; doubles each time."""
    contact_interval_max: float = 5.0
    """Longest pause between two attempts."""
    contact_expiry: float = 3600.0
    """How long a lost peer is still looked for; seeds are looked for for ever."""
    max_peers: int = 512
    max_probes: int = 256
    max_contacts: int = 64
    max_events: int = 1024
    max_datagrams: int = 4096
    """Datagrams waiting to be drained by the driver."""
    stranger_rate: float = 20.0
    """Open wire: frames per second taken from an address that is not proved; twice that in a burst."""
    strangers_rate: float = 500.0
    """The same for all such addresses together."""
    peer_rate: float = 400.0
    """Frames per second taken from one peer; twice that in a burst."""
    secure: SecureSettings = field(default_factory=SecureSettings)
    dht: DhtSettings = field(default_factory=DhtSettings)
    gossip: GossipSettings = field(default_factory=GossipSettings)
    links: LinksSettings = field(default_factory=LinksSettings)
    signals: SignalSettings = field(default_factory=SignalSettings)
    leases: LeaseSettings = field(default_factory=LeaseSettings)
    chorus: ChorusSettings = field(default_factory=ChorusSettings)
