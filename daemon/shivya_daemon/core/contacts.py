"""Addresses worth trying again and again: seeds for ever, lost peers for a while, both ever more slowly."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from shivya_daemon.core.settings import Address, NodeSettings

_FOR_EVER = float("inf")


class _Contact(Struct):
    until: float
    next_at: float
    pause: float

    @property
    def seed(self) -> bool:
        return self.until == _FOR_EVER


class Contacts:
    """A bounded list of addresses with their next attempt; the oldest lost peer makes room for a new one."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._contacts: OrderedDict[Address, _Contact] = OrderedDict()

    def add(self, address: Address, now: float, seconds: float = _FOR_EVER) -> bool:
        """Start trying `address`, for so long unless it is tried for longer; False when full of seeds."""
        known = self._contacts.get(address)
        if known is None and len(self._contacts) >= self._settings.max_contacts:
            lost = next((key for key, contact in self._contacts.items() if not contact.seed), None)
            if lost is None:
                return False
            del self._contacts[lost]
        until = max(now + seconds, now if known is None else known.until)
        self._contacts[address] = _Contact(until, now, self._settings.contact_interval)
        return True

    def reached(self, address: Address) -> None:
        """Stop trying an address that answered; a seed stays on the list for the day it falls silent."""
        contact = self._contacts.get(address)
        if contact is None:
            return
        if contact.seed:
            contact.pause = self._settings.contact_interval
        else:
            del self._contacts[address]

    def due(self, now: float) -> list[Address]:
        """Return the addresses to try now."""
        result: list[Address] = []
        for address, contact in list(self._contacts.items()):
            if now > contact.until:
                del self._contacts[address]
            elif now >= contact.next_at:
                result.append(address)
                contact.next_at = now + contact.pause
                contact.pause = min(2 * contact.pause, self._settings.contact_interval_max)
        return result

    def __contains__(self, address: Address) -> bool:
        return address in self._contacts

    def __len__(self) -> int:
        return len(self._contacts)
