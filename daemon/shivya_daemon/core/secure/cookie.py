"""Cookies: what a node under load tells an address, and the other side shows to have been told (mac2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2s

from shivya_daemon.core.secure.messages import COOKIE_BYTES
from shivya_daemon.core.settings import Address


class Baker:
    """Cookies for addresses, from a secret that changes every `lifetime` seconds."""

    def __init__(self, entropy: Callable[[int], bytes], lifetime: float) -> None:
        self._entropy = entropy
        self._lifetime = lifetime
        self._secrets: tuple[bytes, ...] = ()
        self._changes_at = float("-inf")

    def cookies(self, address: Address, now: float) -> tuple[bytes, ...]:
        """Return the cookie of an address, and behind it the one before if that is still accepted."""
        if now >= self._changes_at:
            kept = self._secrets[:1] if now < self._changes_at + self._lifetime else ()
            self._secrets = (self._entropy(32), *kept)
            self._changes_at = now + self._lifetime
        text = f"{address[0]} {address[1]}".encode()
        return tuple(blake2s(text, key=secret, digest_size=COOKIE_BYTES).digest() for secret in self._secrets)


class Jar:
    """The cookies that other nodes gave this one, at most `capacity`, by their addresses."""

    def __init__(self, lifetime: float, capacity: int) -> None:
        self._lifetime = lifetime
        self._capacity = capacity
        self._cookies: OrderedDict[Address, tuple[float, bytes]] = OrderedDict()

    def put(self, address: Address, cookie: bytes, now: float) -> None:
        """Keep a cookie; the oldest makes room."""
        self._cookies.pop(address, None)
        if len(self._cookies) >= self._capacity:
            self._cookies.popitem(last=False)
        self._cookies[address] = (now, cookie)

    def get(self, address: Address, now: float) -> bytes | None:
        """Return the cookie to show to an address."""
        at, cookie = self._cookies.get(address, (float("-inf"), None))
        return cookie if now - at < self._lifetime else None

    def __len__(self) -> int:
        return len(self._cookies)
