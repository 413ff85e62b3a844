"""The guard in whole nodes on one simulated network: who attacks is kept out, who is slandered is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shivya_daemon.core import frames
from shivya_daemon.core.anomalies import Kind
from shivya_daemon.core.events import SignalReceived
from shivya_daemon.core.frames import LINK, Frame, Layered, Leave
from shivya_daemon.core.node import Address, Node
from shivya_daemon.desk import NodeDesk
from shivya_daemon.guard.quarantine import State
from shivya_daemon.guard.sentry import ALERT_SIGNAL, Sentry
from shivya_daemon.guard.sight import ALERT, QUARANTINE, Outcome
from shivya_daemon.mind import beat
from shivya_daemon.mind.law import Law
from shivya_daemon.mind.start import start_law
from shivya_daemon.net.memory import MemoryNetwork
from shivya_daemon.operations import NodeOperations, Place
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import DaemonSettings, LawSettings
from shivya_daemon.verdict import Verdict

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

TICK = LawSettings().tick_interval


class Guarded:
    """A daemon without sockets: node, books, desk, guard and perhaps a law, as in its control step."""

    def __init__(self, node: Node, network: MemoryNetwork, law: Law | None) -> None:
        self.node, self.network = node, network
        self.book = ServiceBook(10.0)
        self.clock: Callable[[], float] = lambda: network.now
        address = network.address(node)
        operations = NodeOperations(
            node, self.book, DaemonSettings(), Place(Path("/"), address, None), self.clock
        )
        self.desk = NodeDesk(node, self.book, LawSettings(), address, "0", self.clock, operations)
        self.said: list[tuple[str, object]] = []
        self.sentry = Sentry(node, TICK, lambda action, details: self.said.append((action, details)))
        self.sentry.arbiter.engine = beat
        self.desk.guard = operations.guard = self.sentry
        self.law = law
        self.guarded: dict[str, Verdict] = {}

    def tick(self) -> None:
        worlds = self.desk.worlds(self.network.now)
        outcome = self.sentry.judge(self.sentry.look(self.network.now))
        verdicts = {}
        if self.law is not None:
            verdicts = self.law.judge(tuple(world for world, _ in worlds), 0.1, 0.1, 0.0)
        self.guarded = self.sentry.act(outcome, worlds, verdicts, self.network.now)
        self.desk.conclude(worlds, self.guarded, self.network.now)

    def sees(self, other: Guarded) -> bool:
        """Whether the other is a vertex of this node's complex."""
        ((world, _),) = self.desk.worlds(self.network.now)
        ends = {end for link in world.links for end in (link.tail, link.head)}
        return other.node.id in ends | {vertex.id for vertex in world.vertices}

    def state(self, other: Guarded) -> State:
        return self.sentry.arbiter.quarantine.standing(other.node.id).state

    def released(self) -> dict[bytes, int]:
        return dict(self.guarded["default"].release)


class Fleet:
    def __init__(self, seed: int, count: int) -> None:
        self.network = MemoryNetwork(seed)
        self.heard: list[tuple[bytes, str]] = []
        self.network.on_events = self._hear
        nodes = self.network.spawn(count)
        law = start_law(LawSettings(), nodes[0].id)  # of the first; the others keep what comes to them
        self.nodes = [Guarded(node, self.network, None if n else law) for n, node in enumerate(nodes)]
        self._by_id = {guarded.node.id: guarded for guarded in self.nodes}

    def run(self, seconds: float, during: Iterator[None] | None = None) -> None:
        for _ in range(round(seconds / TICK)):
            if during is not None:
                next(during, None)
            self.network.run(TICK)
            for guarded in self.nodes:
                guarded.tick()

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        for _ in range(round(seconds / TICK)):
            if condition():
                return True
            self.run(TICK)
        return condition()

    def _hear(self, node: Node, events: list[object]) -> None:
        self._by_id[node.id].desk.take(events)  # type: ignore[arg-type]
        self.heard += [(node.id, event.type) for event in events if isinstance(event, SignalReceived)]


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    made = Fleet(1, 5)
    made.run(8.0)
    assert all(len(guarded.node.links) == 4 for guarded in made.nodes)
    return made


def malformed(rogue: Node, dice: random.Random) -> bytes:
    """Return what no correct node says under its own keys."""
    whole = frames.encode(Frame(rogue.id, Leave(1)))
    return dice.choice(
        [
            whole[: dice.randrange(1, len(whole))],
            whole + dice.randbytes(3),
            frames.encode(Frame(dice.randbytes(20), Leave(1))),
            frames.encode(Frame(rogue.id, Layered(LINK, dice.randbytes(4)))),
            whole[:4] + b"\x03" + whole[5:25] + b"\x7f\xf8" + bytes(14),
        ]
    )


