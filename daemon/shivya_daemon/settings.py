"""Settings of one daemon as frozen values; `shivya.config` merges flags, environment and TOML into them.

Every duration is in seconds, every rate per second, every size in bytes.
"""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shivya_daemon import paths

DEFAULT_PORT = 8085
DEFAULT_PAGE_PORT = 9002
DEFAULT_METRICS_PORT = 8000
DEFAULT_SERVICE_RATE = 10.0
MIN_LINKS, DEFAULT_LINKS, MAX_LINKS = 2, 6, 12
MAX_NAME_LENGTH = 32
NODE_ID_DIGITS = 40
MAX_CAPABILITY_NAMES = 8
MAX_CAPABILITY_NAME_LENGTH = 24


class SettingsError(ValueError):
    """A setting that cannot work; the text names it and says what to do."""


@dataclass(frozen=True)
class LawSettings:
    """What the placement law is told about transfers and time (research constants of law W2)."""

    gap: float = 0.05
    """Least predicted gain that makes a move worth it."""
    slope_share: float = 1.0
    """Rise of waiting time over which the advertised slope is taken, as a share of gap + shortest hop."""
    stale_after: float = 1.0
    """A neighbour whose last heartbeat is older gets no new work."""
    hop_limit: int = 8
    """Most moves of one job by placement."""
    minimum_hop: float = 0.001
    """Floor of the time a job takes to a neighbour, else half a round trip; jobs with much data want more."""
    tick_interval: float = 0.1
    """Time between two control steps."""
    pull_wait: float = 0.06
    """Least known queue over service rate of a neighbour that an idle node asks for a job."""
    drift: float = 0.5
    """Trust in the forecast of a neighbour's potential; 0: none."""
    drift_fade: float = 0.4
    """Age of its heartbeat at which the forecast is not trusted at all."""
    drift_share: float = 0.5
    """Largest forecast fall over hop + gap; keep it below 1."""
    drift_seconds: float = 1.0
    """Time constant of net arrivals and of jobs sent to a neighbour, from which it is forecast."""
    kappa: float = 0.3
    """Share of the time for which a job has run that it is expected to run on; 0: no account of it."""
    prior_jobs: float = 10.0
    """Weight of the service rate given, in jobs, against the one measured."""
    rate_seconds: float = 3.0
    """Time constant of the measured service rate."""


@dataclass(frozen=True)
class CapabilitySettings:
    """What a node offers, or what it seeks in others; None and the empty list say nothing."""

    cores: int | None = None
    """Offered: the machine's when None, and no computing at all when 0."""
    memory_mb: int | None = None
    """MiB; offered: the machine's when None."""
    capacity_mb: int | None = None
    """MiB of storage."""
    iops: int | None = None
    """Operations of the storage per second."""
    gateway: tuple[str, ...] = ()
    """Protocols it is a gateway for."""
    witness: int | None = None
    """Stake in atomic units of credit."""
    tags: tuple[str, ...] = ()
    """Words of your own."""

    def check(self, table: str) -> None:
        """Raise `SettingsError` for what cannot be announced; `table` is where the keys stand."""
        for key, name in CAPABILITY_KEYS.items():
            value, label = getattr(self, name), f"{table}.{key}"
            if isinstance(value, tuple):
                _check_names(label, value)
            elif value is not None and not 0 <= value <= _MOST.get(name, 2**63 - 1):
                raise SettingsError(
                    f"{label} must be between 0 and {_MOST.get(name, 2**63 - 1)}, not {value}"
                )


CAPABILITY_KEYS: Mapping[str, str] = {
    "compute.cores": "cores",
    "compute.memory_mb": "memory_mb",
    "storage.capacity_mb": "capacity_mb",
    "storage.iops": "iops",
    "gateway": "gateway",
    "witness": "witness",
    "tags": "tags",
}
"""Key in the table `capabilities`, or in `capabilities.seeks`, to field of `CapabilitySettings`."""
_MOST = {"cores": 2**32 - 1, "iops": 2**32 - 1}


@dataclass(frozen=True)
class CreditSettings:
    """Where the ledger of credits is; nowhere unless it is said, and then nothing is paid."""

    ledger: Path | None = None
    """File that this daemon alone writes: it is the witness."""
    etcd: tuple[str, ...] = ()
    """Members of the etcd that has the ledger; any number of daemons."""
    etcd_ca: Path | None = None
    """Certificates, in PEM, that those of its members are checked by; none: those of the system."""
    etcd_cert: Path | None = None
    """Certificate of this client, in PEM, where etcd asks for one."""
    etcd_key: Path | None = None
    """Its key; none: in the same file."""
    etcd_user: str | None = None
    etcd_password_file: Path | None = None
    """The password of that user, the first line; readable by its owner alone."""
    epoch_limit: int = 1_000_000
    """10^-6 credit that this node pays its helpers per ten seconds at most; 0: nothing."""

    @property
    def on(self) -> bool:
        """Whether there is a ledger."""
        return self.ledger is not None or bool(self.etcd)

    def check(self) -> None:
        """Raise `SettingsError` for what names no ledger."""
        if self.ledger is not None and self.etcd:
            raise SettingsError("credits.ledger and credits.etcd are two ledgers; leave out one or the other")
        if (self.etcd_user is None) != (self.etcd_password_file is None):
            raise SettingsError("credits.etcd_user and credits.etcd_password_file go together; give both")
        if self.epoch_limit < 0:
            raise SettingsError(f"credits.epoch_limit must not be negative, not {self.epoch_limit}")
        for url in self.etcd:
            if not url.startswith(("http://", "https://")):
                raise SettingsError(
                    f"credits.etcd must be a list of URLs such as http://10.0.0.7:2379, not {url[:64]!r}"
                )


