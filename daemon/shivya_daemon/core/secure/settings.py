"""Settings of the secure wire; every duration in seconds, every rate per second."""

from __future__ import annotations

from msgspec import Struct


class SecureSettings(Struct, frozen=True):
    """Intervals and limits of one `Sessions`; the ages of keys are WireGuard's."""

    rekey_after: float = 120.0
    """Age of its keys at which the initiator of a session that sends begins the next one."""
    rekey_after_responder: float = 150.0
    """The same for its responder, where the initiator has nothing to send."""
    refuse_after: float = 180.0
    """Age at which keys are forgotten."""
    rekey_messages: int = 2**60
    """Frames sent under one key after which the next session begins."""
    retry_interval: float = 0.5
    """First pause between two tries of a handshake; doubles every third time."""
    retry_interval_max: float = 2.0
    """Longest such pause."""
    attempts: int = 8
    """Tries of a handshake before its failure is reported; the second half is XX in any case."""
    answer_after: float = 1.0
    """A peer that has heard nothing for so long after it sent a frame is sent an empty one."""
    stale_after: float = 3.0
    """Unanswered sending for so long begins a new handshake: the peer may have lost its state."""
    crossing: float = 5.0
    """Two sessions this close in age were begun by both sides at once: one of them is settled upon."""
    waiting_lifetime: float = 5.0
    """How long a responder waits for an initiator to prove itself."""
    max_sessions: int = 512
    """Peers with a session; the one unused for longest makes room."""
    max_half_open: int = 128
    """Handshakes under way, as initiator and as responder each."""
    max_remembered: int = 4096
    """Identities whose last initiation is remembered, so that it cannot be replayed."""
    max_addresses: int = 1024
    """Addresses with a rate limit or a cookie."""
    max_datagrams: int = 1024
    """Handshake messages and empty frames waiting to be drained."""
    max_events: int = 1024
    handshake_rate: float = 20.0
    """Handshake messages taken from one address; from one host when cookies are asked for."""
    handshake_burst: float = 10.0
    calm_rate: float = 100.0
    """Initiations taken from all addresses together before cookies are asked for."""
    calm_burst: float = 200.0
    failure_rate: float = 100.0
    """Transport frames that do not open, taken from one address where no peer is; twice that in a burst."""
    max_failing: int = 64
    """Such addresses remembered. Whoever invents more of them is not slowed down, nor given memory."""
    cookie_lifetime: float = 120.0
    """Age at which the secret behind the cookies changes; the one before is still accepted."""