def spoofed(captured: list[bytes], dice: random.Random) -> bytes:
    """Return a datagram that somebody without any key makes of what was overheard."""
    header = dice.choice([data[:13] for data in captured if data[0] == 0x06])
    return dice.choice(
        [
            dice.choice(captured),
            header + dice.randbytes(60),
            header[:5] + dice.randbytes(80),
            dice.randbytes(dice.randrange(1, 300)),
            bytes((dice.randrange(1, 6),)) + dice.randbytes(200),
        ]
    )


def overhear(network: MemoryNetwork, source: Address, seconds: float) -> list[bytes]:
    captured: list[bytes] = []
    transmit = network._transmit

    def note(data: bytes, origin: Address, destination: Address) -> None:
        if origin == source:
            captured.append(data)
        transmit(data, origin, destination)

    network._transmit = note  # type: ignore[method-assign]
    network.run(seconds)
    network._transmit = transmit  # type: ignore[method-assign]
    return captured


def test_who_attacks_is_kept_out_and_comes_back_and_who_is_slandered_stays(fleet: Fleet) -> None:
    """One peer says 200 malformed things under its own keys; a stranger spoofs 10,000 in another's name."""
    victim, rogue, slandered, *bystanders = fleet.nodes
    network, dice = fleet.network, random.Random(1)
    home = network.address(slandered.node)
    captured = overhear(network, home, 2.0)
    victim.book.report("default", network.now, 60)
    fleet.run(1.0)
    assert rogue.node.id in victim.released(), "or its absence later proves nothing"

    def attack() -> Iterator[None]:
        for _ in range(50):
            for _ in range(4):
                assert rogue.node._stack.wire.send(victim.node.id, malformed(rogue.node, dice), network.now)
            for _ in range(200):
                network.send(spoofed(captured, dice), home, network.address(victim.node))
            yield

    arbiter = victim.sentry.arbiter
    fleet.run(5.0, attack())
    (row,) = [details for action, details in victim.said if action == "QUARANTINED"]
    assert isinstance(row, dict) and row["peer"] == rogue.node.id.hex()
    assert row["threat"] >= QUARANTINE
    assert [one.outcome.action for one in arbiter.history].count("QUARANTINE") == 1

    # Out: of the links at both ends, and of the complex, though others still speak of it.
    assert victim.state(rogue) is State.QUARANTINED
    assert rogue.node.id not in victim.node.links and victim.node.id not in rogue.node.links
    assert not victim.sees(rogue) and all(other.sees(rogue) for other in bystanders)
    assert rogue.node.id in victim.node.members
    # The slandered one is as it was, and what was done in its name is known.
    assert victim.node.anomalies.of(slandered.node.id, network.now).count == 0.0
    assert victim.state(slandered) is State.FREE and slandered.node.id in victim.node.links
    assert victim.node.anomalies.of(None, network.now).count > 100.0
    assert arbiter.outcome.action == "ALERT"
    # The others go on: work flows from the victim to all but one, and nobody else minds the rogue.
    victim.book.report("default", network.now, 60)
    fleet.run(0.5)
    to = set(victim.released())
    assert to and rogue.node.id not in to and to <= {other.node.id for other in (slandered, *bystanders)}
    for other in (slandered, *bystanders):
        assert other.sentry.arbiter.quarantine.standings == {}
        assert rogue.node.id in other.node.links
    assert any(name == ALERT_SIGNAL for _, name in fleet.heard)
    status = victim.desk.status()["guard"]
    (listed,) = status["peers"]
    assert (listed["id"], listed["state"]) == (rogue.node.id.hex(), "quarantined")
    assert 20.0 < listed["seconds_left"] < 30.0

    # And back.
    assert fleet.until(lambda: victim.state(rogue) is State.PROBATION, 40.0)
    assert fleet.until(lambda: rogue.node.id in victim.node.links and victim.sees(rogue), 60.0)
    assert fleet.until(lambda: victim.state(rogue) is State.FREE, 70.0)
    assert [action for action, _ in victim.said if action in {"QUARANTINED", "PROBATION", "FREE"}] == [
        "QUARANTINED",
        "PROBATION",
        "FREE",
    ]
    victim.book.report("default", network.now, 60)
    fleet.run(1.0)
    assert rogue.node.id in victim.released()


