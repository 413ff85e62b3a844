"""How an address becomes a peer, and how a peer is lost: PING, PONG with its nonce, silence, new attempts."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shivya_daemon.core.contacts import Contacts
from shivya_daemon.core.events import PeerJoined, PeerLeft
from shivya_daemon.core.frames import Peer, Ping
from shivya_daemon.core.members import Member, Members
from shivya_daemon.core.outbox import Outbox
from shivya_daemon.core.probes import Probes
from shivya_daemon.core.routing import RoutingTable
from shivya_daemon.core.settings import Address, NodeSettings


@dataclass(frozen=True, slots=True)
class Proof:
    """An answered PING: whose address it proves, and whether that peer is new."""

    member: Member
    joined: bool


class Peering:
    """Owns the members, the routing table, the outstanding PINGs and the addresses to try again."""

    def __init__(
        self, own: bytes, settings: NodeSettings, entropy: Callable[[int], bytes], outbox: Outbox
    ) -> None:
        self._own = own
        self._settings = settings
        self._outbox = outbox
        self._probes = Probes(entropy, settings.ping_timeout, settings.max_probes)
        self._contacts = Contacts(settings)
        self.members = Members(own, settings)
        self.table = RoutingTable(own, settings.bucket_size)

    @property
    def busy(self) -> bool:
        """Whether a PING is outstanding, or an address waits to be tried."""
        return bool(len(self._probes) or len(self._contacts))

    def connect(self, address: Address, now: float) -> None:
        """Try a seed for ever; raises `ValueError` if it cannot be one."""
        if not _reachable(address):
            raise ValueError(
                f"{address[0]} port {address[1]} cannot be the address of a peer; "
                "give an IP address and a port above 0"
            )
        # Replies come from the canonical spelling of an address.
        canonical = (str(ipaddress.ip_address(address[0])), address[1])
        if not self._contacts.add(canonical, now, seed=True):
            raise ValueError(f"at most {self._settings.max_contacts} addresses can be connected to")

    def probe(self, address: Address, now: float, attempts: int = 1) -> None:
        """See to it that `address` is pinged with the next housekeeping."""
        if not _reachable(address):
            self._outbox.counters.drop("unreachable_address")
        elif not self._probes.start(address, attempts, now):
            self._outbox.counters.drop("probes_full")

    def consider(self, peers: Iterable[Peer], now: float) -> None:
        """Ping the peers that others spoke of and that are not known yet."""
        for peer in peers:
            if peer.id != self._own and self.members.get(peer.id) is None:
                self.probe((peer.host, peer.port), now, self._settings.ping_attempts)

    def prove(self, sender: bytes, nonce: int, address: Address, now: float) -> Proof | str:
        """Take a PONG, the one way in which an address becomes a peer's; a text is why it was refused."""
        rtt = self._probes.answered(address, nonce, now)
        if rtt is None:
            return "unsolicited"
        member = self.members.get(sender)
        moved = member is not None and member.address != address
        # Anybody can claim an id on the open wire, so a peer that still speaks at its address keeps it.
        if member is not None and moved and now - member.last_seen < self._settings.roam_after:
            return "address_conflict"
        self._contacts.reached(address)
        before = self.members.at(address)
        if before is not None and before.id != sender:
            self.lose(before, "replaced", now)
        if member is None:
            return self._join(sender, address, rtt, now)
        if moved:
            self.members.move(member, address)
            self.table.remove(sender)
            self.table.add(Peer(sender, *address))
        member.last_seen = now
        member.measured(rtt)
        self.table.touch(sender)
        return Proof(member, joined=False)

    def lose(self, member: Member, reason: str, now: float) -> None:
        """Take a peer out; one that fell silent is looked for at its last address."""
        self.members.remove(member.id)
        self.table.remove(member.id)
        if reason == "silent":
            self._contacts.add(member.address, now, seed=False)
        self._outbox.emit(PeerLeft(member.id, reason))

    def watch(self, now: float) -> None:
        """Lose who was silent for too long, ping who is about to be, and try lost peers and seeds again."""
        for member in self.members.all():
            silence = now - member.last_seen
            if silence >= self._settings.peer_timeout:
                self.lose(member, "silent", now)
            elif silence >= self._settings.probe_after:
                self.probe(member.address, now)
        for address in self._contacts.due(now):
            if self.members.at(address) is None:
                self.probe(address, now)

    def forgive(self, now: float) -> None:
        """Judge nobody by a time in which this node itself was asleep."""
        for member in self.members.all():
            member.last_seen = max(member.last_seen, now - self._settings.probe_after)

    def ping(self, now: float) -> None:
        """Send the PINGs that are due."""
        for address, nonce in self._probes.due(now):
            self._outbox.send(Ping(nonce), address)

    def _join(self, node: bytes, address: Address, rtt: float, now: float) -> Proof | str:
        member = self.members.add(node, address, now)
        if member is None:
            return "peers_full"
        member.measured(rtt)
        oldest = self.table.add(Peer(node, *address))
        if oldest is not None:
            self.probe((oldest.host, oldest.port), now, self._settings.ping_attempts)
        self._outbox.emit(PeerJoined(node, member.incarnation))
        return Proof(member, joined=True)


def _reachable(address: Address) -> bool:
    """Return whether a node could have this address."""
    try:
        host = ipaddress.ip_address(address[0])
    except ValueError:
        return False
    zoned = "%" in address[0]  # a zone means nothing on another host, so others could not be told of it
    return 0 < address[1] < 65536 and not (zoned or host.is_multicast or host.is_unspecified)