@dataclass(frozen=True)
class QuotaSettings:
    """What a node lends to itself and others; nothing unless it is said."""

    millicores: int = 0
    """1000 = one core."""
    memory_mb: int = 0
    """MiB."""
    gpu_memory_mb: int = 0
    """MiB."""
    ephemeral_mb: int = 0
    """MiB of storage that lives as long as the lease."""
    persistent_mb: int = 0
    """MiB of storage that lives as long as the machine."""
    replicated_mb: int = 0
    """MiB of storage that outlives the machine."""
    iops: int = 0
    """Operations of the storage per second."""
    ingress_mbps: int = 0
    """Mbit/s from the network."""
    egress_mbps: int = 0
    """Mbit/s to the network."""
    connections: int = 0
    """Open at once."""
    lease_ttl: float = 6.0
    """Silence of its holder after which a lease is free again."""
    max_latency: float = 0.05
    """Largest round-trip time to a node that is asked for a lease."""

    def check(self) -> None:
        """Raise `SettingsError` for what cannot be lent."""
        for key, most in MAX_QUOTA.items():
            if not 0 <= getattr(self, key) <= most:
                raise SettingsError(f"quota.{key} must be between 0 and {most}, not {getattr(self, key)}")
        if not 0.5 <= self.lease_ttl <= 3600:
            raise SettingsError(f"quota.lease_ttl must be between 0.5 and 3600 s, not {self.lease_ttl}")
        if not 0 < self.max_latency <= 60:
            raise SettingsError(f"quota.max_latency must be above 0 and at most 60 s, not {self.max_latency}")


MAX_QUOTA: Mapping[str, int] = {
    "millicores": 128_000,
    "memory_mb": 1_048_576,
    "gpu_memory_mb": 1_048_576,
    "ephemeral_mb": 2**40,
    "persistent_mb": 2**40,
    "replicated_mb": 2**40,
    "iops": 10_000_000,
    "ingress_mbps": 10_000_000,
    "egress_mbps": 10_000_000,
    "connections": 1_000_000,
}
"""The largest quota of each kind."""


@dataclass(frozen=True)
class SpiritSettings:
    """Whether spirits may live here, and how much room one has."""

    follow: bool = True
    """Whether what is summoned anywhere on the mesh lives here too, if its package is here."""
    cells: int = 256
    """Most cells of this node's part."""
    tubes: int = 512
    """Most tubes of it."""

    def check(self) -> None:
        """Raise `SettingsError` for a part that cannot live, or is too large to step."""
        for key, least, most in (("cells", 16, 4096), ("tubes", 16, 8192)):
            if not least <= getattr(self, key) <= most:
                raise SettingsError(
                    f"spirits.{key} must be between {least} and {most}, not {getattr(self, key)}"
                )


