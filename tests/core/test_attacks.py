"""What an attacker may try on a whole node, and which defence it meets; each test fails without that one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.dht import token_frames
from shivya_daemon.core.dht.settings import DhtSettings
from shivya_daemon.core.dht.token_frames import Outcome, TokenGrant, TokenPut, TokenRequest, TokenStored
from shivya_daemon.core.frames import (
    LINK,
    TOKEN,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Frame,
    Layered,
    Leave,
    Payload,
    Peer,
    Ping,
    Pong,
    Store,
)
from shivya_daemon.core.gossip import announcement
from shivya_daemon.core.gossip import frames as gossip_frames
from shivya_daemon.core.gossip.announcement import Profile
from shivya_daemon.core.gossip.frames import Exchange, Kind, NodeDelta
from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.gossip.state import Key
from shivya_daemon.core.heartbeat import Heartbeat
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.links.frames import Accept, Echo, Head, encode_payload
from shivya_daemon.core.node import Address, Node, NodeSettings
from shivya_daemon.net.memory import MemoryNetwork

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

OPEN, SECURE = NodeSettings(wire="open"), NodeSettings(wire="secure")
both_wires = pytest.mark.parametrize("settings", [OPEN, SECURE], ids=["open", "secure"])
OUTSIDE: Address = ("203.0.113.7", 6666)
Datagram = tuple[bytes, Address, Address]
IDLE = NodeSettings(
    wire="open",
    heartbeat_interval=1.0,
    housekeeping_interval=0.5,
    min_peers=4,
    gossip=GossipSettings(fanout=1),
    dht=DhtSettings(first_refresh=60.0),
)
"""Of attackers that there are many of: all they want is to be in the way."""


def spy(net: MemoryNetwork) -> list[Datagram]:
    """Record (datagram, source, destination) of all that is sent from now on."""
    seen: list[Datagram] = []
    transmit = net._transmit

    def note(data: bytes, source: Address, destination: Address) -> None:
        seen.append((data, source, destination))
        transmit(data, source, destination)

    net._transmit = note  # type: ignore[method-assign]
    return seen


def say(
    net: MemoryNetwork, insider: Node, victim: Node, payload: Payload, sender: bytes | None = None
) -> None:
    """Let a node that is in the mesh send whatever it likes."""
    frame = frames.encode(Frame(sender or insider.id, payload))
    assert insider._stack.wire.send(victim.id, frame, net.now)


def drops(node: Node, reason: str) -> int:
    return node.counters.drops.get(reason, 0)


def mesh(
    seed: int, count: int, settings: NodeSettings, seconds: float = 6.0
) -> tuple[MemoryNetwork, list[Node]]:
    net = MemoryNetwork(seed, settings=settings)
    nodes = net.spawn(count)
    net.run(seconds)
    assert all(len(node.members) == count - 1 for node in nodes)
    return net, nodes


# Who says it


def test_a_member_cannot_speak_in_the_name_of_another() -> None:
    """Without the comparison of frame and session, node 2 would end node 1 for node 0."""
    net, nodes = mesh(1, 3, SECURE)
    before = nodes[0].links
    say(net, nodes[2], nodes[0], Leave(10**9), sender=nodes[1].id)
    say(net, nodes[2], nodes[0], Heartbeat(10**9, 1, name="liar"), sender=nodes[1].id)
    net.run(0.5)
    assert drops(nodes[0], "forged_sender") == 2
    assert nodes[0].links == before
    assert {view.name for view in nodes[0].peers(net.now)} == {"n1", "n2"}


def test_a_claimed_id_from_another_address_is_not_believed_on_the_open_wire() -> None:
    """Without addresses proved, the second id in the header would be enough to be somebody."""
    net, nodes = mesh(2, 3, OPEN)
    before = drops(nodes[0], "unverified_sender")
    for payload in (Leave(10**9), Heartbeat(10**9, 1, name="liar"), Store(bytes(20), b""), Pong(1)):
        net.send(frames.encode(Frame(nodes[1].id, payload)), OUTSIDE, net.address(nodes[0]))
    net.run(1.0)
    assert drops(nodes[0], "unverified_sender") - before == 3
    assert {view.name for view in nodes[0].peers(net.now)} == {"n1", "n2"}
    assert {view.address for view in nodes[0].peers(net.now)} == {net.address(node) for node in nodes[1:]}


def test_replayed_handshakes_and_frames_move_nobody() -> None:
    """Without replay window and initiation counters, old datagrams from elsewhere would move a peer there."""
    net = MemoryNetwork(3, settings=SECURE)
    seen = spy(net)
    nodes = net.spawn(3)
    net.run(6.0)
    recorded = [data for data, _, to in seen if to == net.address(nodes[0])]
    assert {data[0] for data in recorded} >= {0x02, 0x04, 0x06}
    peers = {view.id: (view.address, view.incarnation) for view in nodes[0].peers(net.now)}
    seen.clear()
    taken = {reason: drops(nodes[0], reason) for reason in ("replayed", "unknown_session")}
    for data in recorded:
        net.send(data, OUTSIDE, net.address(nodes[0]))
        net.run(0.005)
    net.run(2.0)
    assert {view.id: (view.address, view.incarnation) for view in nodes[0].peers(net.now)} == peers
    assert sum(drops(nodes[0], reason) - count for reason, count in taken.items()) > 0.5 * len(recorded)
    back = sum(len(data) for data, _, to in seen if to == OUTSIDE)
    assert back <= 3 * sum(map(len, recorded))


# What was not asked for


@both_wires
def test_answers_to_nothing_asked_are_dropped_and_counted(settings: NodeSettings) -> None:
    """Without open questions to compare with, each of these would put the liar's peers to work."""
    net, nodes = mesh(4, 3, settings, 16.0)
    victim, liar = nodes[0], nodes[2]
    lie = Peer(b"\x66" * 20, *OUTSIDE)
    head = Head(1234, 1, 0)
    payloads: list[Payload] = [
        FoundNodes((lie,)),
        FoundValue(bytes(20), b"lie", ()),
        FoundValue(bytes(20), None, (lie,)),
        Pong(77),
        Layered(LINK, encode_payload(Accept(head, 5))),
        Layered(LINK, encode_payload(Echo(head, 5))),
        Layered(TOKEN, token_frames.encode_payload(TokenGrant(9))),
        Layered(TOKEN, token_frames.encode_payload(TokenStored(bytes(20), Outcome.STORED))),
    ]
    seen = spy(net)
    before = drops(victim, "unsolicited")
    for payload in payloads:
        say(net, liar, victim, payload)
    net.run(3.0)
    assert drops(victim, "unsolicited") - before == len(payloads)
    assert not [to for _, _, to in seen if to == OUTSIDE]
    assert lie.id not in victim.members


