"""Where a node is, as others are told, and where its configured peers are."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator

import anyio
import psutil

from shivya_daemon.settings import SettingsError

Address = tuple[str, int]
MAX_ANNOUNCED = 3
MAX_RESOLVED = 8
# Addresses for documentation (RFC 5737, RFC 3849): the way there is the default route. Nothing is sent.
_ANYWHERE = (("192.0.2.1", 9), ("2001:db8::1", 9))


async def resolve(host: str, port: int) -> tuple[Address, ...]:
    """Return the addresses of a configured peer, IPv4 unless there is no other, at most `MAX_RESOLVED`.

    A name of several nodes, as that of a headless service, has several: one of them may be this node.
    Raises `SettingsError`.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise SettingsError(f"peer {host}:{port} cannot be resolved: {error.strerror}") from error
    family = socket.AF_INET if any(row[0] == socket.AF_INET for row in found) else socket.AF_INET6
    hosts = dict.fromkeys(str(ipaddress.ip_address(row[4][0])) for row in found if row[0] == family)
    return tuple((address, port) for address in list(hosts)[:MAX_RESOLVED])


def announced(bound: Address, advertise: str | None, peers: Iterable[Address]) -> tuple[Address, ...]:
    """Return what a node bound to `bound` says of where it is, best first.

    Bound to every interface, it is the address from which this host reaches its peers, then that of its
    default route, then those of its interfaces; on a host without a network, loopback.
    """
    host, port = bound
    if advertise is not None:
        return ((str(ipaddress.ip_address(advertise)), port),)
    ip = ipaddress.ip_address(host)
    if not ip.is_unspecified:
        return (bound,)
    hosts = dict.fromkeys(_candidates(ip.version, peers))
    return tuple((found, port) for found in list(hosts)[:MAX_ANNOUNCED]) or (
        ("127.0.0.1" if ip.version == 4 else "::1", port),
    )


def _candidates(version: int, peers: Iterable[Address]) -> Iterator[str]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    for target in (*peers, *_ANYWHERE):
        if ipaddress.ip_address(target[0]).version == version:
            source = _source(family, target)
            if source is not None and _public(source):
                yield source
    for addresses in psutil.net_if_addrs().values():
        yield from (row.address for row in addresses if row.family == family and _public(row.address))


def _source(family: socket.AddressFamily, target: Address) -> str | None:
    """Return the address from which this host would send to `target`."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(target)
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _public(host: str) -> bool:
    """Return whether another host could reach this address."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)
