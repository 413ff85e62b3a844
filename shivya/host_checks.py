"""What `shivya doctor` finds on this machine, daemon or not: interfaces, buffers, clock, disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from shivya.findings import Finding, error, note, ok, warning

LEAST_MTU = 1280
"""A datagram of the mesh has up to 1248 bytes, headers included, and is never fragmented."""
RECEIVE_BUFFER = 1 << 20
"""What the daemon asks for, in bytes."""
_FEW_BYTES, _NO_BYTES = 256 * 2**20, 16 * 2**20
_UNSYNCHRONISED = 5  # adjtimex: TIME_ERROR
_PORT_AT, _QUEUE_AT, _DROPS_AT = 1, 4, 12  # words of a line of /proc/net/udp


def interfaces(folder: Path = Path("/sys/class/net")) -> Iterator[Finding]:
    """Check the MTU of the interfaces that are up."""
    small = []
    for card in sorted(folder.glob("*")):
        state, mtu = _read(card / "operstate"), _read(card / "mtu")
        if state in ("up", "unknown") and mtu.isdigit() and int(mtu) < LEAST_MTU:
            small.append(f"{card.name} {mtu}")
    if small:
        yield warning(
            "mtu",
            f"too small for datagrams of the mesh: {', '.join(small)}",
            f"raise it to {LEAST_MTU} (ip link set dev NAME mtu {LEAST_MTU}), or do not use that interface",
        )
    else:
        yield ok("mtu", f"every interface carries {LEAST_MTU} bytes")


def receive_buffer(path: Path = Path("/proc/sys/net/core/rmem_max")) -> Iterator[Finding]:
    """Check that the daemon gets the socket buffer it asks for."""
    text = _read(path)
    if text.isdigit() and int(text) < RECEIVE_BUFFER:
        yield warning(
            "buffer",
            f"the system gives a socket {text} bytes to receive into, the daemon asks for {RECEIVE_BUFFER}",
            f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER}",
        )
    elif text:
        yield ok("buffer", f"a socket may have {text} bytes to receive into")


def kernel_drops(pid: int | None, port: int) -> Iterator[Finding]:
    """Read how many datagrams the kernel dropped because the daemon's socket was full."""
    base = Path("/proc") / ("self" if pid is None else str(pid)) / "net"
    rows = [row for table in ("udp", "udp6") if (row := udp_row(_read(base / table), port)) is not None]
    if not rows:
        return
    queued, dropped = (sum(column) for column in zip(*rows, strict=True))
    if dropped:
        yield warning(
            "socket",
            f"the kernel dropped {dropped} datagrams because the daemon did not fetch them in time",
            "give the daemon more of the processor, and net.core.rmem_max more bytes",
        )
    else:
        yield ok("socket", f"the kernel dropped nothing; {queued} bytes wait on UDP port {port}")


def udp_row(table: str, port: int) -> tuple[int, int] | None:
    """Return bytes waiting and datagrams dropped of the socket on `port` in a /proc/net/udp, or None."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > _DROPS_AT and words[_PORT_AT].endswith(f":{port:04X}"):
            return int(words[_QUEUE_AT].partition(":")[2], 16), int(words[_DROPS_AT])
    return None


def clock() -> Iterator[Finding]:
    """Ask the kernel whether something keeps this machine's clock right."""
    state = _adjtimex()
    if state == _UNSYNCHRONISED:
        yield warning(
            "ntp",
            "nothing keeps the clock of this machine right",
            "start chrony or systemd-timesyncd; the mesh works without, but the logs of nodes will disagree",
        )
    elif state is not None:
        yield ok("ntp", "the clock is synchronised")
    else:
        yield note("ntp", "this machine does not say whether its clock is synchronised")


def _adjtimex() -> int | None:
    import ctypes  # only here

    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state


def folder(check: str, path: Path, what: str) -> Iterator[Finding]:
    """Check that a folder of the daemon can be written to and has room."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        yield error(check, f"{what} {path} cannot be written", f"chown or chmod {place}, or choose another")
        return
    free = shutil.disk_usage(place).free
    text = f"{what} {path}: {free / 2**20:.0f} MiB free"
    if free < _NO_BYTES:
        yield error(check, text, "make room: the daemon cannot keep its state")
    elif free < _FEW_BYTES:
        yield warning(check, text, "make room before the daemon cannot keep its state")
    else:
        yield ok(check, text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