@dataclass(frozen=True)
class DaemonSettings:
    """All that a daemon needs to start."""

    port: int = DEFAULT_PORT
    bind: str = "127.0.0.1"
    advertise: str | None = None
    peers: tuple[tuple[str, int], ...] = ()
    mesh_key_file: Path | None = None
    """The key that admits to the mesh; without it the daemon stays on this host."""
    allow: frozenset[bytes] | None = None
    """Ids of the nodes that may speak with this one; None for all that have the mesh key."""
    allow_file: Path | None = None
    """The same, one id a line; both add up."""
    open_wire: bool = False
    """Frames in clear, for trusted networks and the reference implementation."""
    no_law: bool = False
    """Place jobs by shortest expected delay alone: no JAX, an eighth of the memory, longer tails."""
    name: str | None = None
    state_dir: Path | None = None
    socket: Path | None = None
    service_rate: float = DEFAULT_SERVICE_RATE
    """Jobs per second of the service named `default`."""
    links: int = DEFAULT_LINKS
    """Neighbours that this node seeks, 2 to 12; fewer cost less traffic, and work goes more hops."""
    record: Path | None = None
    """New file that takes all inputs of the law."""
    tui: bool = False
    log_format: str = "text"
    visualize: int | None = None
    """TCP port of the page on 127.0.0.1, 0 = the system chooses; None: no page."""
    metrics: int | None = None
    """TCP port of the metrics, 0 = the system chooses; None: no metrics."""
    metrics_bind: str = "127.0.0.1"
    law: LawSettings = field(default_factory=LawSettings)
    capabilities: CapabilitySettings = field(default_factory=CapabilitySettings)
    seeks: CapabilitySettings = field(default_factory=CapabilitySettings)
    """A link needs a capability that both have, or that one seeks and the other has."""

    quota: QuotaSettings = field(default_factory=QuotaSettings)
    credits: CreditSettings = field(default_factory=CreditSettings)
    spirits: SpiritSettings = field(default_factory=SpiritSettings)

    def __post_init__(self) -> None:
        self.quota.check()
        self.credits.check()
        self.spirits.check()
        for key in ("port", "visualize", "metrics"):
            if not 0 <= (getattr(self, key) or 0) <= 65535:
                raise SettingsError(f"{key} must be between 0 and 65535, not {getattr(self, key)}")
        _ip_address("metrics_bind", self.metrics_bind)
        if not math.isfinite(self.service_rate) or self.service_rate <= 0:
            raise SettingsError(
                f"service_rate must be a positive number of jobs per second, not {self.service_rate}"
            )
        if not MIN_LINKS <= self.links <= MAX_LINKS:
            raise SettingsError(f"links must be between {MIN_LINKS} and {MAX_LINKS}, not {self.links}")
        if self.log_format not in ("text", "json"):
            raise SettingsError(f"log_format must be text or json, not {self.log_format!r}")
        if self.name is not None:
            check_name(self.name)
        if self.advertise is not None:
            host = _ip_address("advertise", self.advertise)
            if host.is_unspecified or host.is_multicast:
                raise SettingsError(
                    f"advertise {self.advertise} is no address that peers can reach; "
                    "leave it out to announce the addresses of this host's interfaces"
                )
        self.capabilities.check("capabilities")
        self.seeks.check("capabilities.seeks")
        if self.capabilities.iops and not self.capabilities.capacity_mb:
            raise SettingsError(
                "capabilities.storage.iops tells the speed of a storage without a size; "
                "give capabilities.storage.capacity_mb, or leave it out"
            )
        if self.open_wire and (self.mesh_key_file or self.allow_file or self.allow is not None):
            raise SettingsError(
                "open_wire proves nobody's identity, so a mesh key or an allow-list means nothing to it; "
                "leave out one or the other"
            )
        if self.no_law and self.record is not None:
            raise SettingsError(
                "record keeps the inputs of the law, and no_law has none; leave out one or the other"
            )
        loopback = _ip_address("bind", self.bind).is_loopback
        if not loopback and not self.open_wire and self.mesh_key_file is None:
            raise SettingsError(
                f"bind {self.bind} is not a loopback address, and without a mesh key a node stays on its "
                "host; make a key with 'shivya init', or name the mesh's with --mesh-key-file"
            )

    @property
    def exposed(self) -> bool:
        """Whether anybody on a network can join: the open wire, bound to more than this host."""
        return self.open_wire and not ipaddress.ip_address(self.bind).is_loopback


def check_name(name: str) -> str:
    """Return `name` if it can name a node or a service, else raise `SettingsError`."""
    usable = name.isascii() and all(c.isalnum() or c in "._-" for c in name)
    if not usable or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise SettingsError(
            f"name {name[:64]!r} must be 1 to {MAX_NAME_LENGTH} of the characters a-z A-Z 0-9 . _ -"
        )
    return name


def _check_names(label: str, names: tuple[str, ...]) -> None:
    if len(names) > MAX_CAPABILITY_NAMES or len(set(names)) < len(names):
        raise SettingsError(f"{label} must be at most {MAX_CAPABILITY_NAMES} names, each once")
    for name in names:
        usable = name.isascii() and all(c.isalnum() or c in "._-" for c in name)
        if not usable or not 0 < len(name) <= MAX_CAPABILITY_NAME_LENGTH:
            raise SettingsError(
                f"{label} must be names of 1 to {MAX_CAPABILITY_NAME_LENGTH} of the characters "
                f"a-z A-Z 0-9 . _ -, not {name[:64]!r}"
            )


def parse_node_id(text: str) -> bytes:
    """Return the node id that 40 hexadecimal digits name, else raise `SettingsError`."""
    if len(text) == NODE_ID_DIGITS and all(c in "0123456789abcdefABCDEF" for c in text):
        return bytes.fromhex(text)
    raise SettingsError(f"{text[:64]!r} is no node id; write its {NODE_ID_DIGITS} hexadecimal digits")


def state_directory(settings: DaemonSettings) -> Path:
    """Directory that outlives the daemon: `--state-dir`, `$STATE_DIRECTORY`, else below `$XDG_STATE_HOME`."""
    if settings.state_dir is not None:
        return settings.state_dir
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)
    if settings.port == 0:
        raise SettingsError("port 0 needs a --state-dir: the default directory is named after the port")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "shivya" / str(settings.port)


def socket_path(explicit: Path | None, port: int) -> Path:
    """Control socket of a daemon, by the rule of `shivya_daemon.paths`; a bad one raises `SettingsError`."""
    try:
        return paths.socket_path(explicit, port)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _ip_address(key: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if "%" in text:
        raise SettingsError(
            f"{key} {text!r} has a zone, which means nothing to other hosts; give another address"
        )
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise SettingsError(f"{key} must be an IP address, not {text!r}") from None
