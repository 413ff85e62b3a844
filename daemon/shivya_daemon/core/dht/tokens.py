"""Write tokens: proof that a writer receives where it claims to be, without any state per writer (BEP 5)."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2s

from shivya_daemon.core.settings import Address

_SECRET_BYTES = 32
_MAX_HELD = 1024


class Tokens:
    """Grants 64-bit tokens bound to a node and its address, and knows its own again.

    A token is a keyed BLAKE2s hash under a secret that lives for `period` seconds; the secret before it is
    accepted too, so a token is good for one to two periods.
    """

    def __init__(self, entropy: Callable[[int], bytes], period: float) -> None:
        self._entropy = entropy
        self._period = period
        self._secrets: tuple[bytes, ...] = ()
        self._rotate_at = float("-inf")

    def grant(self, node: bytes, address: Address, now: float) -> int:
        """Return the token of `node` at `address`."""
        self._rotate(now)
        return int.from_bytes(_token(self._secrets[0], node, address), "big")

    def valid(self, token: int, node: bytes, address: Address, now: float) -> bool:
        """Return whether `token` was granted to `node` at `address` not too long ago."""
        self._rotate(now)
        given = token.to_bytes(8, "big")
        return any(hmac.compare_digest(given, _token(key, node, address)) for key in self._secrets)

    def _rotate(self, now: float) -> None:
        if now < self._rotate_at:
            return
        on_time = now < self._rotate_at + self._period
        self._secrets = (self._entropy(_SECRET_BYTES), *(self._secrets[:1] if on_time else ()))
        self._rotate_at = (self._rotate_at if on_time else now) + self._period


class HeldTokens:
    """Tokens that other nodes granted to this one, used again while they are certain to be good."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._tokens: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def hold(self, node: bytes, token: int, now: float) -> None:
        """Keep the token of `node`; the one granted longest ago makes room."""
        self._tokens[node] = (token, now)
        self._tokens.move_to_end(node)
        if len(self._tokens) > _MAX_HELD:
            self._tokens.popitem(last=False)

    def get(self, node: bytes, now: float) -> int | None:
        """Return a token for `node`, or None."""
        token, granted_at = self._tokens.get(node, (0, float("-inf")))
        return token if now - granted_at < self._lifetime else None

    def drop(self, node: bytes) -> None:
        """Forget a token that was refused."""
        self._tokens.pop(node, None)


def _token(secret: bytes, node: bytes, address: Address) -> bytes:
    host, port = address
    return blake2s(node + port.to_bytes(2, "big") + host.encode(), key=secret, digest_size=8).digest()
