"""Hosts and a network out of network namespaces: real stacks and interfaces, none of them this machine's own.

Needs root and iproute2. A namespace is named after the process that made it, so that test processes do not
meet, and what a killed one left behind is swept away by the next.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MARK = "shivya-test"
_PATIENCE = 60.0  # seconds; a bound against hanging, not a claim


class Refused(Exception):
    """A command failed; the text says which, and its last words."""


@dataclass(frozen=True)
class Host:
    """One namespace with its interfaces."""

    name: str
    namespace: str

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs `arguments` on this host, as the same process."""
        return ["ip", "netns", "exec", self.namespace, *arguments]

    def run(self, *arguments: str, script: str = "") -> str:
        """Run a command here and return what it says; raises `Refused`."""
        return _run(self.command(*arguments), script)

    def ip(self, *arguments: str) -> str:
        """Run `ip` on this host's network; raises `Refused`."""
        return _run(["ip", "-n", self.namespace, *arguments])

    def counters(self) -> dict[str, int]:
        """Return the counters of the IPv4 and IPv6 stack, such as IpFragCreates and Ip6FragCreates."""
        rows = [row.split() for row in self.run("cat", "/proc/net/snmp").splitlines()]
        pairs = zip(rows[::2], rows[1::2], strict=True)  # names, then values
        found = {
            head[0].rstrip(":") + name: int(value)
            for head, values in pairs
            for name, value in zip(head[1:], values[1:], strict=True)
        }
        rows = [row.split() for row in self.run("cat", "/proc/net/snmp6").splitlines()]
        return found | {name: int(value) for name, value in rows}


class Lab:
    """Two switches, `left` and `right`, joined by a cable; hosts are plugged into either.

    The switches are bridges in a namespace of their own. Raises `Refused` where namespaces cannot be made.
    """

    def __init__(self) -> None:
        _sweep()
        self._prefix = f"{_MARK}-{os.getpid()}-{secrets.token_hex(3)}"
        self._hosts: list[Host] = []
        self._switches = self._add("switches")
        bridge = "type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
        try:
            self._batch(
                self._switches,
                *(f"link add {side} {bridge}" for side in ("left", "right")),
                "link add cable type veth peer name cable-end",
                "link set cable master left up",
                "link set cable-end master right up",
                *(f"link set {side} up" for side in ("left", "right")),
            )
        except Refused:
            self.close()
            raise

    def host(self, name: str, *addresses: str, switch: str = "left", mtu: int = 1500) -> Host:
        """Add a host that has `addresses`, each with its prefix length, and no other way out."""
        host = self._add(name)
        # When an address goes, others of its subnet stay; and no address waits until it is found unique.
        host.run("sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=1")
        host.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        self._batch(host, "link set lo up")
        self.plug(host, *addresses, switch=switch, mtu=mtu)
        return host

    def plug(self, host: Host, *addresses: str, switch: str, mtu: int = 1500) -> None:
        """Give a host one more interface, `to-left` or `to-right`."""
        end, port = f"to-{switch}", f"{host.name}-{switch}"
        self._batch(
            self._switches,
            f"link add {port} mtu {mtu} type veth peer name {end} mtu {mtu} netns {host.namespace}",
            f"link set {port} master {switch} up",
        )
        self._batch(host, f"link set {end} up", *(f"addr add {text} dev {end}" for text in addresses))

    def cut(self) -> None:
        """Part the two switches."""
        self._switches.ip("link", "set", "cable", "down")

    def mend(self) -> None:
        """Join them again."""
        self._switches.ip("link", "set", "cable", "up")

    def close(self) -> None:
        """Remove every namespace, and with it every interface."""
        while self._hosts:
            _remove(self._hosts.pop().namespace)

    def _add(self, name: str) -> Host:
        host = Host(name, f"{self._prefix}-{name}")
        _run(["ip", "netns", "add", host.namespace])
        self._hosts.append(host)
        return host

    def _batch(self, host: Host, *lines: str) -> None:
        _run(["ip", "-n", host.namespace, "-batch", "-"], "\n".join(lines))


def _sweep() -> None:
    """Remove what processes left behind that are gone."""
    for row in _run(["ip", "netns", "list"]).splitlines():
        found = re.match(rf"{_MARK}-(\d+)-\S+", row)
        if found and not Path("/proc", found[1]).exists():
            with suppress(Refused):  # another test process was faster
                _remove(found[0])


def _remove(namespace: str) -> None:
    for pid in _run(["ip", "netns", "pids", namespace]).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _run(["ip", "netns", "del", namespace])


def _run(command: list[str], script: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except OSError as error:
        raise Refused(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise Refused(f"{' '.join(command[:4])}: {done.stderr.strip() or done.returncode}")
    return done.stdout
