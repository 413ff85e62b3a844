"""Between two ticks: what is advertised anew agrees with the kernel, and reaches the neighbours in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from msgspec import structs

from shivya_daemon import placement
from shivya_daemon.core.events import Event, PeerLeft, Unlinked
from shivya_daemon.core.heartbeat import ServiceLoad, service_tag
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node, NodeSettings, Told
from shivya_daemon.core.settings import OWN_WAIT_CHANGE
from shivya_daemon.desk import NodeDesk
from shivya_daemon.net.memory import MemoryNetwork
from shivya_daemon.operations import NodeOperations, Place
from shivya_daemon.renewal import renewed
from shivya_daemon.services import ServiceBook
from shivya_daemon.settings import DEFAULT_LINKS, MAX_LINKS, MIN_LINKS, DaemonSettings, LawSettings
from shivya_daemon.startup import make_node
from shivya_daemon.verdict import Verdict, shortest_expected_delay
from shivya_daemon.world import Vertex
from shivya_kernels import flow
from shivya_kernels.fleet import views

pytestmark = pytest.mark.no_cover  # a simulation: counting lines would treble its time

TAG = service_tag("default")
QUIET = NodeSettings(heartbeat_silence=0.3)


def row(index: int, **values: Any) -> dict[str, Any]:
    fixed = {"id": f"{index + 1:040x}", "name": f"n{index}", "queue": 3, "servers": 1, "seen": 0, "flow": 0}
    return {**fixed, **{key: value.item() for key, value in values.items()}}


@pytest.mark.parametrize("neighbours", [0, 1, 5])
def test_what_is_advertised_anew_is_what_the_kernel_would_say(neighbours: int) -> None:
    rng, count, gap, share = np.random.default_rng(neighbours), 1000, 0.05, 0.9
    shape = (count, neighbours)
    s = {
        "potential": rng.uniform(0, 0.6, shape),
        "slope": rng.uniform(0, 0.1, shape) * rng.integers(0, 2, shape),
        "service_rate": rng.uniform(5, 40, shape),
        "hop": rng.uniform(0, 0.02, shape),
        "age": rng.uniform(0, 0.5, shape),
        "out": rng.integers(0, 5, shape),
        "net_arrivals": rng.uniform(0, 60, shape),
        "own_rate": rng.uniform(0, 10, shape),
    }
    queue, servers = rng.integers(0, 20, count), rng.integers(1, 4, count)
    rate, overrun = rng.uniform(5, 40, count), rng.uniform(0, 0.3, count)
    with jax.enable_x64(True):
        late = jnp.where(queue >= servers, overrun, 0.0)
        padded = {key: jnp.pad(value, ((0, 0), (0, 1))) for key, value in s.items()}
        live = jnp.pad(jnp.ones(shape, bool), ((0, 0), (0, 1)))
        mu = jnp.pad(jnp.asarray(s["service_rate"]), ((0, 0), (0, 1)), constant_values=1.0)
        drift = flow.forecast(
            padded["age"], padded["net_arrivals"], padded["own_rate"], mu, padded["hop"] + gap
        )
        window = flow.slope_window(share, gap, padded["hop"], live)
        found = jax.vmap(lambda *x: flow.placement(*x[:-2], gap, *x[-2:]))(
            flow.waiting_time(queue, servers, rate) + late, rate, queue + 1, servers, padded["potential"],
            padded["slope"], padded["out"], mu, padded["hop"], live, window, drift,
        )  # fmt: skip
    before = Verdict("default", 9.0, 9.0, 9.0, None, 9.0, 9.0, release={b"kept": 3})
    hops = np.asarray(found.next_hop)
    for n in range(count):
        rows = [row(k, **{key: value[n, k] for key, value in s.items()}) for k in range(neighbours)]
        table = placement.parse_table(
            {
                "service": "default", "tick": 1, "gap": gap, "hop_limit": 8, "stale_after": 1.0, "servers": 1,
                "service_rate": 1.0, "drift": 0.5, "drift_fade": 0.4, "drift_share": 0.5,
                "neighbours": rows,
            }
        )  # fmt: skip
        own = Vertex(
            b"\0" * 20,
            queue[n].item(),
            servers[n].item(),
            rate[n].item(),
            0.0,
            0.0,
            overrun=overrun[n].item(),
        )
        said = renewed(before, own, table, share)
        expected = None if hops[n] < 0 else bytes.fromhex(table.neighbours[hops[n]].id)
        assert said.next_hop == expected
        assert said.release == before.release, "what the last step found stands"
        for name in ("potential", "slope", "second_potential", "second_slope"):
            assert getattr(said, name) == pytest.approx(float(getattr(found, name)[n]), rel=1e-9), name


class Mesh:
    """Nodes on a simulated network, each with a desk, that of a daemon with a law of the simplest kind."""

    def __init__(self, count: int, settings: NodeSettings, seed: int = 4, **faults: Any) -> None:
        self.network = MemoryNetwork(seed=seed, settings=settings, **faults)
        self.nodes = self.network.spawn(count)
        self.books = [ServiceBook(20.0) for _ in self.nodes]
        self.desks = [self._desk(node, book) for node, book in zip(self.nodes, self.books, strict=True)]
        self.crashed: set[Node] = set()
        self.law = True

    def _desk(self, node: Node, book: ServiceBook) -> NodeDesk:
        def clock() -> float:
            return self.network.now

        place = Place(Path("/"), self.network.address(node), None)
        operations = NodeOperations(node, book, DaemonSettings(), place, clock)
        return NodeDesk(node, book, LawSettings(), place.address, "0", clock, operations)

    def live(self, seconds: float, each_tick: Callable[[], None] = lambda: None) -> None:
        """Run control steps every tenth of a second."""
        for _ in range(round(seconds * 10)):
            for node, desk in zip(self.nodes, self.desks, strict=True):
                if node not in self.crashed:
                    worlds = desk.worlds(self.network.now)
                    found = {world.service: shortest_expected_delay(world) for world, _ in worlds}
                    desk.conclude(worlds, found if self.law else {}, self.network.now)
            each_tick()
            self.network.run(0.1)

    def seen(self, by: int, of: int) -> int:
        """The queue of one node as another knows it."""
        views = self.nodes[by].peers(self.network.now)
        return next(view.services[TAG].queue for view in views if view.id == self.nodes[of].id)


def test_a_wait_that_jumps_between_two_ticks_is_known_before_the_next() -> None:
    mesh = Mesh(3, QUIET)
    mesh.live(6.0)
    desk, book = mesh.desks[0], mesh.books[0]
    assert {mesh.seen(by, 0) for by in (1, 2)} == {0}
    mesh.network.run(0.03)
    book.report("default", mesh.network.now, 9)
    assert desk.renew(mesh.network.now)
    load = desk.node._stack.pulse.load.services[0]  # its neighbours idle: 1/20 s, and the gap
    assert load.waiting == pytest.approx(0.5)
    assert load.potential < 0.2 and load.next_hop in {mesh.nodes[1].id, mesh.nodes[2].id}
    mesh.network.run(0.06)
    assert {mesh.seen(by, 0) for by in (1, 2)} == {9}
    assert not desk.renew(mesh.network.now), "they know"
    book.report("default", mesh.network.now, 11)
    assert not desk.renew(mesh.network.now), "a job would go on to a neighbour as before"
    book.report("default", mesh.network.now, 12)
    assert desk.renew(mesh.network.now), "a flow might come of it"


def test_simulated_nodes_and_daemons_take_the_same_for_news() -> None:
    """Between two control steps; at one, a daemon does not ask whether the wait leaves it in doubt."""
    rng, count, change = np.random.default_rng(5), 2000, 0.03
    waits, prices = rng.uniform(0.0, 0.4, (2, count)), rng.uniform(0.0, 0.4, (2, count))
    prices[1, ::2] = prices[0, ::2] + rng.uniform(-0.05, 0.05, prices[0, ::2].shape)
    world: Any = SimpleNamespace(change=change)
    with jax.enable_x64(True):
        news = [views._news(world, waits[1], prices[1], waits[0], prices[0], jnp.bool_(x)) for x in (0, 1)]
    load = ServiceLoad(TAG, 3, 1, 10.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    found = []
    for (was, now), (priced, price) in zip(waits.T.tolist(), prices.T.tolist(), strict=True):
        told, says = Told(was, priced), structs.replace(load, waiting=now, potential=price)
        moved = told.moved(says, change)
        found.append((moved and told.in_doubt(now, change), moved))
    assert np.asarray(news).T.tolist() == [list(pair) for pair in found]
    assert 0 < sum(a for a, _ in found) < sum(b for _, b in found) < count


def test_a_flood_of_reports_costs_few_renewals() -> None:
    mesh = Mesh(3, QUIET)
    mesh.live(6.0)
    renewals = 0
    for count in range(1000):
        mesh.books[0].report("default", mesh.network.now, 1 + count % 20)
        renewals += mesh.desks[0].renew(mesh.network.now)
        mesh.network.run(0.001)
    assert 10 <= renewals <= 41


def test_without_the_law_a_wait_that_jumps_is_told_as_the_shortest_expected_delay() -> None:
    mesh = Mesh(3, QUIET)
    mesh.law = False
    mesh.live(6.0)
    mesh.books[0].report("default", mesh.network.now, 9)
    assert mesh.desks[0].renew(mesh.network.now)
    load = mesh.desks[0].node._stack.pulse.load.services[0]
    assert load.potential == load.waiting == pytest.approx(0.5), "not what its neighbours could do for it"
    assert load.next_hop is None and load.slope == pytest.approx(1 / 20)


def test_a_daemon_without_the_law_takes_more_for_news() -> None:
    """What it tells is its own wait, which moves all the time."""
    found = make_node(DaemonSettings(no_law=True), Identity.from_private_bytes(bytes(32)), None, None)
    assert found.settings.heartbeat_change == OWN_WAIT_CHANGE > NodeSettings().heartbeat_change


def test_a_daemon_seeks_as_many_links_as_it_is_told() -> None:
    identity = Identity.from_private_bytes(bytes(32))
    links = make_node(DaemonSettings(), identity, None, None).settings.links
    assert links == NodeSettings().links
    assert (links.min_links, links.target_links, links.max_links) == (MIN_LINKS, DEFAULT_LINKS, MAX_LINKS)
    assert make_node(DaemonSettings(links=3), identity, None, None).settings.links.target_links == 3


def test_a_node_without_neighbours_has_nobody_to_tell() -> None:
    mesh = Mesh(1, QUIET)
    mesh.live(1.0)
    mesh.books[0].report("default", mesh.network.now, 500)
    assert not mesh.desks[0].renew(mesh.network.now)


def deaths(mesh: Mesh) -> list[Event]:
    """Collect what nodes say of links and peers that ended."""
    found: list[Event] = []
    mesh.network.on_events = lambda _, events: found.extend(
        event for event in events if isinstance(event, Unlinked | PeerLeft)
    )
    return found


@pytest.mark.parametrize("settings", [NodeSettings(), QUIET], ids=["steady", "quiet"])
def test_a_crash_is_found_as_soon_and_nobody_is_taken_for_dead_at_heavy_loss(settings: NodeSettings) -> None:
    """Silence is judged by seconds, of which the longest between heartbeats is a small part."""
    mesh = Mesh(6, settings, loss=0.3)
    mesh.live(8.0)
    found = deaths(mesh)
    mesh.live(60.0)
    assert not [event for event in found if getattr(event, "reason", "") in ("silent", "lost")]
    victim = mesh.nodes[2]
    neighbours = set(victim.links)
    mesh.crashed.add(victim)
    mesh.network.crash(victim)
    mesh.live(5.5)
    survivors = [node for node in mesh.nodes if node.id in neighbours]
    assert survivors and all(victim.id not in node.links for node in survivors)
