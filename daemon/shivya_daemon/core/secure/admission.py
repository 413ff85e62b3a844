"""Which handshake datagrams are worth a key exchange, decided before anything is remembered about them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from shivya_daemon.core.limits import KeyedLimit, TokenBucket
from shivya_daemon.core.secure.cookie import Baker
from shivya_daemon.core.secure.messages import (
    COOKIE,
    IK_INITIATION,
    SALT_BYTES,
    XX_INITIATION,
    Message,
    encode,
)
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.secure.stamps import Stamps, mac1_of, shows
from shivya_daemon.core.settings import Address


class Admission:
    """Asks for the mesh key always, for a cookie under load, and for patience of whoever sends too much."""

    def __init__(self, stamps: Stamps, entropy: Callable[[int], bytes], settings: SecureSettings) -> None:
        self._stamps = stamps
        self._entropy = entropy
        self._baker = Baker(entropy, settings.cookie_lifetime)
        self._calm = TokenBucket(settings.calm_rate, settings.calm_burst, 0.0)
        self._limits = KeyedLimit(settings.handshake_rate, settings.handshake_burst, settings.max_addresses)

    def refuse(self, kind: int, data: bytes, address: Address, crowded: bool, now: float) -> str | None:
        """Return why a datagram with both stamps is dropped, or None to go on with it.

        `crowded` asks for cookies whatever the rate. An address that showed a cookie is real, so that then
        the limit is its host's, whose ports are free; before, it is the address's, as hosts can be invented.
        """
        if not self._stamps.authentic(data):
            return "bad_mac"
        key: Address | str | bytes = address
        if kind in (IK_INITIATION, XX_INITIATION) and (not self._calm.allow(now) or crowded):
            if not any(shows(data, cookie) for cookie in self._baker.cookies(address, now)):
                return "cookie_required"
            key = _host(address)
        return None if self._limits.allow(key, now) else "rate_limited"

    def cookie(self, message: Message, data: bytes, address: Address, now: float) -> bytes:
        """Return the reply to an initiation that lacked a cookie."""
        cookie = self._baker.cookies(address, now)[0]
        body = self._stamps.seal(cookie, mac1_of(data), self._entropy(SALT_BYTES))
        return encode(Message(COOKIE, 0, message.sender, body))


def _host(address: Address) -> str | bytes:
    """Return what one party surely has for itself: an IPv4 address, or the /64 of an IPv6 address."""
    host = address[0]
    return ipaddress.IPv6Address(host).packed[:8] if ":" in host else host
