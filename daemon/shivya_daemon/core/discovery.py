"""Finding everybody: periodic questions to members in turn, lookups, and which answers were asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shivya_daemon.core.frames import Peer
from shivya_daemon.core.lookup import Lookup, Operation
from shivya_daemon.core.members import Member, Members
from shivya_daemon.core.routing import ID_BITS, RoutingTable
from shivya_daemon.core.settings import Address, NodeSettings

_MAX_RUNNING = 8
_MAX_REQUESTS = 256
_REQUEST_LIFETIME = 1.0  # seconds; a later FOUND_NODES is unsolicited
_LEAVES_PER_QUESTION = 4  # expected nodes below one prefix of a sweep; half of what an answer holds


@dataclass(slots=True)
class _Request:
    target: bytes
    sent_at: float


class Discovery:
    """Outstanding FIND_NODE requests (one per address), the sweep over the id space, and running lookups.

    An answer names the peers nearest to a target, so asking for the own id alone never shows the far side.
    The sweep asks for every prefix of the id space that is expected to hold a few nodes, member after member.
    """

    def __init__(
        self,
        own: bytes,
        settings: NodeSettings,
        entropy: Callable[[int], bytes],
        members: Members,
        table: RoutingTable,
    ) -> None:
        self._own = own
        self._settings = settings
        self._entropy = entropy
        self._members = members
        self._table = table
        self._requests: dict[Address, _Request] = {}
        self._queued: list[Operation] = []
        self._running: list[Lookup] = []
        self._turn = 0
        self._next_at = float("-inf")
        self._fresh_until: float | None = None

    def find(self, target: bytes) -> Operation | None:
        """Queue a lookup, to be started by `due`; None when too many wait."""
        if len(self._queued) >= self._settings.max_lookups:
            return None
        operation = Operation(target)
        self._queued.append(operation)
        return operation

    @property
    def busy(self) -> bool:
        """Whether a lookup waits or runs."""
        return bool(self._queued or self._running)

    def joined(self, now: float) -> None:
        """Note a new peer: where one is, more may be."""
        self._fresh_until = now + self._settings.fresh_window
        self._next_at = min(self._next_at, now + self._settings.fresh_interval)

    def ask(self, address: Address, target: bytes, now: float) -> bool:
        """Register a request to `address`; False while the answer to a lookup is awaited from there.

        FOUND_NODES does not repeat the target, so one address can owe one answer only.
        """
        request = self._requests.get(address)
        if request is None and len(self._requests) >= _MAX_REQUESTS:
            return False
        if request is not None and request.target != target and self._awaited(request, now):
            return False
        self._requests[address] = _Request(target, now)
        return True

    def answer(self, node: bytes, address: Address, peers: tuple[Peer, ...], now: float) -> bool:
        """Take a FOUND_NODES; False if it was not asked for."""
        request = self._requests.pop(address, None)
        if request is None or now - request.sent_at > _REQUEST_LIFETIME:
            return False
        for lookup in self._running:
            if lookup.operation.target == request.target and lookup.waiting_for(node):
                lookup.answered(node, peers)
        return True

    def wanted(self, node: bytes) -> list[bytes]:
        """Return the targets of lookups that wait for `node`."""
        return [lookup.operation.target for lookup in self._running if lookup.waiting_for(node)]

    def due(self, now: float) -> list[tuple[Peer, bytes]]:
        """Return (peer, target) of every question to put now, lookups first; starts and settles lookups."""
        for address, request in list(self._requests.items()):
            if now - request.sent_at > _REQUEST_LIFETIME:
                del self._requests[address]
        questions = self._step_lookups(now)
        if now >= self._next_at and len(self._members) and not self.busy:
            questions.append(self._sweep(now))
        return questions

    def _awaited(self, request: _Request, now: float) -> bool:
        """Return whether a lookup still counts on the answer."""
        recent = now - request.sent_at < self._settings.ping_timeout
        return recent and any(lookup.operation.target == request.target for lookup in self._running)

    def _step_lookups(self, now: float) -> list[tuple[Peer, bytes]]:
        while self._queued and len(self._running) < _MAX_RUNNING:
            operation = self._queued.pop(0)
            lookup = Lookup(
                operation, self._own, self._settings.ping_timeout, self._settings.bucket_size, now
            )
            lookup.add(self._table.closest(operation.target, self._settings.bucket_size))
            self._running.append(lookup)
        questions = [
            (peer, lookup.operation.target) for lookup in self._running for peer in lookup.requests(now)
        ]
        for operation in [lookup.operation for lookup in self._running if lookup.operation.done]:
            member = self._members.get(operation.target)
            if operation.result is None and member is not None:
                # Every answer was lost on the way, but the target proved itself and was heard lately.
                operation.result = Peer(member.id, *member.address)
        self._running = [lookup for lookup in self._running if not lookup.operation.done]
        return questions

    def _sweep(self, now: float) -> tuple[Peer, bytes]:
        fresh = self._fresh_until is not None and now < self._fresh_until
        pause = self._settings.fresh_interval if fresh else self._settings.discovery_interval
        self._next_at = now + pause
        members = self._members.all()
        member: Member = members[self._turn % len(members)]
        bits = max(0, (len(members) // _LEAVES_PER_QUESTION).bit_length())
        # Shifted by one each round, so that no member is only ever asked for one prefix.
        step = (self._turn + self._turn // len(members)) % (2**bits + 1)
        self._turn += 1
        target = self._own if step == 2**bits else self._below(step, bits)
        return Peer(member.id, *member.address), target

    def _below(self, prefix: int, bits: int) -> bytes:
        """Return a random id that starts with the `bits` bits of `prefix`."""
        low = int.from_bytes(self._entropy(ID_BITS // 8), "big") >> bits
        return (prefix << (ID_BITS - bits) | low).to_bytes(ID_BITS // 8, "big")
