"""Nodes in one process on a network of virtual time, with every fault that a bad network has.

Everything random comes from one seed and everything due is kept in one heap, so a run is a pure function of
its seed and its calls: a seed that fails once fails always. Bytes and datagrams are counted, in all and per
node.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import IPv6Address

from msgspec.structs import replace

from shivya_daemon.core.events import Event
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.core.settings import Address

PORT = 8085
_HELD = 1024  # datagrams that the socket of a paused node keeps
_MAX_SPINS = 1000
_REORDER_FACTOR = 4.0  # a reordered datagram is overtaken for up to this many longest delays


@dataclass(slots=True)
class NetworkStats:
    """What all nodes together put on the wire, and how much of it the network lost."""

    datagrams_sent: int = 0
    bytes_sent: int = 0
    dropped: int = 0
    """Lost to `loss`, to a cut, to the MTU, or to a node that is down."""
    oversized: int = 0
    """Of those, larger than the MTU."""


@dataclass(slots=True)
class _Host:
    node: Node
    address: Address
    timer: float | None = None
    """When its timer is armed for, in network time; older timers in the heap are void."""
    woken_at: float | None = None
    spins: int = 0
    """How often its timer ran at `woken_at`."""
    up: bool = True
    group: int = 0
    rate: float = 1.0
    """Seconds of its clock per second of the network."""
    offset: float = 0.0
    """Its clock at network time 0."""
    held: list[tuple[bytes, Address]] = field(default_factory=list)
    """What arrived while it was paused."""
    paused: bool = False
    bytes_sent: int = 0

    def clock(self, now: float) -> float:
        """Return what its clock shows at network time `now`."""
        return self.offset + self.rate * now

    def network_time(self, clock: float) -> float:
        """Return the first network time at which its clock shows at least `clock`."""
        time = (clock - self.offset) / self.rate
        while self.clock(time) < clock:  # rounding: a timer that fires early would be armed again for ever
            time = math.nextafter(time, math.inf)
        return time


class MemoryNetwork:
    """A simulated network and the nodes on it.

    `loss`, `duplicate`, `reorder` are probabilities per datagram, `delay` bounds its one-way delay in
    seconds, `mtu` is the largest UDP payload that passes. `settings` holds for every node that `spawn` makes.
    All of them may be changed while time stands still.
    """

    def __init__(
        self,
        seed: int = 0,
        loss: float = 0.0,
        delay: tuple[float, float] = (0.001, 0.005),
        duplicate: float = 0.0,
        reorder: float = 0.0,
        mtu: int | None = None,
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
        self.mtu = mtu
        self.on_events: Callable[[Node, list[Event]], None] | None = None
        """Called with what happened at a node; without it, events wait in the node, as many as it keeps."""
        self.now = 0.0
        self.stats = NetworkStats()
        self._settings = settings or NodeSettings()
        self._random = random.Random(seed)
        self._hosts: list[_Host] = []
        self._by_address: dict[Address, _Host] = {}
        self._by_id: dict[bytes, _Host] = {}
        self._cuts: set[tuple[bytes, bytes]] = set()
        # (time, tie-breaker, host, datagram and its source; None for a timer)
        self._due: list[tuple[float, int, _Host, tuple[bytes, Address] | None]] = []
        self._serial = 0

    # The nodes

    def spawn(self, count: int, *, seed: Node | None = None, family: int = 4) -> list[Node]:
        """Add `count` nodes named n0, n1, ...; each connects to `seed`, by default the first of the network.

        `family` 6 gives them IPv6 addresses. Each is in a subnet (/24 or /64) of its own.
        """
        added = []
        for _ in range(count):
            index = len(self._hosts)
            identity = Identity.generate(self._random.randbytes)
            settings = replace(self._settings, name=f"n{index}")
            node = Node(identity, settings, self._random.randbytes, incarnation=1)
            added.append(self._add(node, _address(index, family)))
        for host in added:
            self._bootstrap(host, seed)
        return [host.node for host in added]

    def join(self, node: Node, address: Address | None = None, *, seed: Node | None = None) -> Node:
        """Add a node made elsewhere, at `address` or one like those of `spawn`; it connects as they do.

        Raises `ValueError` if another node has the address.
        """
        address = address or _address(len(self._hosts), 4)
        if address in self._by_address:
            raise ValueError(f"{address[0]} port {address[1]} is the address of another node")
        self._bootstrap(self._add(node, address), seed)
        return node

    @property
    def nodes(self) -> list[Node]:
        """Every node, up or down, in the order in which they were made."""
        return [host.node for host in self._hosts]

    def address(self, node: Node) -> Address:
        """Return the address of a node."""
        return self._by_id[node.id].address

    def bytes_sent(self, node: Node) -> int:
        """Return the UDP payload that a node has sent, lost or not."""
        return self._by_id[node.id].bytes_sent

    def clock(self, node: Node) -> float:
        """Return what the clock of a node shows."""
        return self._by_id[node.id].clock(self.now)

    def up(self, node: Node) -> bool:
        """Return whether a node runs."""
        return self._by_id[node.id].up

    # Time

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

    # Faults

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        """Put a datagram on the wire as if `source` had sent it; `source` need not be a node's address."""
        self._transmit(data, source, destination)

    def partition(self, groups: Sequence[Iterable[Node]]) -> None:
        """Cut the network between `groups`; nodes in none of them form one more group."""
        self.heal()
        for number, group in enumerate(groups, start=1):
            for node in group:
                self._by_id[node.id].group = number

    def cut(self, sources: Iterable[Node], destinations: Iterable[Node]) -> None:
        """Lose what goes from `sources` to `destinations`, one way."""
        targets = [node.id for node in destinations]
        self._cuts.update((source.id, target) for source in sources for target in targets)

    def heal(self) -> None:
        """Undo every `partition` and `cut`."""
        self._cuts.clear()
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
        self._start(host)
        self._bootstrap(host, None)
        return host.node

    def pause(self, node: Node) -> None:
        """Stop a node as SIGSTOP does: its clock runs on, and what arrives waits for it."""
        host = self._by_id[node.id]
        host.paused, host.timer = True, None

    def resume(self, node: Node) -> None:
        """Let a paused node go on, and find what has arrived."""
        host = self._by_id[node.id]
        host.paused = False
        held, host.held = host.held, []
        for data, source in held:
            host.node.receive(data, source, host.clock(self.now))
        self._flush(host)

    def wake(self, node: Node) -> None:
        """Start a crashed node again with all that it believed when it stopped."""
        host = self._by_id[node.id]
        self._start(host)
        self._flush(host)

    def skew(self, node: Node, rate: float) -> None:
        """Let the clock of a node run `rate` times as fast as the network's from now on."""
        if rate <= 0.0:
            raise ValueError(f"rate must be positive, not {rate}")
        host = self._by_id[node.id]
        host.offset = host.clock(self.now) - rate * self.now
        host.rate = rate
        self._rearm(host)

    def jump(self, node: Node, seconds: float) -> None:
        """Set the clock of a node forward; a steady clock never goes back."""
        if seconds < 0.0:
            raise ValueError(f"a steady clock only jumps forward, not by {seconds}")
        host = self._by_id[node.id]
        host.offset += seconds
        self._rearm(host)

    def move(self, node: Node) -> Address:
        """Give a node another address, as a change of network does; returns it."""
        host = self._by_id[node.id]
        del self._by_address[host.address]
        family = 6 if ":" in host.address[0] else 4
        index = len(self._hosts) + self._random.randrange(1 << 12)
        while _address(index, family) in self._by_address:
            index += 1
        host.address = _address(index, family)
        self._by_address[host.address] = host
        return host.address

    # Machinery

    def _add(self, node: Node, address: Address) -> _Host:
        host = _Host(node, address)
        node.advertise((address,))
        self._hosts.append(host)
        self._by_address[address] = host
        self._by_id[node.id] = host
        return host

    def _start(self, host: _Host) -> None:
        host.up, host.paused, host.timer = True, False, None
        host.held.clear()

    def _bootstrap(self, host: _Host, seed: Node | None) -> None:
        first = self._hosts[0]
        chosen = self._hosts[1] if host is first and len(self._hosts) > 1 else first
        if seed is not None:
            chosen = self._by_id[seed.id]
        if chosen is not host and (host is not first or self.now > 0.0):
            host.node.connect(chosen.address, host.clock(self.now))
        self._flush(host)

    def _step(self) -> None:
        time, _, host, datagram = heappop(self._due)
        self.now = max(self.now, time)
        if datagram is None:
            if not host.up or host.timer != time:
                return
            host.timer = None
            host.spins = host.spins + 1 if host.woken_at == self.now else 0
            host.woken_at = self.now
            if host.spins > _MAX_SPINS:
                name = host.node.settings.name
                raise RuntimeError(f"node {name} has a deadline that never passes: it spins at {self.now} s")
            host.node.handle_timer(host.clock(self.now))
        elif not host.up:
            self.stats.dropped += 1
            return
        elif host.paused:
            if len(host.held) < _HELD:
                host.held.append(datagram)
            else:
                self.stats.dropped += 1
            return
        else:
            host.node.receive(*datagram, host.clock(self.now))
        self._flush(host)

    def _collect(self) -> None:
        """Pick up what callers made nodes do between two runs."""
        for host in self._hosts:
            if host.up and not host.paused:
                self._flush(host)

    def _flush(self, host: _Host) -> None:
        """Send what a node has to send, and arm its timer."""
        if self.on_events is not None and (events := host.node.events()):
            self.on_events(host.node, events)
        for data, destination in host.node.datagrams():
            host.bytes_sent += len(data)
            self._transmit(data, host.address, destination)
        deadline = host.node.next_deadline()
        if deadline is not None:
            time = max(host.network_time(deadline), self.now)
            if host.timer is None or time < host.timer:
                host.timer = time
                self._push(time, host, None)

    def _rearm(self, host: _Host) -> None:
        host.timer = None
        if host.up and not host.paused:
            self._flush(host)

    def _transmit(self, data: bytes, source: Address, destination: Address) -> None:
        self.stats.datagrams_sent += 1
        self.stats.bytes_sent += len(data)
        target, origin = self._by_address.get(destination), self._by_address.get(source)
        if self.mtu is not None and len(data) > self.mtu:
            self.stats.oversized += 1
            self.stats.dropped += 1
            return
        if target is None or self._is_cut(origin, target) or self._random.random() < self.loss:
            self.stats.dropped += 1
            return
        copies = 2 if self._random.random() < self.duplicate else 1
        low, high = self.delay
        for _ in range(copies):
            delay = self._random.uniform(low, high)
            if self._random.random() < self.reorder:
                delay += self._random.uniform(0.0, _REORDER_FACTOR * high)
            self._push(self.now + delay, target, (data, source))

    def _is_cut(self, origin: _Host | None, target: _Host) -> bool:
        if origin is None:
            return False
        return origin.group != target.group or (origin.node.id, target.node.id) in self._cuts

    def _push(self, time: float, host: _Host, datagram: tuple[bytes, Address] | None) -> None:
        self._serial += 1
        heappush(self._due, (time, self._serial, host, datagram))


def _address(index: int, family: int) -> Address:
    """Return the address of the node with this number, in a subnet of its own."""
    if family == 6:
        return (str(IPv6Address(f"fd00:0:0:{index:x}::1")), PORT)
    if family != 4:
        raise ValueError(f"family must be 4 or 6, not {family}")
    return (f"10.{index // 256}.{index % 256}.1", PORT)
