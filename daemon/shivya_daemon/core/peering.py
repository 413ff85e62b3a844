"""Whom a node speaks with: seeds to find, nodes to bring up, signs of life to ask for, nodes to give up."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec import Struct

from shivya_daemon.core.contacts import Contacts
from shivya_daemon.core.members import Member, Members
from shivya_daemon.core.open_wire import reachable
from shivya_daemon.core.settings import Address, NodeSettings
from shivya_daemon.core.wire import Wire


class Whereabouts(Struct, frozen=True):
    """Where a node may be reached, and the session key to reach it with; None if that is not known."""

    node: bytes
    address: Address
    static: bytes | None = None


class Peering:
    """Owns the members, the addresses to try again and what is being brought up."""

    def __init__(self, settings: NodeSettings, wire: Wire) -> None:
        self._settings = settings
        self._wire = wire
        self._contacts = Contacts(settings)
        self._reaching: dict[bytes, tuple[Address, float]] = {}
        """Node to where it is being reached and until when that may take."""
        self.members = Members(settings.peer_timeout)

    @property
    def busy(self) -> bool:
        """Whether an address waits to be tried, or a node to be brought up."""
        return bool(len(self._contacts) or self._reaching)

    def connect(self, address: Address, now: float) -> None:
        """Try a seed for ever; raises `ValueError` if it cannot be one."""
        if not reachable(address):
            raise ValueError(
                f"{address[0]} port {address[1]} cannot be the address of a peer; "
                "give an IP address and a port above 0"
            )
        # Replies come from the canonical spelling of an address.
        canonical = (str(ipaddress.ip_address(address[0])), address[1])
        if not self._contacts.add(canonical, now):
            raise ValueError(f"at most {self._settings.max_contacts} addresses can be connected to")

    def reach(self, where: Whereabouts, now: float) -> bool:
        """Bring a node up, unless it is or is being tried; False when it cannot be tried now."""
        if where.node in self.members:
            return True
        known = self._reaching.get(where.node)
        if known is not None and known[0] == where.address:
            return True
        # One that is sought elsewhere already may have moved: whoever spoke with it last knows best.
        full = known is None and len(self._reaching) >= self._settings.max_reaching
        if full or not reachable(where.address):
            return False
        self._reaching[where.node] = (where.address, now + self._settings.reach_timeout)
        self._wire.connect(where.address, now, node=where.node, static=where.static)
        return True

    def moved(self, member: Member, addresses: tuple[Address, ...], now: float) -> None:
        """Try where a member says that it is, unless it is heard there.

        One that is no link is rarely spoken with: frames would go to where it was until it is given up.
        Saying so again hurries nothing: else its announcements would have the mesh flood an address.
        """
        if member.address not in addresses:
            for address in addresses:
                if reachable(address) and address not in self._contacts:
                    self._contacts.add(address, now, self._settings.idle_timeout)

    def up(self, node: bytes, address: Address, rtt: float | None, now: float) -> Member:
        """Take a node that proved itself; one that is a member already has perhaps another address now."""
        self._contacts.reached(address)
        self._reaching.pop(node, None)
        member = self.members.get(node) or self.members.add(node, address, now)
        member.address = address
        member.last_seen = now
        if rtt is not None:
            member.measured(rtt)
        return member

    def unreached(self, address: Address) -> list[bytes]:
        """Return which nodes are given up because nobody answered at `address`."""
        failed = [key for key, (there, _) in self._reaching.items() if there == address]
        for key in failed:
            del self._reaching[key]
        return failed

    def lose(self, node: bytes, now: float, *, search: bool) -> bool:
        """Take a member out; with `search` it is looked for at its last address. False: it was none."""
        member = self.members.remove(node)
        if member is None:
            return False
        self._wire.forget(node)
        if search:
            self._contacts.add(member.address, now, self._settings.contact_expiry)
        return True

    def watch(self, links: Iterable[bytes], now: float) -> tuple[list[Member], list[bytes]]:
        """Ask for signs of life and try addresses again.

        Returns the members that were silent for too long, and the nodes that could not be brought up in time.
        """
        linked = frozenset(links)
        settings, silent = self._settings, []
        for member in self.members.all():
            quiet, gone = settings.probe_after, settings.peer_timeout
            if member.id not in linked:
                quiet, gone = settings.idle_probe_after, settings.idle_timeout
            silence = now - member.last_seen
            if silence >= gone:
                silent.append(member)
            elif silence >= quiet and now >= member.probe_at:
                member.probe_at = now + settings.ping_timeout
                self._wire.probe(member.id, now)
        up = {member.address for member in self.members.all()} if len(self._contacts) else set()
        for address in self._contacts.due(now):
            if address not in up:
                self._wire.connect(address, now)
        late = [node for node, (_, until) in self._reaching.items() if now >= until]
        for node in late:
            del self._reaching[node]
        return silent, late

    def forgive(self, now: float) -> None:
        """Judge nobody by a time in which this node itself was asleep."""
        for member in self.members.all():
            member.last_seen = max(member.last_seen, now - self._settings.probe_after)