def every_payload() -> list[Payload]:
    peers = tuple(Peer(bytes((n,)) * 20, f"198.51.100.{n}", 9) for n in range(8))
    layered = [Layered(code, b"\x01" * size) for code in frames.LAYERED for size in (1, 30, 200)]
    return [
        *(Ping(1), Pong(2), FindNode(bytes(20)), FindValue(bytes(20)), FoundNodes(peers), FoundNodes(())),
        *(FoundValue(bytes(20), b"v", ()), FoundValue(bytes(20), None, peers), Store(bytes(20), b"value")),
        *(frames.ThermodynamicPush(1.0, 1.0), frames.GradientDiff(bytes(20), 1.0, 1.0), Leave(1)),
        Heartbeat(1, 1),
        *layered,
    ]


def test_the_open_wire_never_answers_a_stranger_with_more_than_three_times_its_bytes() -> None:
    """Without room counted and PINGs limited, a spoofed FIND_NODE would aim eight peers at its victim."""
    net, nodes = mesh(5, 12, OPEN)
    seen = spy(net)
    for number, payload in enumerate(every_payload()):
        for times in (1, 7):
            victim: Address = (f"203.0.{times}.{number}", 4000)
            data = frames.encode(Frame(b"\x55" * 19 + bytes((number,)), payload))
            for _ in range(times):
                net.send(data, victim, net.address(nodes[0]))
    net.run(20.0)
    spent: dict[Address, int] = {}
    got: dict[Address, int] = {}
    for data, source, to in seen:
        spent[source] = spent.get(source, 0) + len(data)
        got[to] = got.get(to, 0) + len(data)
    strangers = [address for address in spent if address[0].startswith("203.0.")]
    assert len(strangers) == 2 * len(every_payload())
    assert {
        address: got.get(address, 0) for address in strangers if got.get(address, 0) > 3 * spent[address]
    } == {}
    assert not [to for to in got if to[0].startswith("198.51.")], "nor does it call whom a stranger names"


