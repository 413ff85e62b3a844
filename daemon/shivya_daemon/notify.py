"""Tells a service manager how the daemon is: the protocol of sd_notify(3), one datagram a message.

Without a manager nothing is sent, and a manager that does not listen is no reason to fail.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping

_STATUS_INTERVAL = 10.0  # seconds between two lines of status where nobody watches


class Manager:
    """The service manager of this process, if there is one.

    Args:
        environment: `NOTIFY_SOCKET` is a path, or the name of an abstract socket behind ``@``;
            `WATCHDOG_USEC` how long the daemon may be silent, if `WATCHDOG_PID` is this process or not given.
        process: id of this process.
    """

    def __init__(self, environment: Mapping[str, str], process: int | None = None) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.interval = _STATUS_INTERVAL
        """Seconds between two signs of life: half of what the manager waits for."""
        usec = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid() if process is None else process))
        self._watched = bool(self._address) and mine and usec.isascii() and usec.isdigit() and int(usec) > 0
        if self._watched:
            self.interval = min(int(usec) / 2e6, _STATUS_INTERVAL)
        self._due = 0.0

    def ready(self, status: str) -> None:
        """Say that the daemon serves."""
        self._tell("READY=1", f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """Say that the daemon is about to end."""
        self._tell("STOPPING=1", "STATUS=leaving the mesh")

    def alive(self, now: float, status: Callable[[], str]) -> None:
        """Say that the control loop runs, when that is due. Call it from that loop, with a monotonic time."""
        if self._address and now >= self._due:
            self._due = now + self.interval
            self._tell(*(["WATCHDOG=1"] if self._watched else []), f"STATUS={_line(status())}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(lines).encode(), self._address)


def _line(status: str) -> str:
    return " ".join(status.split())
