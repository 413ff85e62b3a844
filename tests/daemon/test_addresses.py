"""Where a node says that it is."""

from __future__ import annotations

import ipaddress
import socket

import anyio
import pytest

from shivya_daemon.addresses import MAX_ANNOUNCED, MAX_RESOLVED, announced, resolve
from shivya_daemon.settings import SettingsError


def test_a_bound_address_and_an_advertised_one_are_announced_as_they_are() -> None:
    assert announced(("127.0.0.1", 7000), None, ()) == (("127.0.0.1", 7000),)
    assert announced(("0.0.0.0", 7000), "203.0.113.7", ()) == (("203.0.113.7", 7000),)
    assert announced(("::", 7000), "2001:DB8::7", ()) == (("2001:db8::7", 7000),)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_bound_to_all_interfaces_only_what_others_can_reach_is_announced(host: str) -> None:
    found = announced((host, 7000), None, (("192.0.2.9", 7001), ("2001:db8::9", 7001)))
    assert 0 < len(found) <= MAX_ANNOUNCED
    assert len(set(found)) == len(found)
    for address, port in found:
        ip = ipaddress.ip_address(address)
        assert port == 7000 and not ip.is_unspecified and ip.version == ipaddress.ip_address(host).version


@pytest.mark.anyio
async def test_a_configured_peer_has_one_spelling() -> None:
    assert await resolve("127.0.0.1", 7001) == (("127.0.0.1", 7001),)
    assert await resolve("0:0:0:0:0:0:0:1", 7001) == (("::1", 7001),)
    with pytest.raises(SettingsError, match=r"no\.such\.host\.invalid"):
        await resolve("no.such.host.invalid", 7001)


@pytest.mark.anyio
async def test_a_name_of_many_nodes_is_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [f"10.0.0.{i}" for i in (*range(1, 20), 1)]
    rows = [(socket.AF_INET6, 0, 0, "", ("2001:db8::1", 7001, 0, 0))]
    rows += [(socket.AF_INET, 0, 0, "", (host, 7001)) for host in hosts]  # type: ignore[misc]

    async def answers(*_: object, **__: object) -> list[object]:
        return list(rows)

    monkeypatch.setattr(anyio, "getaddrinfo", answers)
    found = await resolve("shivya-mesh", 7001)
    assert found == tuple((host, 7001) for host in hosts[:MAX_RESOLVED])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
