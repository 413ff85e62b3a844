"""Nodes in one process on a network of virtual time: loss, delay, duplicates, reordering, cuts, crashes.

Everything random comes from one seed and everything due is kept in one heap, so a run is a pure function of
its seed and its calls: a seed that fails once fails always. Bytes and datagrams are counted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.core.settings import Address

PORT = 8085
_REORDER_FACTOR = 4.0  # a reordered datagram is overtaken for up to this many longest delays


@dataclass(slots=True)
class NetworkStats:
    """What all nodes together put on the wire, and how much of it the network lost."""

    datagrams_sent: int = 0
    bytes_sent: int = 0
    dropped: int = 0
    """Lost to `loss`, to a partition, or to a node that is down."""


@dataclass(slots=True)
class _Host:
    node: Node
    address: Address
    timer: float | None = None
    """When its timer is armed for; older timers in the heap are void."""
    up: bool = True
    group: int = 0


class MemoryNetwork:
    """A simulated network and the nodes on it.

    `loss`, `duplicate`, `reorder` are probabilities per datagram, `delay` bounds its one-way delay in
    seconds. `settings` holds for every node that `spawn` makes.
    """

    def __init__(
        self,
        seed: int = 0,
        loss: float = 0.0,
        delay: tuple[float, float] = (0.001, 0.005),
        duplicate: float = 0.0,
        reorder: float = 0.0,
        settings: NodeSettings | None = None,
    ) -> None:
        for name, chance in (("loss", loss), ("duplicate", duplicate), ("reorder", reorder)):
            if not 0.0 <= chance <= 1.0:
                raise ValueError(f"{name} must be a probability, not {chance}")
        if not 0.0 <= delay[0] <= delay[1]:
            raise ValueError(f"delay must be (lowest, highest) in seconds, not {delay}")
        self.loss = loss
        self.delay = delay
        self.duplicate = duplicate
        self.reorder = reorder
        self.now = 0.0
        self.stats = NetworkStats()
        self._settings = settings or NodeSettings()
        self._random = random.Random(seed)
        self._hosts: list[_Host] = []
        self._by_address: dict[Address, _Host] = {}
        self._by_id: dict[bytes, _Host] = {}
        # (time, tie-breaker, host, datagram and its source; None for a timer)
        self._due: list[tuple[float, int, _Host, tuple[bytes, Address] | None]] = []
        self._serial = 0

    def spawn(self, count: int) -> list[Node]:
        """Add `count` nodes named n0, n1, ...; each connects to the first node of the network."""
        added = []
        for _ in range(count):
            index = len(self._hosts)
            address = (f"10.0.{index // 250}.{index % 250 + 1}", PORT)
            identity = Identity.generate(self._random.randbytes)
            settings = replace(self._settings, name=f"n{index}")
            host = _Host(Node(identity, settings, self._random.randbytes, incarnation=1), address)
            self._hosts.append(host)
            self._by_address[address] = host
            self._by_id[host.node.id] = host
            added.append(host)
        for host in added:
            self._bootstrap(host)
        return [host.node for host in added]

    def address(self, node: Node) -> Address:
        """Return the address of a node."""
        return self._by_id[node.id].address

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until `predicate` holds, looked at after every event, or `seconds` are over."""
        end = self.now + seconds
        self._collect()
        while not predicate():
            if not self._due or self._due[0][0] > end:
                self.now = end
                return predicate()
            self._step()
        return True

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        """Put a datagram on the wire as if `source` had sent it; `source` need not be a node's address."""
        self._transmit(data, source, destination)

    def partition(self, groups: Sequence[Iterable[Node]]) -> None:
        """Cut the network between `groups`; nodes in none of them form one more group."""
        self.heal()
        for number, group in enumerate(groups, start=1):
            for node in group:
                self._by_id[node.id].group = number

    def heal(self) -> None:
        """Undo `partition`."""
        for host in self._hosts:
            host.group = 0

    def crash(self, node: Node) -> None:
        """Stop a node without a word; it keeps what it believed until `restart`."""
        host = self._by_id[node.id]
        host.up = False
        host.timer = None

    def restart(self, node: Node) -> Node:
        """Start a stopped node again, without memory, one incarnation later; `node` stays its handle."""
        host = self._by_id[node.id]
        host.node.restart(host.node.incarnation + 1)
        host.up = True
        host.timer = None
        self._bootstrap(host)
        return host.node

    def _bootstrap(self, host: _Host) -> None:
        first = self._hosts[0]
        seed = self._hosts[1] if host is first and len(self._hosts) > 1 else first
        if seed is not host and (host is not first or self.now > 0.0):
            host.node.connect(seed.address, self.now)
        self._flush(host)

    def _step(self) -> None:
        time, _, host, datagram = heappop(self._due)
        self.now = max(self.now, time)
        if datagram is None:
            if not host.up or host.timer != time:
                return
            host.timer = None
            host.node.handle_timer(self.now)
        elif host.up:
            host.node.receive(*datagram, self.now)
        else:
            self.stats.dropped += 1
            return
        self._flush(host)

    def _collect(self) -> None:
        """Pick up what callers made nodes do between two runs."""
        for host in self._hosts:
            if host.up:
                self._flush(host)

    def _flush(self, host: _Host) -> None:
        """Send what a node has to send, and arm its timer."""
        for data, destination in host.node.datagrams():
            self._transmit(data, host.address, destination)
        deadline = host.node.next_deadline()
        if deadline is not None:
            deadline = max(deadline, self.now)
            if host.timer is None or deadline < host.timer:
                host.timer = deadline
                self._push(deadline, host, None)

    def _transmit(self, data: bytes, source: Address, destination: Address) -> None:
        self.stats.datagrams_sent += 1
        self.stats.bytes_sent += len(data)
        target, origin = self._by_address.get(destination), self._by_address.get(source)
        cut = target is not None and origin is not None and target.group != origin.group
        if target is None or cut or self._random.random() < self.loss:
            self.stats.dropped += 1
            return
        copies = 2 if self._random.random() < self.duplicate else 1
        low, high = self.delay
        for _ in range(copies):
            delay = self._random.uniform(low, high)
            if self._random.random() < self.reorder:
                delay += self._random.uniform(0.0, _REORDER_FACTOR * high)
            self._push(self.now + delay, target, (data, source))

    def _push(self, time: float, host: _Host, datagram: tuple[bytes, Address] | None) -> None:
        self._serial += 1
        heappush(self._due, (time, self._serial, host, datagram))