def test_the_secure_wire_never_answers_a_stranger_with_more_than_three_times_its_bytes() -> None:
    """Without padded initiations, and silence until a session is confirmed, a handshake would amplify."""
    net = MemoryNetwork(6, settings=SECURE)
    seen = spy(net)
    nodes = net.spawn(6)
    net.run(10.0)
    home = net.address(nodes[1])
    net.cut([nodes[3]], [nodes[1]])  # what it says of itself in its next life stays unused
    net.crash(nodes[3])
    net.restart(nodes[3])
    nodes[3].connect(home, net.now)
    net.run(14.0)
    samples: dict[tuple[int, int], list[bytes]] = {}
    for data, _, to in seen:
        if to == home:
            samples.setdefault((data[0], len(data)), []).append(data)
    assert {kind for kind, _ in samples} == {0x01, 0x02, 0x03, 0x04, 0x06}
    seen.clear()
    spent: dict[Address, int] = {}
    for number, examples in enumerate(samples.values()):
        address: Address = (f"203.0.113.{number % 250}", 1 + number)
        for data in examples[-3:]:
            spent[address] = spent.get(address, 0) + len(data)
            net.send(data, address, home)
    net.run(20.0)
    for address, sent in spent.items():
        assert sum(len(data) for data, _, to in seen if to == address) <= 3 * sent


# Lies about others


@both_wires
def test_lies_about_peers_never_enter_a_table(settings: NodeSettings) -> None:
    """Without the round trip before an entry, lists of invented peers would fill tables and lose lookups."""
    net, nodes = mesh(7, 10, settings)
    liar = nodes[4]
    invented = random.Random(1)
    seen = spy(net)

    def lie(*_: object) -> FoundNodes:
        return FoundNodes(
            tuple(Peer(invented.randbytes(20), f"198.51.100.{invented.randrange(250)}", 9) for _ in range(8))
        )

    liar._stack.dht._answers.answer = lie  # type: ignore[method-assign,assignment]
    honest = [node for node in nodes if node is not liar]
    finds = [(node.find(other.id), other) for node in honest for other in honest if node is not other]
    absent = [node.find(invented.randbytes(20)) for node in honest]
    net.run(40.0)
    assert all(find.result == Peer(other.id, *net.address(other)) for find, other in finds)
    assert all(find.done and find.result is None for find in absent)
    for node in honest:
        assert {peer.id for peer in node._stack.dht.table.closest(node.id, 100)} <= {n.id for n in nodes}
        assert node.members <= {n.id for n in nodes}
    aimed = sum(len(data) for data, _, to in seen if to[0].startswith("198.51.100."))
    assert aimed < 100 * 600 * len(honest), "each invention is tried a few times"


def sybils(count: int, settings: NodeSettings) -> Iterator[tuple[Node, Address]]:
    for number in range(count):
        source = random.Random(f"sybil {number}")
        node = Node(Identity.generate(source.randbytes), settings, source.randbytes, 1)
        yield node, ("198.51.100.66", 10_000 + number)


def test_two_hundred_identities_of_one_subnet_do_not_part_twenty_nodes() -> None:
    """Without the subnet limit of tables, and links that both ends may refuse to end, ten Sybils to a node
    would surround it."""
    net, nodes = mesh(8, 20, NodeSettings(wire="open", dht=DhtSettings(limit_private=True)), 12.0)
    for node, address in sybils(200, IDLE):
        net.join(node, address, seed=nodes[len(net.nodes) % 20])
    net.run(6.0)
    ids = {node.id for node in nodes}
    assert all(node.members > ids - {node.id} for node in nodes), "the Sybils are in"
    links = {node.id: [other for other in node.links if other in ids] for node in nodes}
    reached, front = {nodes[0].id}, [nodes[0].id]
    while front:
        fresh = set(links[front.pop()]) - reached
        reached |= fresh
        front += fresh
    assert reached == ids, "the links among the honest lead to all of them"
    assert all(len(node.links) <= node.settings.links.max_links for node in nodes)
    for node in nodes:
        table = node._stack.dht.table.closest(node.id, 500)
        assert sum(peer.host == "198.51.100.66" for peer in table) <= 2
    pairs = [(node, other) for node in nodes for other in random.Random(node.id).sample(nodes, 5)]
    finds = [(node.find(other.id), other) for node, other in pairs if node is not other]
    net.run_until(lambda: all(find.done for find, _ in finds), 20.0)
    assert all(find.result == Peer(other.id, *net.address(other)) for find, other in finds)