def test_a_drill_goes_the_whole_way_and_says_that_it_is_one(fleet: Fleet) -> None:
    victim, target = fleet.nodes[4], fleet.nodes[3]
    victim.desk.operations.inject(60.0, None, target.node.id)
    fleet.run(0.5)
    assert ("DRILL", {"anomalies": 60.0, "weight": None, "peer": target.node.id.hex()}) in victim.said
    assert not victim.sees(target) and victim.state(target) is State.QUARANTINED
    victim.desk.operations.inject(60.0, None, victim.node.id)
    fleet.run(0.2)
    assert victim.sentry.arbiter.anomalies.of(None, fleet.network.now).drills > 59.0
    assert victim.desk.status()["guard"]["drills"] == 2


# What it may hold back


def outcome(action: str) -> Outcome:
    return Outcome(action, threat={"NOOP": 0.0, "ALERT": 0.7}.get(action, 0.9))


def test_under_an_alarm_nothing_is_split_culled_or_swapped(fleet: Fleet) -> None:
    calm = fleet.nodes[2]
    verdict = Verdict("default", 0.0, 0.0, 0.0, None, 0.0, 0.0, would_split=True)
    for action, allowed in (("NOOP", True), ("APPLY_BALANCE", True), ("ALERT", False), ("QUARANTINE", False)):
        found = calm.sentry.act(outcome(action), (), {"default": verdict}, fleet.network.now)
        assert found["default"].would_split is allowed
        assert [calm.sentry.permits(step) for step in ("split", "cull", "swap")] == [allowed] * 3
    assert calm.sentry.vetoes == {"split": 4, "cull": 2, "swap": 2}
    calm.sentry.act(outcome("NOOP"), (), {}, fleet.network.now)


def test_the_guard_only_ever_takes_away(fleet: Fleet) -> None:
    calm = fleet.nodes[2]
    dice, now = random.Random(2), fleet.network.now
    peers = [guarded.node.id for guarded in fleet.nodes if guarded is not calm]
    for _ in range(200):
        for peer in peers:
            calm.node.anomalies.pardon(peer)
            calm.node.anomalies.count(Kind.SURPRISE, now, peer, dice.uniform(0.0, 39.0))
        release = {peer: dice.randrange(1, 9) for peer in peers}
        verdict = Verdict("default", 0.0, 0.0, 0.0, None, 0.0, 0.0, release=release)
        calm.sentry.look(now)
        found = calm.sentry.act(outcome("NOOP"), (), {"default": verdict}, now)["default"].release
        assert found.items() <= release.items()
        levels = calm.sentry.arbiter.weigh(now, 4).levels
        assert found.keys() == {peer for peer in peers if levels[peer] < ALERT}
    for peer in peers:
        calm.node.anomalies.pardon(peer)


def test_who_acknowledges_more_than_was_sent_breaks_conservation(fleet: Fleet) -> None:
    keeper, liar = fleet.nodes[2], fleet.nodes[3]
    lies = 0
    while keeper.state(liar) is not State.QUARANTINED and lies < 12:
        liar.book.accepted("default", keeper.node.id, 100, fleet.network.now)
        fleet.run(1.5)
        lies += 1
    assert keeper.state(liar) is State.QUARANTINED and lies >= 4
    assert keeper.sentry.arbiter.anomalies.hard(liar.node.id) >= 4


def test_honest_books_are_no_evidence(fleet: Fleet) -> None:
    sender, taker = fleet.nodes[0], fleet.nodes[2]
    for _ in range(20):
        taker.book.accepted("default", sender.node.id, 5, fleet.network.now)
        fleet.run(0.3)
        sender.book.sent("default", taker.node.id, 5, fleet.network.now)  # told late
        fleet.run(0.2)
    assert sender.node.anomalies.of(taker.node.id, fleet.network.now).count == 0.0


def test_without_cores_the_threat_alone_is_judged(fleet: Fleet) -> None:
    guarded = fleet.nodes[0]
    guarded.sentry.arbiter.engine = None
    fleet.run(0.2)
    assert guarded.desk.status()["guard"]["cores"] == "threat only"
    guarded.node.anomalies.count(Kind.FORGED, fleet.network.now, fleet.nodes[2].node.id, 60.0)
    fleet.run(0.1)
    assert guarded.state(fleet.nodes[2]) is State.QUARANTINED


def test_too_many_blocked_is_an_error_in_the_log(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = fleet.nodes[3]

    def full(*_: object) -> None:
        raise ValueError("at most 1024 nodes can be blocked")

    monkeypatch.setattr(guarded.sentry, "_node", SimpleNamespace(quarantine=full))
    change = guarded.sentry.arbiter.quarantine.commit(b"x" * 20, 0.0)
    guarded.sentry._carry_out(change, 0.0)
    assert "cannot be kept out" in caplog.text
