"""Settings of the distributed hash table; every duration in seconds."""

from __future__ import annotations

from msgspec import Struct


class DhtSettings(Struct, frozen=True):
    """Intervals and limits of one `Dht`."""

    request_ids: bool = True
    """Whether frames carry request ids and values need write tokens: True on the secure wire alone."""

    bucket_size: int = 20
    """K: peers in a bucket of the routing table, and nodes that a lookup hears before it ends."""
    subnet_limit: int | None = 2
    """Most table entries, and candidates of a lookup, in one /24 (IPv4) or /64 (IPv6); None: no limit."""
    limit_private: bool = False
    """Whether that holds for private and loopback addresses too: a fleet on one LAN shares its /24."""
    check_after: float = 10.0
    """Silence after which the oldest peer of a full bucket is pinged in favour of a new one."""
    check_timeout: float = 0.5
    """How long the new peer waits for that, retransmissions included."""
    check_attempts: int = 4

    alpha: int = 3
    """Questions of one lookup in flight; those that are slow do not count."""
    attempts: int = 8
    """Transmissions of one question: at 15 % loss each way, 1 in 28,000 live peers is given up."""
    patience: int = 2
    """Transmissions after which a question no longer holds up others."""
    retry_first: float = 0.25
    """Between two transmissions, until round-trip times are known."""
    retry_min: float = 0.05
    retry_max: float = 1.0
    retry_growth: float = 1.25
    connect_timeout: float = 6.0
    """Longest wait for a session with a peer that is to be asked."""
    operation_timeout: float = 30.0
    """No lookup asks anybody new after this."""
    request_lifetime: float = 2.0
    """How long after its last transmission a question may be answered."""
    max_requests: int = 4096
    max_connected: int = 4096
    """Peers remembered as having a session; to forget one costs a question to the caller."""
    max_queued: int = 256
    """Operations that wait for their turn."""
    max_running: int = 16

    replicas: int = 8
    """Nodes that are to hold a value."""
    max_records: int = 1024
    max_bytes: int = 1 << 20
    """Of keys and values held for others."""
    writer_records: int = 128
    """Records that one writing node may have in the store."""
    writer_bytes: int = 32 << 10
    value_lifetime: float = 86400.0
    """From the time the publisher last stored a value to its expiry."""
    token_period: float = 300.0
    """Life of a write-token secret; the one before is accepted too."""
    max_published: int = 1024
    """Values that this node publishes again and again."""
    republish_interval: float = 3600.0
    """Of a publisher; less or more by up to a tenth."""
    replicate_interval: float = 3600.0
    """Of a holder that saw no store of the value meanwhile; less or more by up to a tenth."""

    refresh_interval: float = 900.0
    """Between lookups in a bucket that nothing else touched."""
    first_refresh: float = 2.0
    """Between the first two lookups of the own id; then four times longer each time, up to the above."""
    bucket_pause: float = 15.0
    """Between two lookups that refresh buckets, so that a fleet that starts at once does not ask at once."""
    sweep_interval: float = 10.0
    """Between two looks for values to expire, to replicate or to republish."""
    chore_rate: float = 16.0
    """Replications and hand-overs started per second at most."""
    scan_slice: int = 32
    """Held values compared with a newcomer per chore."""
