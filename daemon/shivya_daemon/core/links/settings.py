"""Settings of the links of one node; durations in seconds, sizes in bytes, rates in bytes per second."""

from __future__ import annotations

from msgspec import Struct


class LinksSettings(Struct, frozen=True):
    """Degrees, time-outs and gains; the defaults suit 3 to 300 nodes at round-trip times below 0.5 s."""

    min_links: int = 2
    """No link is pruned that leaves either end with fewer."""
    target_links: int = 6
    """Links are sought up to this number."""
    max_links: int = 12
    """Agreements of any state never exceed this number."""
    spare_links: int = 1
    """Links above the target that a node agrees to when asked; beyond, only nodes short of links get one."""
    crowded: float = 1.5
    """Above this multiple of the target, links are pruned even where the other end will seek others."""
    random_links: int = 1
    """Links to peers drawn at random, never swapped for nearer ones. Near links gather nodes into groups; a
    group draws one link for each member, and where everybody draws two or more the whole is almost surely
    connected (Fenner and Frieze 1982)."""

    retry: float = 0.4
    """Between two transmissions of the same request."""
    attempts: int = 8
    """Transmissions of a proposal, and again of its confirmation."""
    pending_lifetime: float = 4.0
    """How long an accepted proposal waits for its confirmation."""
    max_pending: int = 4
    """Accepted proposals that wait at the same time."""

    check_interval: float = 2.0
    """Between two checks that the other end still holds the agreement."""
    check_retry: float = 0.25
    check_attempts: int = 4
    """Unanswered probes that make one failed check."""
    train_interval: float = 60.0
    """Between two measurements of bandwidth."""
    train_spread: float = 5.0
    """Within which the first one is made: whoever joins makes its links all at once."""
    train_length: int = 4
    """Padded probes in one measurement."""
    probe_size: int = 1000
    """Bytes of a padded probe's payload."""
    quiet_after: float = 1.0
    """Silence after which a link carries no new work."""
    dead_after: float = 4.0
    """Silence after which a link is lost."""

    breaker_failures: int = 5
    """Consecutive failures that open the breaker of a link."""
    breaker_pause: float = 60.0
    """How long an open breaker waits before its one trial."""

    window: float = 1.0
    """Of traffic, for the bandwidth score."""
    reference_bandwidth: float = 1.25e6
    """Bandwidth whose score is one half: 10 Mbit/s."""
    busy_rate: float = 2e4
    """Traffic under which a link settles half-way to its greatest thickness."""
    thickness_decay: float = 0.01
    """Rate (1/s) at which thickness follows the traffic."""
    thickness_min: float = 0.1
    thickness_max: float = 2.0

    seek_interval: float = 0.3
    """Between two searches for missing links."""
    improve_interval: float = 10.0
    """Between two attempts at a better link, give or take a quarter; and between two links that make room for
    a peer short of links."""
    prune_interval: float = 2.0
    """Between two requests to part, and before an end that refused is asked again, times five."""
    swap_ratio: float = 0.5
    """A candidate replaces the slowest link if its round-trip time is below this fraction of it ..."""
    swap_gain: float = 0.005
    """... and shorter by this much."""
    sample: int = 32
    """Candidates compared for one proposal."""

    settle_time: float = 15.0
    """Age from which a link must show in what the peer publishes of its links."""
    backoff: float = 1.0
    """Pause after a first refusal or silence of a peer; doubles each time."""
    backoff_max: float = 60.0
    max_remembered: int = 1024
    """Peers whose pauses and incarnations are remembered."""
    max_blocked: int = 1024
    max_events: int = 1024

    @property
    def full_at(self) -> int:
        """The degree from which on only nodes short of links get another."""
        return min(self.max_links, self.target_links + self.spare_links)

    @property
    def crowded_above(self) -> int:
        """The greatest degree that is not crowded."""
        return min(self.max_links, int(self.crowded * self.target_links))
