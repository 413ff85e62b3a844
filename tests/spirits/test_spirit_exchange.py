"""What crosses links arrives once: over lost, doubled and late messages, cut links and lives that end."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.spirits import boundary, crossing, exchange
from shivya_daemon.spirits.boundary import Boundary
from shivya_daemon.spirits.exchange import Exchange
from shivya_daemon.spirits.places import PLACES, Places
from shivya_daemon.spirits.register import UNIT

ORGANISM = b"organism"


def node(number: int) -> bytes:
    return bytes([number]) * 20


class Mesh:
    """Parts with whole amounts of nutrient, and a network that does what it likes; all is seen from above."""

    def __init__(self, size: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.epochs = itertools.count(1)  # one clock for all: what incarnations give
        self.links = set(itertools.combinations(range(size), 2))
        self.parts = [self._born() for _ in range(size)]
        self.body = [5 * UNIT] * size
        self.died = 0
        self.wire: list[tuple[int, int, bytes]] = []
        self.sent: dict[tuple[int, int], int] = {}
        """By epochs (sender, receiver): what left, and what came."""
        self.came: Counter[tuple[int, int]] = Counter()
        self.relink()

    def _born(self) -> Exchange:
        return Exchange(ORGANISM, lambda: next(self.epochs), self.now)

    def relink(self) -> None:
        for number, part in enumerate(self.parts):
            ends = [a if b == number else b for a, b in self.links if number in (a, b)]
            part.link(map(node, ends), self.now)

    def send(self, source: int, target: int, amount: int) -> None:
        part = self.parts[source]
        amount = min(amount, part.room(node(target), self.now), self.body[source])
        if amount:
            self.body[source] -= amount
            part.send(node(target), amount)
            account = part.accounts()[node(target)]
            self.sent[account["epoch"], account["their_epoch"]] = account["sent"]

    def beat(self, seconds: float, loss: float, doubled: float) -> None:
        """Let all say what is due; some of it is lost, some stays on the wire for later, some is doubled."""
        self.now += seconds
        for number, part in enumerate(self.parts):
            cells = {node(other): (0.5, 0.1) for other in range(len(self.parts))}
            for peer, payload in part.due(cells, self.now):
                copies = (self.random.random() >= loss) + (self.random.random() < doubled)
                self.wire += [(number, peer[0], payload)] * copies
        self.random.shuffle(self.wire)
        keep = self.random.randrange(len(self.wire) + 1) if loss else 0
        while len(self.wire) > keep:
            self.deliver(*self.wire.pop())

    def deliver(self, source: int, target: int, payload: bytes) -> None:
        part = self.parts[target]
        before = part.received
        part.hear(node(source), payload, self.now)
        arrived = part.arrivals()
        amount = arrived.pop(node(source), 0)
        assert not arrived and amount == part.received - before >= 0
        self.body[target] += amount
        if amount:
            account = part.accounts()[node(source)]
            session = (account["their_epoch"], account["epoch"])
            self.came[session] += amount
            assert self.came[session] <= self.sent.get(session, 0), "made out of nothing"

    def restart(self, number: int) -> None:
        """Kill a node; its body dies, and it begins again with another."""
        self.died += self.body[number] - 5 * UNIT
        self.body[number] = 5 * UNIT
        self.parts[number] = self._born()
        self.relink()

    def settle(self) -> None:
        """Give the network time without faults, until all that was sent has come."""
        for _ in range(40):
            self.beat(1.0, 0.0, 0.0)

    @property
    def underway(self) -> int:
        """What was sent under any two epochs and did not come; of those that are over it never will."""
        return sum(self.sent.values()) - self.came.total()

    @property
    def all(self) -> int:
        return sum(self.body) + self.underway + self.died


Step = tuple[str, int, int, int]


def steps(kinds: list[str]) -> st.SearchStrategy[list[Step]]:
    whole = st.integers(0, 3)
    return st.lists(st.tuples(st.sampled_from(kinds), whole, whole, st.integers(1, UNIT)), max_size=60)


def play(mesh: Mesh, played: list[Step], loss: float) -> Iterator[None]:
    size = len(mesh.parts)
    for kind, one, two, amount in played:
        a, b = one % size, two % size
        match kind:
            case "send" if a != b:
                mesh.send(a, b, amount)
            case "beat":
                mesh.beat(amount / UNIT, loss, 0.3)
            case "restart":
                mesh.restart(a)
            case "renew":
                mesh.parts[a].renew()
            case "cut" if a != b:
                mesh.links ^= {(min(a, b), max(a, b))}
                mesh.relink()
            case _:
                pass
        yield


@given(steps(["send", "beat", "beat", "cut"]), st.integers(2, 4), st.integers(0, 1000))
@hypothesis_settings(max_examples=150, deadline=None)
def test_no_network_makes_or_loses_nutrient(played: list[Step], size: int, seed: int) -> None:
    mesh = Mesh(size, seed)
    for _ in range(4):
        mesh.beat(1.0, 0.0, 0.0)
    for _ in play(mesh, played, 0.4):
        assert mesh.all == 5 * UNIT * size
    mesh.links = set(itertools.combinations(range(size), 2))
    mesh.relink()
    mesh.settle()
    assert sum(mesh.body) == 5 * UNIT * size
    assert all(part.in_transit == part.lost == 0 for part in mesh.parts)


@given(steps(["send", "send", "beat", "beat", "beat", "restart", "renew", "cut"]), st.integers(0, 1000))
@hypothesis_settings(max_examples=200, deadline=None)
def test_only_what_died_is_gone_when_lives_end(played: list[Step], seed: int) -> None:
    mesh = Mesh(3, seed)
    for _ in range(4):
        mesh.beat(1.0, 0.0, 0.0)
    for _ in play(mesh, played, 0.3):
        assert mesh.all == 15 * UNIT
    mesh.links = set(itertools.combinations(range(3), 2))
    mesh.relink()
    mesh.settle()
    # Every life that is left agrees with every other, and nothing more is under way between them.
    for a, b in itertools.permutations(range(3), 2):
        here, there = mesh.parts[a].accounts()[node(b)], mesh.parts[b].accounts()[node(a)]
        assert (here["epoch"], here["their_epoch"]) == (there["their_epoch"], there["epoch"])
        assert here["sent"] == here["acknowledged"] == there["received"]
    assert mesh.all == 15 * UNIT


def test_a_life_that_ends_takes_only_its_share() -> None:
    mesh = Mesh(3, 1)
    mesh.settle()
    mesh.send(0, 1, UNIT // 2)
    mesh.send(2, 0, UNIT // 4)
    mesh.settle()
    assert mesh.body == [5 * UNIT - UNIT // 4, 5 * UNIT + UNIT // 2, 5 * UNIT - UNIT // 4]
    mesh.send(0, 1, UNIT // 8)  # on its way when the other dies
    mesh.restart(1)
    mesh.settle()
    assert mesh.body == [5 * UNIT - UNIT // 4 - UNIT // 8, 5 * UNIT, 5 * UNIT - UNIT // 4]
    assert [part.lost for part in mesh.parts] == [UNIT // 8, 0, 0]
    mesh.send(0, 1, UNIT // 8)
    mesh.settle()
    assert mesh.body[1] == 5 * UNIT + UNIT // 8


def two() -> tuple[Exchange, Exchange]:
    mesh = Mesh(2, 0)
    mesh.settle()
    return mesh.parts[0], mesh.parts[1]


def test_a_replay_of_an_earlier_life_is_refused() -> None:
    mesh = Mesh(2, 0)
    mesh.settle()
    mesh.send(1, 0, UNIT // 2)
    mesh.now += 2.0
    ((_, old),) = mesh.parts[1].due({}, mesh.now)
    mesh.deliver(1, 0, old)
    mesh.restart(1)
    mesh.settle()
    assert mesh.parts[0].hear(node(1), old, mesh.now) == "stale_epoch"
    assert mesh.parts[0].arrivals() == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sent": 2 * UNIT}, "implausible"),
        ({"received": 1}, "implausible"),
        ({"organism": b"\0" * 8}, "other_organism"),
        ({"mine": 1}, "stale_epoch"),
        ({"yours": 99, "sent": UNIT}, None),
    ],
)
def test_what_no_honest_neighbour_says_moves_nothing(change: dict[str, object], reason: str | None) -> None:
    here, there = two()
    account = there.accounts()[node(0)]
    plain = {
        "organism": ORGANISM, "mine": account["epoch"], "yours": account["their_epoch"], "sequence": 1000,
        "sent": 0, "received": 0, "nutrient": 0.5, "phase": 0.0,
    }  # fmt: skip
    payload = boundary.encode(Boundary(**(plain | change)))  # type: ignore[arg-type]
    assert here.hear(node(1), payload, 41.0) == reason
    assert here.arrivals() == {} and here.in_transit == 0
    assert here.hear(node(7), payload, 41.0) in ("not_linked", "other_organism")


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_or_read_back(payload: bytes) -> None:
    try:
        message = boundary.decode(payload)
    except DecodeError:
        return
    assert boundary.encode(message) == payload


def test_a_message_is_these_bytes() -> None:
    message = Boundary(ORGANISM, 3, 2, 7, 5, 4, 0.5, -0.25)
    golden = "016f7267616e69736d" + "000000000000000000000003" + "000000000000000000000002" + "00000007"
    golden += "0000000000000005" + "0000000000000004" + "01" + "3f000000" + "be800000"
    assert boundary.encode(message).hex() == golden and len(golden) == 2 * 62
    assert boundary.decode(boundary.encode(message)) == message


def test_messages_are_few_however_many_links() -> None:
    part = Exchange(ORGANISM, itertools.count(1).__next__, 0.0)
    part.link(map(node, range(1, 17)), 0.0)
    sent: Counter[bytes] = Counter()
    for tick in range(400):  # 40 s
        sent.update(peer for peer, _ in part.due({}, tick * 0.1))
    assert sent.total() <= exchange.RATE * 40 + 1
    assert max(sent.values()) - min(sent.values()) <= 1


def test_accounts_are_bounded_and_the_forgotten_is_written_off() -> None:
    part = Exchange(ORGANISM, itertools.count(1).__next__, 0.0)
    hello = boundary.encode(Boundary(ORGANISM, 50, 0, 1, 0, 0, 0.5, 0.0))
    part.link([node(200)], 0.0)
    part.hear(node(200), hello, 0.0)
    assert part.room(node(200), 1.0) == exchange.WINDOW
    part.send(node(200), 5)
    for first in range(1, 160, 8):
        part.link(map(node, range(first, first + 8)), float(first))
    assert len(part.accounts()) == exchange.MAX_ACCOUNTS
    assert (part.in_transit, part.lost, part.sent) == (0, 5, 5)


def test_nothing_is_sent_to_the_silent_or_to_one_without_a_cell() -> None:
    part = Exchange(ORGANISM, itertools.count(1).__next__, 0.0)
    part.link([node(1)], 0.0)
    assert part.room(node(1), 0.0) == 0 and part.far(node(1), 0.0) is None
    part.hear(node(1), boundary.encode(Boundary(ORGANISM, 50, 0, 1, 0, 0, None, 0.0)), 0.0)
    assert part.room(node(1), 0.0) == 0
    part.hear(node(1), boundary.encode(Boundary(ORGANISM, 50, 0, 2, 0, 0, 0.25, 1.5)), 0.0)
    assert part.room(node(1), 0.0) == exchange.WINDOW
    far = part.far(node(1), 2.0)
    assert far is not None and (far.nutrient, far.phase, far.age) == (0.25, 1.5, 2.0)
    assert part.room(node(1), exchange.STALE + 0.1) == 0
    assert part.far(node(1), exchange.STALE + 0.1) is None


def test_flow_goes_down_the_gap_and_never_beyond_the_middle() -> None:
    assert crossing.leaving(0.1, 0.2, 0.8, 0, UNIT, 0.25) == 0
    assert crossing.leaving(0.1, 0.8, 0.2, 0, UNIT, 0.25) == pytest.approx(0.015 * UNIT, abs=2)
    assert crossing.leaving(0.5, 1.0, 0.0, 0, UNIT, 99.0) == UNIT // 2
    assert crossing.leaving(0.5, 1.0, 0.0, 0, 5, 99.0) == 5
    # All that is on its way is counted, so many rounds before an answer still stop at the middle.
    here, transit = 1.0, 0
    for _ in range(1000):
        amount = crossing.leaving(0.5, here, 0.0, transit, UNIT, 0.25)
        here, transit = here - amount / UNIT, transit + amount
    assert here == pytest.approx(0.5, abs=1e-6)


def test_a_tube_between_nodes_grows_with_its_flow_and_is_bounded() -> None:
    used = unused = crossing.START
    for _ in range(400):
        used = crossing.adapted(used, 0.1, 0.25)
        unused = crossing.adapted(unused, 0.0, 0.25)
    assert unused == crossing.LEAST < used <= crossing.MOST
    assert crossing.adapted(used, 0.0, 0.0) == used


def test_places_face_each_other_and_stay() -> None:
    draw = random.Random(3)
    for _ in range(50):
        one, two = draw.randbytes(20), draw.randbytes(20)
        here, there = Places(one), Places(two)
        here.link([two])
        there.link([one])
        assert here.position(two) == pytest.approx([-x for x in there.position(one)])
        assert sum(x * x for x in here.position(two)) == pytest.approx(1.0)
    own = Places(draw.randbytes(20))
    peers = [draw.randbytes(20) for _ in range(20)]
    own.link(peers[:10])
    before = {peer: own.position(peer) for peer in peers[:10]}
    own.link(peers)
    assert all(own.position(peer) == where for peer, where in before.items())
    assert sorted(own.taken().values()) == list(range(PLACES))
    own.link(peers[3:5])
    assert own.taken().keys() == set(peers[3:5])