# Floods


@both_wires
def test_a_mebibyte_of_noise_a_second_costs_no_link_and_no_memory(settings: NodeSettings, held: Any) -> None:
    """Without rate limits and bounded tables, noise that looks like frames would be remembered."""
    net, nodes = mesh(9, 3, settings)
    noise = random.Random(2)
    target = net.address(nodes[0])
    heads = [b"SHVY" + bytes((code,)) for code in range(0x18)] + [bytes((kind,)) for kind in range(8)]

    def storm(seconds: float) -> None:
        end = net.now + seconds
        while net.now < end:
            for _ in range(26):
                size = noise.choice((200, 700, 1150, 1400))
                source = (f"10.{noise.randrange(100, 200)}.{noise.randrange(9)}.{noise.randrange(250)}", 9)
                net.send(noise.choice(heads) + noise.randbytes(size), source, target)
            net.run(0.02)

    storm(2.0)
    before, linked = held(nodes[0]), {node: node.links for node in nodes}
    received = nodes[0].counters.bytes_received
    beats = {view.id: view.heartbeat.sequence for view in nodes[1].peers(net.now) if view.heartbeat}
    storm(8.0)
    assert nodes[0].counters.bytes_received - received > 8 * 2**20
    assert held(nodes[0]) < 1.3 * before
    assert {node: node.links for node in nodes} == linked
    (view,) = (view for view in nodes[1].peers(net.now) if view.id == nodes[0].id)
    assert view.heartbeat is not None and view.heartbeat.sequence - beats[nodes[0].id] > 50


@both_wires
def test_a_flood_of_values_ends_at_the_quota_of_its_writer(settings: NodeSettings) -> None:
    """Without a quota per writer, one member could fill the store of another."""
    net, nodes = mesh(10, 3, settings, 12.0)
    victim, writer = nodes[0], nodes[2]
    token = 0
    if settings.wire == "secure":
        granted: list[TokenGrant] = []
        writer._stack.dht.receive = lambda *given: granted.append(given[3]) or []  # type: ignore[assignment,func-returns-value,method-assign]
        say(net, writer, victim, Layered(TOKEN, token_frames.encode_payload(TokenRequest(bytes(20)))))
        net.run(0.2)
        token = next(grant.token for grant in granted if isinstance(grant, TokenGrant))
    for number in range(1000):
        value = number.to_bytes(250, "big")
        key = sha256(value).digest()[:20]
        put: Payload = Store(key, value)
        if settings.wire == "secure":
            put = Layered(TOKEN, token_frames.encode_payload(TokenPut(token, 0, key, value)))
        say(net, writer, victim, put)
        net.run(0.005)
    limits = victim.settings.dht
    assert 100 <= len(victim._stack.dht.store) <= limits.writer_records
    assert victim._stack.dht.refused["full"] >= 1000 - limits.writer_records - 1
    put_by_other = nodes[1].put(b"room for others")
    assert net.run_until(lambda: put_by_other.done, 10.0)
    assert put_by_other.result


@both_wires
def test_a_gossip_flood_of_invented_nodes_is_bounded_and_passes(settings: NodeSettings) -> None:
    """Without a limit on signatures checked for one relay, invented nodes would cost what they please."""
    net, nodes = mesh(11, 4, settings, 8.0)
    victim, relay = nodes[0], nodes[3]
    real = {node.id for node in nodes}
    source = random.Random(3)
    for _ in range(700):
        fake = Identity.generate(source.randbytes)
        signed = announcement.announce(fake, 1, 1, Profile(addresses=(("198.51.100.9", 9),)))
        item = (int(Key.ANNOUNCEMENT), 1, announcement.encode_payload(signed))
        delta = NodeDelta(fake.node_id, 1, 1, 0, 1, (item,))
        body = gossip_frames.encode_payload(Exchange(Kind.DELTA, deltas=(delta,)))
        say(net, relay, victim, Layered(frames.GOSSIP, body))
        net.run(0.002)
    rate = victim.settings.gossip.verify_rate
    assert len(victim.members) <= 3 + 4 * rate + 2 * rate, "a burst, and what two seconds allow"
    assert drops(victim, "rate_limited") >= 100
    assert all(victim.id in node.links for node in nodes if node is not victim)
    net.run(30.0)
    assert victim.members == real - {victim.id}, "whoever gives no sign of life is soon forgotten"
    assert all(node.members == real - {node.id} for node in nodes)
