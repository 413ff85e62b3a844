"""Outstanding PINGs: which nonce went to which address, and when to send the next one.

A nonce is 64 bits of the node's entropy, so a PONG that carries it proves that its sender receives at the
address that was pinged. Every transmission has its own nonce, so a round-trip time is never ambiguous (Karn).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.settings import Address

_NONCE_LIFETIME = 2.0  # seconds; a later PONG is unsolicited
_NONCES_PER_ADDRESS = 8


class _Probe(Struct):
    remaining: int
    next_at: float
    nonces: OrderedDict[int, float]
    """Nonce to time sent."""


class Probes:
    """At most one probe per address, `capacity` in all, each with a bounded number of transmissions."""

    def __init__(self, entropy: Callable[[int], bytes], interval: float, capacity: int) -> None:
        self._entropy = entropy
        self._interval = interval
        self._capacity = capacity
        self._probes: dict[Address, _Probe] = {}
        self._silent: list[Address] = []

    def start(self, address: Address, attempts: int, now: float) -> bool:
        """Ask for `attempts` PINGs to `address`, the first at once; False when there is no room."""
        probe = self._probes.get(address)
        if probe is not None:
            probe.remaining = max(probe.remaining, attempts)
            return True
        if len(self._probes) >= self._capacity:
            return False
        self._probes[address] = _Probe(attempts, now, OrderedDict())
        return True

    def due(self, now: float) -> list[tuple[Address, int]]:
        """Return (address, nonce) of every PING to send now, and forget what can no longer be answered."""
        sends: list[tuple[Address, int]] = []
        for address, probe in list(self._probes.items()):
            while probe.nonces and now - next(iter(probe.nonces.values())) > _NONCE_LIFETIME:
                probe.nonces.popitem(last=False)
            if probe.remaining and now >= probe.next_at:
                sends.append((address, self._issue(probe, now)))
            elif not probe.remaining and not probe.nonces:
                del self._probes[address]
                self._silent.append(address)
        return sends

    def given_up(self) -> list[Address]:
        """Return the addresses that `due` forgot since the last call because nobody answered there."""
        silent, self._silent = self._silent, []
        return silent

    def answered(self, address: Address, nonce: int, now: float) -> float | None:
        """Close the probe of `address` and return the round-trip time; None if this was never asked."""
        probe = self._probes.get(address)
        sent = None if probe is None else probe.nonces.get(nonce)
        if sent is None or now - sent > _NONCE_LIFETIME:
            return None
        del self._probes[address]
        return max(0.0, now - sent)

    def _issue(self, probe: _Probe, now: float) -> int:
        nonce = int.from_bytes(self._entropy(8), "big")
        if len(probe.nonces) >= _NONCES_PER_ADDRESS:
            probe.nonces.popitem(last=False)
        probe.nonces[nonce] = now
        probe.remaining -= 1
        probe.next_at = now + self._interval
        return nonce

    def __len__(self) -> int:
        return len(self._probes)
