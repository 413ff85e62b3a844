"""Spirits over simulated meshes that lose, double and delay: the register spreads, nutrient is conserved."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from shivya_daemon.core.node import Node
from shivya_daemon.core.signals.frame import Directed
from shivya_daemon.net.memory import MemoryNetwork
from shivya_daemon.settings import SpiritSettings
from shivya_daemon.spirits import boundary, register
from shivya_daemon.spirits.exchange import Exchange
from shivya_daemon.spirits.life import Life
from shivya_daemon.spirits.lived import Books, Drawing, Round
from shivya_daemon.spirits.outlook import Outlook
from shivya_daemon.spirits.refused import SpiritRefused
from shivya_daemon.spirits.register import UNIT
from shivya_daemon.spirits.spirits import Spirits

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

STEP = 0.25


class Wells:
    """In place of a body: whole amounts at each place, and what keeps a rich node rich."""

    def __init__(self, income: int) -> None:
        self.income = income
        self.taken_in = UNIT
        self.held = {0: UNIT}

    def live(self, links: Mapping[int, Outlook]) -> Round:
        moved = {}
        for place, link in links.items():
            here = self.held.get(place, 0)
            assert here + link.amount >= 0, "more left than there was"
            self.held[place] = here + link.amount
            if link.amount:
                moved[place] = link.amount
            if link.value > 0.0:
                self.held[place] += self.income
                self.taken_in += self.income
        cells = {place: (self.held[place] / UNIT, 0.5) for place, link in links.items() if link.value > 0.0}
        none = np.zeros(0)
        empty = Drawing(np.zeros((0, 3)), none, none, np.zeros((0, 2), int), none, none, none)
        return Round(cells, {}, moved, empty, sum(self.held.values()) / UNIT, 0.0, 0.0, 0, Books())


class Inhabitant:
    """One node with its spirits; what lives there is stepped by hand."""

    def __init__(self, mesh: Mesh, node: Node, follow: bool = True) -> None:
        self.mesh, self.node = mesh, node
        self.spirits = Spirits(node, SpiritSettings(follow), mesh.folder, self.clock, self.wake)
        self.life: Life | None = None
        self.wells = Wells(mesh.incomes.get(node.id, 0))

    def clock(self) -> float:
        return self.mesh.net.clock(self.node)

    def wake(self) -> None:
        self.mesh.net.wake(self.node)

    @property
    def known(self) -> register.Register:
        return self.spirits._keeper.register

    def step(self) -> None:
        known, now = self.known, self.clock()
        for event in self.mesh.events.pop(self.node.id, []):
            self.spirits.take([event])
            if self.life is not None and getattr(event, "type", "") == boundary.TYPE:
                self.life.exchange.hear(event.source, event.payload, now)  # type: ignore[attr-defined]
        if self.life is not None and (not known.summoned or self.life.exchange.organism != known.organism):
            self.mesh.ended.append(self.life.exchange)
            self.life, self.wells = None, Wells(self.wells.income)  # every organism has a body of its own
        if self.life is None and known.summoned:
            self.life = Life(self.node.id, known.organism, self.spirits._next_epoch, now)
        if self.life is not None:
            self.life.see(dict.fromkeys(self.node.links, 0.5), now)
            self.life.took(self.wells.live(self.life.outlook(1.0, STEP, now)), STEP)
            for peer, payload in self.life.messages(now):
                self.node.signal(Directed(peer), boundary.TYPE, payload, now, ttl=2)
            self.wake()

    @property
    def held(self) -> int:
        assert self.life is not None
        return sum(self.wells.held.values()) + sum(self.life._pending.values())


class Mesh:
    def __init__(self, count: int, folder: Path, **faults: object) -> None:
        self.net = MemoryNetwork(**faults)  # type: ignore[arg-type]
        self.folder = folder
        self.events: dict[bytes, list[object]] = {}
        self.net.on_events = lambda node, events: self.events.setdefault(node.id, []).extend(events)
        self.incomes: dict[bytes, int] = {}
        self.inhabitants = [Inhabitant(self, node) for node in self.net.spawn(count)]
        self.gone: list[Inhabitant] = []
        self.ended: list[Exchange] = []
        """Of lives that were dismissed: what others received from them was sent."""

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP)):
            self.net.run(STEP)
            for inhabitant in self.inhabitants:
                if self.net.up(inhabitant.node):
                    inhabitant.step()
            self.check()

    def until(self, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        for _ in range(int(seconds)):
            if holds():
                return
            self.run(1.0)
        pytest.fail("it never held")

    def check(self) -> None:
        """No session brings more than was sent in it; all that was taken in is somewhere."""
        alive = [each for each in (*self.inhabitants, *self.gone) if each.life is not None]
        for one, two in itertools.permutations(alive, 2):
            here = one.life.exchange.accounts().get(two.node.id)  # type: ignore[union-attr]
            there = two.life.exchange.accounts().get(one.node.id)  # type: ignore[union-attr]
            if (
                here
                and there
                and here["epoch"] == there["their_epoch"]
                and here["their_epoch"] == there["epoch"]
            ):
                assert here["received"] <= there["sent"]
        sent = sum(each.life.exchange.sent for each in alive)  # type: ignore[union-attr]
        received = sum(each.life.exchange.received for each in alive)  # type: ignore[union-attr]
        undelivered = sum(each.life.exchange.waiting for each in alive)  # type: ignore[union-attr]
        held = sum(each.held for each in alive) + undelivered
        assert held + sent - received == sum(each.wells.taken_in for each in alive)
        sent += sum(exchange.sent for exchange in self.ended)
        assert sent >= received + sum(exchange.received for exchange in self.ended)

    def stop_income(self) -> None:
        for each in self.inhabitants:
            each.wells.income = 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def summoned(mesh: Mesh) -> Callable[[], bool]:
    versions = lambda: {each.known.version for each in mesh.inhabitants if mesh.net.up(each.node)}  # noqa: E731
    return lambda: (
        len(versions()) == 1
        and all(each.known.summoned for each in mesh.inhabitants if mesh.net.up(each.node))
    )


def test_seven_nodes_share_nutrient_over_a_network_that_loses(folder: Path) -> None:
    mesh = Mesh(7, folder, seed=3, loss=0.15, duplicate=0.1)
    mesh.run(10.0)
    mesh.inhabitants[0].wells.income = UNIT // 100
    mesh.inhabitants[0].spirits.summon("physarum", {"speed": 2.0})
    mesh.until(summoned(mesh))
    assert {each.known.settings.speed for each in mesh.inhabitants} == {2.0}
    mesh.run(60.0)
    lives = [each.life for each in mesh.inhabitants if each.life is not None]
    assert len(lives) == 7
    assert sum(life.exchange.received > 0 for life in lives) == 6, "all but the source were given something"
    mesh.stop_income()
    mesh.run(90.0)
    # Differences are gone, and so is what was on the way but for what still trickles.
    assert sum(life.exchange.in_transit for life in lives) < UNIT // 100
    assert all(life.exchange.lost == 0 for life in lives)


def test_a_dead_node_takes_its_share_and_comes_back_to_the_same_spirit(folder: Path) -> None:
    mesh = Mesh(5, folder, seed=5, loss=0.15)
    mesh.run(10.0)
    for each in mesh.inhabitants[:2]:
        each.wells.income = UNIT // 100
    mesh.inhabitants[1].spirits.summon("physarum", {})
    mesh.until(summoned(mesh))
    mesh.run(20.0)
    author, organism = mesh.inhabitants[1], mesh.inhabitants[1].known.organism
    mesh.net.crash(author.node)
    mesh.run(30.0)
    others = [each for each in mesh.inhabitants if each is not author]
    assert all(each.life is not None and each.life.exchange.organism == organism for each in others)
    mesh.gone.append(author)
    mesh.inhabitants.remove(author)
    born = Inhabitant(mesh, mesh.net.restart(author.node))
    mesh.inhabitants.append(born)
    mesh.until(lambda: born.life is not None)
    assert born.known.organism == organism, "the others remember what is summoned, though its summoner died"
    mesh.until(lambda: born.life is not None and born.life.exchange.received > 0)
    mesh.stop_income()
    mesh.run(60.0)
    assert sum(each.life.exchange.in_transit for each in mesh.inhabitants if each.life) < UNIT // 100


def test_a_latecomer_takes_over_and_a_dismissal_reaches_all(folder: Path) -> None:
    mesh = Mesh(4, folder, seed=8, loss=0.1)
    mesh.run(8.0)
    mesh.inhabitants[2].spirits.summon("physarum", {})
    mesh.until(summoned(mesh))
    late = mesh.net.spawn(1, seed=mesh.inhabitants[0].node)
    mesh.inhabitants += [Inhabitant(mesh, node) for node in late]
    mesh.until(summoned(mesh))
    mesh.inhabitants[-1].spirits.tune({"decay": 0.25})
    mesh.until(lambda: {each.known.settings.decay for each in mesh.inhabitants} == {0.25})
    mesh.inhabitants[0].spirits.dismiss()
    mesh.until(lambda: not any(each.known.summoned for each in mesh.inhabitants))
    mesh.run(1.0)
    assert not any(each.life for each in mesh.inhabitants)
    with pytest.raises(SpiritRefused, match="no spirit is summoned"):
        mesh.inhabitants[3].spirits.tune({"speed": 2.0})
    # A later newcomer does not bring it back, and the next summoning is another organism.
    before = mesh.inhabitants[0].known.organism
    mesh.inhabitants += [Inhabitant(mesh, node) for node in mesh.net.spawn(1, seed=mesh.inhabitants[0].node)]
    mesh.run(20.0)
    assert not any(each.known.summoned for each in mesh.inhabitants)
    mesh.inhabitants[3].spirits.summon("physarum", {})
    mesh.until(summoned(mesh))
    assert mesh.inhabitants[0].known.organism != before


def test_of_two_who_summon_at_once_one_wins_everywhere(folder: Path) -> None:
    mesh = Mesh(5, folder, seed=11)
    mesh.run(8.0)
    mesh.inhabitants[0].spirits.summon("physarum", {"speed": 2.0})
    mesh.inhabitants[4].spirits.summon("physarum", {"speed": 3.0})
    mesh.until(summoned(mesh))
    winner = max(mesh.inhabitants[0], mesh.inhabitants[4], key=lambda each: each.node.id)
    assert {each.known.author for each in mesh.inhabitants} == {winner.node.id}
    mesh.run(10.0)
    assert len({each.life.exchange.organism for each in mesh.inhabitants if each.life}) == 1


def test_who_does_not_follow_neither_hosts_nor_writes(folder: Path) -> None:
    mesh = Mesh(3, folder, seed=2)
    hermit = mesh.inhabitants[1] = Inhabitant(mesh, mesh.inhabitants[1].node, follow=False)
    mesh.run(8.0)
    mesh.inhabitants[0].spirits.summon("physarum", {})
    mesh.until(lambda: mesh.inhabitants[2].known.summoned)
    for verb in (lambda: hermit.spirits.summon("physarum", {}), hermit.spirits.dismiss):
        with pytest.raises(SpiritRefused, match="follow = false"):
            verb()
    mesh.until(lambda: hermit.known.summoned)
    look = hermit.spirits.look()
    assert look["summoned"] is not None and look["why_not"] == "follow = false in [spirits]"
    assert hermit.node.id not in mesh.inhabitants[0].spirits._keeper._told
