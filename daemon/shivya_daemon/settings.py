"""Settings of one daemon as frozen values; `shivya.config` merges flags, environment and TOML into them.

Every duration is in seconds, every rate per second, every size in bytes.
"""

from __future__ import annotations

import ipaddress
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from shivya_daemon import paths

DEFAULT_PORT = 8085
DEFAULT_SERVICE_RATE = 10.0
MAX_NAME_LENGTH = 32


class SettingsError(ValueError):
    """A setting that cannot work; the text names it and says what to do."""


@dataclass(frozen=True)
class LawSettings:
    """What the placement law is told about transfers and time (research constants of law W2)."""

    gap: float = 0.05
    """Least predicted gain that makes a move worth it."""
    slope_window: float = 0.05
    """Rise of waiting time over which the advertised slope is measured; must not exceed gap + hop."""
    stale_after: float = 1.0
    """A neighbour whose last heartbeat is older gets no new work."""
    hop_limit: int = 8
    """Most moves of one job by placement."""
    minimum_hop: float = 0.001
    """Floor of the estimated transfer time to a neighbour."""
    tick_interval: float = 0.1
    """Time between two control steps."""


@dataclass(frozen=True)
class DaemonSettings:
    """All that a daemon needs to start."""

    port: int = DEFAULT_PORT
    bind: str = "127.0.0.1"
    advertise: str | None = None
    peers: tuple[tuple[str, int], ...] = ()
    name: str | None = None
    state_dir: Path | None = None
    socket: Path | None = None
    service_rate: float = DEFAULT_SERVICE_RATE
    """Jobs per second of the service named `default`."""
    record: Path | None = None
    """New file that takes all inputs of the law."""
    tui: bool = False
    log_format: str = "text"
    law: LawSettings = field(default_factory=LawSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port must be between 0 and 65535, not {self.port}")
        if not math.isfinite(self.service_rate) or self.service_rate <= 0:
            raise SettingsError(
                f"service_rate must be a positive number of jobs per second, not {self.service_rate}"
            )
        if self.log_format not in ("text", "json"):
            raise SettingsError(f"log_format must be text or json, not {self.log_format!r}")
        if self.name is not None:
            check_name(self.name)
        try:
            address = ipaddress.ip_address(self.bind)
        except ValueError:
            raise SettingsError(f"bind must be an IP address, not {self.bind!r}") from None
        if not address.is_loopback:
            raise SettingsError(
                f"bind {self.bind} is not a loopback address; the open wire is unauthenticated and "
                "stays on this host"
            )


def check_name(name: str) -> str:
    """Return `name` if it can name a node or a service, else raise `SettingsError`."""
    usable = name.isascii() and all(c.isalnum() or c in "._-" for c in name)
    if not usable or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise SettingsError(
            f"name {name[:64]!r} must be 1 to {MAX_NAME_LENGTH} of the characters a-z A-Z 0-9 . _ -"
        )
    return name


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
