"""Which addresses count as one place when a table or a lookup limits how many peers it takes from there."""

from __future__ import annotations

import ipaddress

from shivya_daemon.core.frames import Peer


def subnet(host: str) -> str:
    """Return the /24 of an IPv4 address, the /64 of an IPv6 one; `host` is canonical text."""
    if ":" not in host:
        return host[: host.rfind(".")]
    return ipaddress.IPv6Address(host).exploded[:19]


def private(host: str) -> bool:
    """Return whether `host` is private, shared (RFC 6598), link-local or loopback."""
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        return address.is_private or address.is_link_local
    if host.startswith(("10.", "192.168.", "127.", "169.254.")):
        return True
    if host.startswith(("172.", "100.")):
        second = int(host.split(".", 2)[1])
        return 16 <= second < 32 if host[1] == "7" else 64 <= second < 128
    return False


def plausible(peer: Peer) -> bool:
    """Return whether a peer named by others could be reached at all: no port 0, no multicast, no wildcard."""
    if not 0 < peer.port < 65536:
        return False
    if ":" in peer.host:
        address = ipaddress.IPv6Address(peer.host)
        return not (address.is_multicast or address.is_unspecified)
    return 0 < int(peer.host[: peer.host.find(".")]) < 224


def loopback(host: str) -> bool:
    """Return whether `host` is this very machine, whoever says it."""
    return host.startswith("127.") or host == "::1"


class SubnetCount:
    """How many peers are taken from each subnet, and whether one more may be."""

    __slots__ = ("_counts", "_limit", "_private")

    def __init__(self, limit: int | None, limit_private: bool) -> None:
        self._limit = limit
        self._private = limit_private
        self._counts: dict[str, int] = {}

    def place(self, host: str) -> str | None:
        """Return the subnet of `host` where it is limited, else None."""
        if self._limit is None or (not self._private and private(host)):
            return None
        return subnet(host)

    def full(self, host: str) -> bool:
        """Return whether no more may be taken from where `host` is."""
        place = self.place(host)
        return place is not None and self._limit is not None and self._counts.get(place, 0) >= self._limit

    def add(self, host: str) -> None:
        """Count one more."""
        place = self.place(host)
        if place is not None:
            self._counts[place] = self._counts.get(place, 0) + 1

    def remove(self, host: str) -> None:
        """Count one less."""
        place = self.place(host)
        if place is not None:
            left = self._counts.get(place, 0) - 1
            if left > 0:
                self._counts[place] = left
            else:
                self._counts.pop(place, None)
