"""What counts as evidence, against whom, and how it fades; and what it does not take to be kept out."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.anomalies import HALF_LIFE, KIND_OF, MOST, Anomalies, Kind
from shivya_daemon.core.events import Unlinked
from shivya_daemon.core.frames import GOSSIP, LINK, SIGNAL, Frame, Layered, Leave
from shivya_daemon.core.gossip import announcement
from shivya_daemon.core.gossip import frames as gossip_frames
from shivya_daemon.core.gossip.frames import Exchange, NodeDelta
from shivya_daemon.core.gossip.state import Key
from shivya_daemon.core.node import Address, Node, NodeSettings
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.net.memory import MemoryNetwork

ONE, TWO = b"1" * 20, b"2" * 20
OUTSIDE: Address = ("203.0.113.7", 6666)


def mesh(seed: int, count: int = 3, settings: NodeSettings | None = None) -> tuple[MemoryNetwork, list[Node]]:
    net = MemoryNetwork(seed, settings=settings)
    nodes = net.spawn(count)
    net.run(6.0)
    assert all(len(node.links) == count - 1 for node in nodes)
    return net, nodes


def seal(insider: Node, victim: Node, now: float, frame: bytes) -> None:
    """Let a member say what is no frame, under its own keys."""
    assert insider._stack.wire.send(victim.id, frame, now)


# The counts


def test_half_of_it_is_forgotten_in_a_minute() -> None:
    found = Anomalies()
    for _ in range(40):
        found.count(Kind.FORGED, 10.0, ONE)
    assert found.of(ONE, 10.0).count == 40.0
    assert found.of(ONE, 10.0 + HALF_LIFE).count == pytest.approx(20.0)
    found.count(Kind.NOT_FINITE, 10.0 + 2 * HALF_LIFE, ONE)
    evidence = found.of(ONE, 10.0 + 2 * HALF_LIFE)
    assert evidence.count == pytest.approx(11.0)
    assert evidence.kinds == pytest.approx({Kind.FORGED: 10.0, Kind.NOT_FINITE: 1.0})
    assert found.of(TWO, 0.0).count == found.of(None, 0.0).count == 0.0


def test_a_late_clock_undoes_nothing() -> None:
    found = Anomalies()
    found.count(Kind.FORGED, 100.0, ONE)
    assert found.of(ONE, 50.0).count == 1.0


def test_a_flood_is_over_some_minutes_after_its_end() -> None:
    found = Anomalies()
    for _ in range(100_000):
        found.dropped("bad_seal", 0.0)
    assert found.of(None, 0.0).count == MOST
    assert found.of(None, 330.0).count < 29.0


def test_a_pardon_forgets_the_counts_and_not_that_it_was() -> None:
    found = Anomalies()
    found.count(Kind.FORGED, 0.0, ONE)
    found.pardon(ONE)
    found.pardon(TWO)
    assert found.of(ONE, 0.0).count == 0.0 and found.hard(ONE) == 1
    assert found.peers(0.0) == {}


def test_who_has_least_makes_room() -> None:
    found = Anomalies(capacity=2)
    for peer, times in ((ONE, 3), (TWO, 1), (b"3" * 20, 2)):
        for _ in range(times):
            found.count(Kind.FORGED, 0.0, peer)
    assert found.peers(0.0) == {ONE: 3.0, b"3" * 20: 2.0}


@pytest.mark.parametrize(
    "innocent",
    ["rate_limited", "stale_sequence", "stale_incarnation", "unsolicited", "unverified_sender", "blocked"],
)
def test_what_loss_order_or_load_may_cause_is_no_evidence(innocent: str) -> None:
    found = Anomalies()
    found.dropped(innocent, 0.0, ONE)
    found.dropped(innocent, 0.0)
    assert found.peers(0.0) == {} and found.of(None, 0.0).count == 0.0


def test_a_later_version_is_no_attacker() -> None:
    found = Anomalies()
    for word in ("unknown_type", "unknown_subtype", "unsupported_version", "bad_flag"):
        found.dropped(word, 0.0, ONE)
    assert found.peers(0.0) == {}


def test_every_word_of_evidence_is_one_that_drops_have(
    request: pytest.FixtureRequest,
) -> None:
    page = (request.config.rootpath / "docs" / "protocol.md").read_text()
    assert {word for word in KIND_OF if f"`{word}`" not in page} == set()


# In a node


def broken_frames(insider: Node, victim: Node) -> list[bytes]:
    """What no correct node says under its own keys."""
    head = frames.encode(Frame(insider.id, Leave(1)))
    signed = announcement.encode_payload(victim._stack.gossip.own.announcement)
    forged = signed[:-1] + bytes((signed[-1] ^ 1,))
    delta = NodeDelta(b"9" * 20, 1, 0, 0, 0, ((int(Key.ANNOUNCEMENT), 1, forged),))
    lie = Exchange(gossip_frames.Kind.DELTA, deltas=(delta,))
    return [
        b"",
        b"SHVY",
        head[:-1],
        head + b"\x00",
        frames.encode(Frame(victim.id, Leave(1))),
        frames.encode(Frame(insider.id, Layered(LINK, b"\x01\x00"))),
        frames.encode(Frame(insider.id, Layered(SIGNAL, b"\x01" * 40))),
        frames.encode(Frame(insider.id, Layered(GOSSIP, gossip_frames.encode_payload(lie)))),
        head[:4] + b"\x03" + head[5:25] + b"\x7f\xf8" + bytes(14),  # NaN as free energy
    ]


def test_what_a_peer_says_under_its_keys_counts_against_it_and_nobody_else() -> None:
    net, nodes = mesh(1)
    victim, rogue, other = nodes
    said = broken_frames(rogue, victim)[1:]
    for frame in said:
        seal(rogue, victim, net.now, frame)
    net.run(0.1)
    evidence = victim.anomalies.of(rogue.id, net.now)
    assert evidence.count == pytest.approx(len(said), rel=0.01)
    assert {Kind.UNDECODABLE, Kind.FORGED, Kind.NOT_FINITE} <= set(evidence.kinds)
    assert victim.anomalies.hard(rogue.id) == len(said)
    assert victim.anomalies.of(other.id, net.now).count == 0.0
    assert victim.anomalies.of(None, net.now).count < 1.0
    assert other.anomalies.peers(net.now) == {}


def test_on_the_open_wire_nobody_can_be_blamed() -> None:
    net, nodes = mesh(2, settings=NodeSettings(wire="open"))
    victim, rogue, _ = nodes
    for frame in broken_frames(rogue, victim):
        seal(rogue, victim, net.now, frame)
    net.run(0.1)
    assert victim.anomalies.peers(net.now) == {}
    assert victim.anomalies.of(None, net.now).count > 3.0


def spoofed(captured: list[bytes], random: random.Random) -> list[Callable[[], bytes]]:
    """Ways to make a datagram without any key, from what was overheard."""
    headers = [data[:13] for data in captured if data[0] == 0x06]
    return [
        lambda: random.randbytes(random.randrange(1, 300)),
        lambda: random.choice(headers) + random.randbytes(60),
        lambda: random.choice(headers)[:5] + random.randbytes(80),
        lambda: random.choice(captured),
        lambda: bytes((random.randrange(1, 6),)) + random.randbytes(200),
        lambda: frames.MAGIC + random.randbytes(50),
    ]


def test_ten_thousand_spoofed_datagrams_count_for_the_node_and_not_against_the_peer() -> None:
    net, nodes = mesh(3)
    victim, peer, _ = nodes
    home = net.address(peer)
    captured: list[bytes] = []
    transmit = net._transmit

    def note(data: bytes, source: Address, destination: Address) -> None:
        if source == home and destination == net.address(victim):
            captured.append(data)
        transmit(data, source, destination)

    net._transmit = note  # type: ignore[method-assign]
    net.run(3.0)
    net._transmit = transmit  # type: ignore[method-assign]
    dice = random.Random(3)
    ways = spoofed(captured, dice)
    incarnation = peer.incarnation
    for number in range(10_000):
        net.send(ways[number % len(ways)](), home, net.address(victim))
        if number % 100 == 99:
            net.run(0.1)
            (view,) = (view for view in victim.peers(net.now) if view.id == peer.id)
            assert view.linked and view.age < 0.5, "its own frames are heard through it all"
    assert victim.anomalies.of(peer.id, net.now).count == 0.0
    assert victim.anomalies.of(None, net.now).count > 100.0
    assert peer.id in victim.links and peer.incarnation == incarnation


def test_an_address_without_a_peer_is_limited_and_a_peer_comes_through_there_later() -> None:
    settings = NodeSettings(secure=SecureSettings(failure_rate=10.0))
    net, nodes = mesh(4, settings=settings)
    victim, peer, _ = nodes
    junk = b"\x06" + bytes(60)
    for _ in range(500):
        net.send(junk, OUTSIDE, net.address(victim))
    net.run(0.1)
    drops = victim.counters.drops
    assert drops["unknown_session"] <= 21
    assert drops["rate_limited"] >= 479
    assert peer.id in victim.links


def test_a_silent_peer_is_a_suspicion() -> None:
    net, nodes = mesh(5)
    net.crash(nodes[1])
    assert net.run_until(lambda: nodes[1].id not in nodes[0].members, 30.0)
    net.run(20.0)
    evidence = nodes[0].anomalies.of(nodes[1].id, net.now)
    assert set(evidence.kinds) == {Kind.SUSPICION} and evidence.count < 1.5
    assert nodes[0].anomalies.hard(nodes[1].id) == 0


# Kept out


def test_a_peer_in_quarantine_has_no_link_and_gets_none_until_it_is_readmitted() -> None:
    net, nodes = mesh(6, 4)
    victim, rogue = nodes[:2]
    for node in nodes:
        node.events()
    victim.quarantine(rogue.id, net.now)
    assert Unlinked(rogue.id, "blocked") in victim.events()
    net.run(0.5)
    assert victim.id not in rogue.links, "it is told, and does not wait for a time-out"
    for _ in range(300):
        net.run(0.1)
        assert rogue.id not in victim.links and victim.id not in rogue.links
    assert rogue.id in victim.members
    assert len(victim.links) == 2 and len(rogue.links) == 2
    assert victim.counters.drops["blocked"] > 0
    victim.readmit(rogue.id)
    assert net.run_until(lambda: rogue.id in victim.links and victim.id in rogue.links, 70.0)


def test_whom_nobody_knows_can_be_kept_out_too(stage: Any) -> None:
    stage.node.quarantine(ONE, stage.now)
    stage.node.readmit(ONE)
    assert stage.node.links == ()
