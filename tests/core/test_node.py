"""One node against scripted peers: what it answers, what it believes, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from shivya_daemon.core import frames, heartbeat
from shivya_daemon.core.events import (
    HeartbeatReceived,
    IncarnationAdopted,
    ObservationReceived,
    PeerJoined,
    PeerLeft,
    PeerRestarted,
)
from shivya_daemon.core.frames import (
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Frame,
    GradientDiff,
    Leave,
    Payload,
    Peer,
    Ping,
    Pong,
    Store,
    ThermodynamicPush,
)
from shivya_daemon.core.heartbeat import Descriptor, Echo, Heartbeat, NeighbourLoad, ServiceLoad, service_tag
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Address, LocalLoad, Node, NodeSettings, PeerView

HOME = ("10.0.0.1", 8085)


def load(name: str, queue: int = 0, neighbours: tuple[NeighbourLoad, ...] = ()) -> ServiceLoad:
    return ServiceLoad(
        service_tag(name), queue, 1, 10.0, 5.0, 0.5, 0.25, 0.125, 0.5, 0.125, neighbours=neighbours
    )


class Stage:
    """A node, a clock, and hand-driven peers by number."""

    def __init__(self, settings: NodeSettings | None = None) -> None:
        self.random = random.Random(7)
        identity = Identity.generate(self.random.randbytes)
        self.node = Node(identity, settings or NodeSettings(), self.random.randbytes, incarnation=100)
        self.now = 50.0

    @staticmethod
    def id(number: int) -> bytes:
        return bytes((number,)) * 20

    @staticmethod
    def address(number: int) -> Address:
        return (f"10.0.{number // 250}.{number % 250 + 2}", 8085)

    def say(self, number: int, payload: Payload, address: Address | None = None) -> None:
        data = frames.encode(Frame(self.id(number), payload))
        self.node.receive(data, address or self.address(number), self.now)

    def heard(self, number: int) -> list[Payload]:
        """Drain what the node sends; return what goes to one peer."""
        sent = self.node.datagrams()
        return [frames.decode(data).payload for data, to in sent if to == self.address(number)]

    def wait(self, seconds: float) -> None:
        """Let time pass, as a driver would."""
        end = self.now + seconds
        for _ in range(10_000):
            deadline = self.node.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.node.handle_timer(self.now)
        else:
            pytest.fail("the timer never comes to rest")
        self.now = end

    def meet(self, *numbers: int) -> None:
        """Make peers members by the round trip that each of them owes."""
        for number in numbers:
            self.say(number, Ping(1))
            self.wait(0.1)
            pings = [payload for payload in self.heard(number) if isinstance(payload, Ping)]
            self.say(number, Pong(pings[0].timestamp))
            assert self.id(number) in self.node.members
        self.node.datagrams()
        self.node.events()

    def beat(self, number: int, sequence: int = 1, incarnation: int = 5, **fields: object) -> None:
        self.say(number, Heartbeat(incarnation, sequence, **fields))  # type: ignore[arg-type]

    def view(self, number: int) -> PeerView:
        return next(view for view in self.node.peers(self.now) if view.id == self.id(number))

    def drops(self, reason: str) -> int:
        return self.node.counters.drops.get(reason, 0)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    assert len(stage.node.datagrams()) < 1000


def test_a_node_without_peers_waits_for_nothing(stage: Stage) -> None:
    assert stage.node.next_deadline() is None
    stage.wait(100.0)
    assert stage.node.datagrams() == []


def test_a_stranger_gets_its_pong_and_must_prove_itself(stage: Stage) -> None:
    stage.say(1, Ping(77))
    assert stage.heard(1) == [Pong(77)]
    assert stage.node.members == frozenset()
    stage.wait(0.1)
    (ping,) = stage.heard(1)
    assert isinstance(ping, Ping)
    stage.now += 0.02
    stage.say(1, Pong(ping.timestamp))
    assert stage.node.members == {stage.id(1)}
    assert stage.node.links == (stage.id(1),)
    assert stage.node.events() == [PeerJoined(stage.id(1), None)]
    assert stage.heard(1) == [FindNode(stage.node.id)]
    assert stage.view(1).rtt == pytest.approx(0.02, abs=0.11)


def test_a_pong_to_nothing_asked_proves_nothing(stage: Stage) -> None:
    stage.say(1, Pong(12345))
    assert stage.drops("unsolicited") == 1
    stage.say(1, Ping(1))
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(1) if isinstance(payload, Ping))
    stage.say(2, Pong(ping.timestamp))  # the right nonce from another address
    stage.say(1, Pong(ping.timestamp ^ 1))
    assert stage.node.members == frozenset()
    assert stage.drops("unsolicited") == 3
    stage.say(1, Pong(ping.timestamp))
    stage.say(1, Pong(ping.timestamp))  # a nonce proves once
    assert stage.node.members == {stage.id(1)}
    assert stage.drops("unsolicited") == 4


def test_a_pong_that_comes_seconds_late_proves_nothing(stage: Stage) -> None:
    stage.say(1, Ping(1))
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(1) if isinstance(payload, Ping))
    stage.wait(5.0)
    stage.say(1, Pong(ping.timestamp))
    assert stage.node.members == frozenset()


@pytest.mark.parametrize(
    "payload", [Ping(1), FindNode(bytes(20)), FindValue(bytes(20)), Heartbeat(1, 1), Leave(1)]
)
def test_a_stranger_is_never_sent_more_than_three_times_what_it_sent(stage: Stage, payload: Payload) -> None:
    stage.meet(*range(1, 11))
    stage.say(101, payload)
    stage.wait(2.5)
    sent = sum(len(data) for data, to in stage.node.datagrams() if to == stage.address(101))
    assert sent <= 3 * len(frames.encode(Frame(bytes(20), payload)))


def test_an_unanswered_stranger_is_pinged_a_bounded_number_of_times(stage: Stage) -> None:
    stage.say(1, Heartbeat(1, 1))
    stage.wait(30.0)
    assert sum(isinstance(payload, Ping) for payload in stage.heard(1)) == 2
    assert stage.drops("unverified_sender") == 1
    assert stage.node.next_deadline() is None


def test_bootstrap_retransmits_for_ever_but_slowly(stage: Stage) -> None:
    stage.node.connect(stage.address(1), stage.now)
    assert stage.node.next_deadline() is not None
    stage.wait(0.0)
    assert [type(payload) for payload in stage.heard(1)] == [Ping]
    stage.wait(600.0)
    pings = len(stage.heard(1))
    assert 100 < pings < 200
    late: list[Payload] = []
    while not late:
        stage.wait(0.5)
        late = stage.heard(1)
    assert isinstance(late[0], Ping)
    stage.say(1, Pong(late[0].timestamp))
    assert stage.node.members == {stage.id(1)}


def test_an_address_no_node_can_have_is_refused() -> None:
    stage = Stage()
    addresses = [("224.0.0.1", 8085), ("0.0.0.0", 8085), ("127.0.0.1", 0), ("example.org", 8085)]
    for address in [*addresses, ("fe80::1%eth0", 8085)]:
        with pytest.raises(ValueError, match="cannot be the address of a peer"):
            stage.node.connect(address, stage.now)


def test_a_seed_is_known_by_the_canonical_spelling_of_its_address(stage: Stage) -> None:
    stage.node.connect(("2001:DB8:0::1", 8085), stage.now)
    stage.wait(0.0)
    ((data, address),) = stage.node.datagrams()
    assert address == ("2001:db8::1", 8085)
    ping = frames.decode(data).payload
    assert isinstance(ping, Ping)
    stage.say(1, Pong(ping.timestamp), address)
    assert stage.node.members == {stage.id(1)}


def test_a_stranger_at_a_zoned_address_is_answered_but_never_becomes_a_peer(stage: Stage) -> None:
    stage.say(1, Ping(4), ("fe80::1%eth0", 8085))
    stage.wait(1.0)
    assert [frames.decode(data).payload for data, _ in stage.node.datagrams()] == [Pong(4)]
    assert stage.drops("unreachable_address") == 1


def test_the_own_id_from_elsewhere_is_dropped(stage: Stage) -> None:
    stage.node.receive(frames.encode(Frame(stage.node.id, Ping(1))), stage.address(1), stage.now)
    assert stage.drops("own_sender") == 1
    assert stage.node.datagrams() == []


def test_a_forged_sender_moves_nothing(stage: Stage) -> None:
    """Peer 1 speaks from its own address while somebody at address 9 claims its id."""
    stage.meet(1)
    stage.beat(1, name="honest")
    forger = stage.address(9)
    stage.say(1, Heartbeat(6, 2, name="forged"), forger)
    stage.say(1, Leave(10**12), forger)
    assert stage.drops("unverified_sender") == 2
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(9) if isinstance(payload, Ping))
    stage.say(1, Pong(ping.timestamp), forger)
    assert stage.drops("address_conflict") == 1
    assert stage.view(1).address == stage.address(1)
    assert stage.view(1).name == "honest"


def test_a_peer_silent_at_its_address_may_prove_itself_at_another(stage: Stage) -> None:
    stage.meet(1)
    stage.wait(2.5)
    stage.say(1, Ping(1), stage.address(9))
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(9) if isinstance(payload, Ping))
    stage.say(1, Pong(ping.timestamp), stage.address(9))
    assert stage.view(1).address == stage.address(9)
    assert stage.node.members == {stage.id(1)}


def test_another_node_at_the_address_of_a_peer_replaces_it(stage: Stage) -> None:
    stage.meet(1)
    stage.say(2, Ping(1), stage.address(1))
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(1) if isinstance(payload, Ping))
    stage.say(2, Pong(ping.timestamp), stage.address(1))
    assert stage.node.members == {stage.id(2)}
    assert stage.node.events() == [PeerLeft(stage.id(1), "replaced"), PeerJoined(stage.id(2), None)]


def test_peers_that_others_name_are_pinged_only_when_asked_for(stage: Stage) -> None:
    named = FoundNodes(tuple(Peer(stage.id(n), *stage.address(n)) for n in (2, 3)))
    stage.meet(1)
    stage.say(1, named)  # answers the question that followed the round trip
    stage.wait(0.1)
    sent = stage.node.datagrams()
    assert {to for data, to in sent if data[4] == 1} == {stage.address(2), stage.address(3)}
    stage.wait(20.0)
    stage.say(4, named)
    assert stage.drops("unverified_sender") == 1
    assert stage.node.members == frozenset()


def test_an_unsolicited_list_of_peers_from_a_member_is_refused(stage: Stage) -> None:
    stage.meet(1)
    stage.say(1, FoundNodes(()))
    stage.say(1, FoundNodes((Peer(stage.id(2), *stage.address(2)),)))
    assert stage.drops("unsolicited") == 1
    stage.wait(0.2)
    assert stage.heard(2) == []


def test_named_peers_at_impossible_addresses_are_not_pinged(stage: Stage) -> None:
    stage.meet(1)
    stage.say(1, FoundNodes((Peer(stage.id(2), "224.0.0.1", 9), Peer(stage.id(3), "10.0.0.3", 0))))
    assert stage.drops("unreachable_address") == 2


def test_members_are_told_eight_peers_and_strangers_few(stage: Stage) -> None:
    stage.meet(*range(1, 13))
    stage.say(1, FindNode(stage.id(5)))
    (answer,) = (payload for payload in stage.heard(1) if isinstance(payload, FoundNodes))
    assert len(answer.peers) == 8
    assert answer.peers[0] == Peer(stage.id(5), *stage.address(5))
    assert stage.id(1) not in {peer.id for peer in answer.peers}
    stage.say(40, FindNode(stage.id(5)))
    (answer,) = (payload for payload in stage.heard(40) if isinstance(payload, FoundNodes))
    assert 1 <= len(answer.peers) <= 4
    stage.say(1, FindValue(stage.id(5)))
    (missed,) = (payload for payload in stage.heard(1) if isinstance(payload, FoundValue))
    assert missed.value is None and len(missed.peers) == 8 and missed.key == stage.id(5)


def test_values_are_neither_stored_nor_taken(stage: Stage) -> None:
    stage.meet(1)
    stage.say(1, Store(bytes(20), b"v"))
    stage.say(1, FoundValue(bytes(20), b"v", (Peer(stage.id(2), *stage.address(2)),)))
    assert stage.drops("store_unsupported") == 1
    assert stage.drops("unsolicited") == 1
    stage.wait(0.1)
    assert stage.heard(2) == []


def test_a_silent_peer_is_probed_and_gone_after_four_seconds(stage: Stage) -> None:
    stage.meet(1)
    stage.wait(0.9)
    assert not any(isinstance(payload, Ping) for payload in stage.heard(1))
    stage.wait(3.0)
    assert sum(isinstance(payload, Ping) for payload in stage.heard(1)) >= 4
    assert stage.node.members == {stage.id(1)}
    stage.wait(0.3)
    assert stage.node.events() == [PeerLeft(stage.id(1), "silent")]
    assert stage.node.members == frozenset() and stage.node.links == () and stage.node.peers(stage.now) == ()


def test_a_pong_keeps_a_quiet_peer_alive(stage: Stage) -> None:
    stage.meet(1)
    for _ in range(20):
        stage.wait(0.5)
        for payload in stage.heard(1):
            if isinstance(payload, Ping):
                stage.say(1, Pong(payload.timestamp))
    assert stage.node.members == {stage.id(1)}


def test_a_node_that_slept_does_not_blame_the_others(stage: Stage) -> None:
    stage.meet(1)
    stage.now += 60.0
    stage.node.handle_timer(stage.now)
    assert stage.node.members == {stage.id(1)}
    stage.wait(3.5)
    assert stage.node.members == frozenset()


def test_a_lost_peer_is_looked_for_and_a_departed_one_is_not(stage: Stage) -> None:
    stage.meet(1, 2)
    stage.say(2, Leave(5))
    assert stage.node.members == {stage.id(1)}
    assert stage.node.events() == [PeerLeft(stage.id(2), "left")]
    stage.wait(5.0)
    stage.node.datagrams()
    stage.wait(20.0)
    sent = {to for _, to in stage.node.datagrams()}
    assert sent == {stage.address(1)}


def test_a_goodbye_from_an_earlier_life_is_refused(stage: Stage) -> None:
    stage.meet(1)
    stage.beat(1, incarnation=9)
    stage.say(1, Leave(8))
    assert stage.drops("stale_incarnation") == 1
    assert stage.node.members == {stage.id(1)}


def test_leaving_tells_every_peer_and_then_nothing(stage: Stage) -> None:
    stage.meet(1, 2)
    stage.node.leave(stage.now)
    sent = stage.node.datagrams()
    assert {to for _, to in sent} == {stage.address(1), stage.address(2)}
    assert {frames.decode(data).payload for data, _ in sent} == {Leave(100)}
    stage.say(1, Ping(1))
    stage.node.publish(LocalLoad(), stage.now)
    stage.wait(10.0)
    assert stage.node.next_deadline() is None
    assert stage.node.datagrams() == []
    assert stage.drops("left") == 1


def test_blocked_addresses_are_neither_heard_nor_spoken_to(stage: Stage) -> None:
    stage.meet(1, 2)
    stage.node.block(stage.address(1))
    stage.say(1, Ping(1))
    stage.wait(3.0)
    assert stage.heard(1) == []
    assert stage.drops("blocked") == 1
    assert stage.drops("blocked_send") > 10
    stage.wait(1.5)
    assert stage.id(1) not in stage.node.members
    stage.node.unblock(stage.address(1))
    stage.say(1, Ping(5))
    assert Pong(5) in stage.heard(1)


def test_heartbeats_carry_what_was_published_and_come_at_once(stage: Stage) -> None:
    stage = Stage(NodeSettings(name="edge-1"))
    stage.meet(1)
    near = (NeighbourLoad(stage.id(1), 1, 1, 10.0, 0.25, 17, 2.5),)
    stage.node.publish(
        LocalLoad(
            free_energy=1.5,
            active_cells=2,
            services=(load("resize", 4, near),),
            descriptors=(Descriptor("resize", "127.0.0.1:7001"),),
            conductances={stage.id(1): 0.75},
        ),
        stage.now,
    )
    stage.wait(0.05)
    beat = stage.heard(1)[-1]
    assert isinstance(beat, Heartbeat)
    assert (beat.name, beat.free_energy, beat.active_cells, beat.conductance) == ("edge-1", 1.5, 2, 0.75)
    assert beat.services == (load("resize", 4, near),)
    assert beat.descriptors == (Descriptor("resize", "127.0.0.1:7001"),)


def test_publication_is_at_once_but_never_faster_than_twice_the_interval(stage: Stage) -> None:
    stage.meet(1)
    stage.wait(0.5)
    stage.node.datagrams()
    stage.now += 0.06
    for queue in range(200):
        stage.node.publish(LocalLoad(services=(load("a", queue),)), stage.now)
        stage.wait(0.001)
    beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
    assert beats[0].services[0].queue == 0
    assert 4 <= len(beats) <= 5


def test_heartbeats_go_on_without_publication_and_repeat_descriptors_each_second(stage: Stage) -> None:
    stage.meet(1)
    stage.node.publish(LocalLoad(descriptors=(Descriptor("a", ""),)), stage.now)
    for _ in range(20):
        stage.wait(0.5)
        stage.beat(1, sequence=round(stage.now * 10))
    beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
    assert 70 <= len(beats) <= 85
    assert 9 <= sum(bool(beat.descriptors) for beat in beats) <= 12
    numbers = [beat.sequence for beat in beats]
    assert numbers == sorted(set(numbers))


def test_a_load_too_big_for_one_datagram_arrives_in_parts(stage: Stage) -> None:
    stage.meet(1)
    near = tuple(NeighbourLoad(stage.id(n), n, 1, 10.0, 0.0, n, 0.0) for n in range(1, 13))
    loads = tuple(load(f"s{n}", n, near) for n in range(8))
    stage.wait(0.1)
    stage.node.datagrams()
    stage.now += 0.1
    stage.node.publish(LocalLoad(services=loads), stage.now)
    sent = stage.node.datagrams()
    assert all(len(data) <= frames.MAX_DATAGRAM_BYTES for data, _ in sent)
    beats = [frames.decode(data).payload for data, _ in sent]
    assert sum((beat.services for beat in beats if isinstance(beat, Heartbeat)), ()) == loads


def test_a_load_that_cannot_be_carried_leaves_the_old_one(stage: Stage) -> None:
    stage.meet(1)
    stage.node.publish(LocalLoad(services=(load("a", 3),)), stage.now)
    for wrong in (
        LocalLoad(services=(load("a", -1),)),
        LocalLoad(free_energy=float("nan")),
        LocalLoad(services=tuple(load(f"s{n}") for n in range(9))),
        LocalLoad(conductances={stage.id(1): -1.0}),
    ):
        with pytest.raises(frames.EncodeError):
            stage.node.publish(wrong, stage.now)
    stage.node.datagrams()
    stage.wait(0.3)
    beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
    assert beats and all(beat.services == (load("a", 3),) for beat in beats)


def test_an_echo_gives_the_round_trip_time_less_the_hold(stage: Stage) -> None:
    stage.meet(1)
    first = stage.view(1).rtt
    assert first is not None
    for sequence in range(1, 60):
        stage.node.datagrams()
        stage.wait(0.125)
        beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
        if not beats:
            continue
        sent_at = stage.now
        stage.now += 0.05
        hold = stage.now - sent_at - 0.004
        stage.beat(1, sequence, echo=Echo(100, beats[-1].sequence, round(hold * 1e6)))
    measured = stage.view(1).rtt
    # The beat may have left up to one interval before `wait` returned.
    assert measured is not None and 0.004 <= measured <= 0.13


def test_the_echo_names_the_last_heartbeat_and_how_long_it_was_held(stage: Stage) -> None:
    stage.meet(1)
    stage.wait(1.0)
    assert all(beat.echo is None for beat in stage.heard(1) if isinstance(beat, Heartbeat))
    stage.beat(1, sequence=41, incarnation=5)
    stage.now += 0.3
    stage.node.publish(LocalLoad(), stage.now)
    (beat,) = (payload for payload in stage.heard(1) if isinstance(payload, Heartbeat))
    assert beat.echo is not None
    assert (beat.echo.incarnation, beat.echo.sequence) == (5, 41)
    assert beat.echo.hold_us == pytest.approx(300_000, abs=2)


def test_loads_are_merged_by_service_and_old_ones_refused(stage: Stage) -> None:
    stage.meet(1)
    stage.beat(1, 10, services=(load("a", 1),), descriptors=(Descriptor("a", "h:1"),))
    stage.now += 0.2
    stage.beat(1, 12, services=(load("b", 2),))
    stage.beat(1, 11, services=(load("a", 3), load("b", 9)))  # overtaken: news of a, not of b
    stage.beat(1, 11, services=(load("a", 8),))  # duplicate
    view = stage.view(1)
    assert {tag: entry.queue for tag, entry in view.services.items()} == {
        service_tag("a"): 3,
        service_tag("b"): 2,
    }
    assert view.descriptors == {service_tag("a"): Descriptor("a", "h:1")}
    assert view.heartbeat is not None and view.heartbeat.sequence == 12
    assert stage.drops("stale_sequence") == 1
    received = [event.tags for event in stage.node.events() if isinstance(event, HeartbeatReceived)]
    assert received == [(service_tag("a"),), (service_tag("b"),), (service_tag("a"),)]


def test_a_service_no_longer_spoken_of_is_forgotten(stage: Stage) -> None:
    stage.meet(1)
    stage.beat(1, 1, services=(load("a"), load("b")), descriptors=(Descriptor("a", "h:1"),))
    for sequence in range(2, 12):
        stage.wait(0.5)
        stage.beat(1, sequence, services=(load("b"),))
    view = stage.view(1)
    assert set(view.services) == set(view.received) == {service_tag("b")}
    assert view.descriptors == {}


def test_a_peer_cannot_fill_memory_with_ever_new_services(stage: Stage) -> None:
    stage.meet(1)
    for sequence in range(1, 60):
        stage.now += 0.01
        names = [f"{sequence}-{n}" for n in range(8)]
        stage.beat(
            1,
            sequence,
            services=tuple(map(load, names)),
            descriptors=tuple(Descriptor(name, "") for name in names),
        )
    view = stage.view(1)
    assert set(view.services) == set(view.descriptors) == {service_tag(f"59-{n}") for n in range(8)}


def test_sequence_numbers_wrap(stage: Stage) -> None:
    stage.meet(1)
    stage.beat(1, 2**32 - 1, services=(load("a", 1),))
    stage.beat(1, 0, services=(load("a", 2),))
    assert stage.view(1).services[service_tag("a")].queue == 2


def test_a_new_incarnation_is_a_restart_and_an_old_one_is_refused(stage: Stage) -> None:
    stage.meet(1)
    stage.beat(1, 900, incarnation=5, services=(load("a", 1),))
    stage.beat(1, 1, incarnation=6, services=(load("b", 2),))
    assert PeerRestarted(stage.id(1), 6) in stage.node.events()
    assert set(stage.view(1).services) == {service_tag("b")}
    stage.beat(1, 901, incarnation=5, services=(load("a", 7),))
    assert stage.drops("stale_incarnation") == 1


def test_an_incarnation_is_remembered_across_silence(stage: Stage) -> None:
    stage.meet(1)
    stage.beat(1, 1, incarnation=5)
    stage.wait(5.0)
    assert stage.node.members == frozenset()
    stage.say(1, Ping(1))
    stage.wait(0.6)
    pings = [payload for payload in stage.heard(1) if isinstance(payload, Ping)]
    stage.node.events()
    stage.say(1, Pong(pings[-1].timestamp))
    assert stage.node.events() == [PeerJoined(stage.id(1), 5)]
    stage.beat(1, 1, incarnation=4)
    assert stage.drops("stale_incarnation") == 1
    stage.beat(1, 1, incarnation=7)
    assert PeerRestarted(stage.id(1), 7) in stage.node.events()


def test_a_node_goes_beyond_a_later_life_that_others_remember(stage: Stage) -> None:
    stage.meet(1)
    stage.beat(1, 1, echo=Echo(250, 9, heartbeat.MAX_HOLD_US))
    assert stage.node.incarnation == 251
    assert IncarnationAdopted(251) in stage.node.events()
    stage.beat(1, 2, echo=Echo(2**64 - 1, 9, 0))
    assert stage.node.incarnation == 251, "a claim that leaves no room is ignored"
    stage.beat(1, 3, echo=Echo(100, 9, 0))
    assert stage.node.incarnation == 251


def test_observations_are_kept_as_such_and_bounded_in_size(stage: Stage) -> None:
    stage.meet(1)
    stage.say(1, ThermodynamicPush(-2.5, 3.0))
    stage.say(1, GradientDiff(stage.id(2), 0.5, 1.0))
    assert stage.node.events() == [
        ObservationReceived(stage.id(1), ThermodynamicPush(-2.5, 3.0)),
        ObservationReceived(stage.id(1), GradientDiff(stage.id(2), 0.5, 1.0)),
    ]
    stage.say(1, ThermodynamicPush(1e300, 1.0))
    assert stage.drops("out_of_range") == 1
    assert stage.view(1).free_energy == -2.5
    stage.say(2, ThermodynamicPush(9.0, 1.0))
    assert stage.drops("unverified_sender") == 1


def test_free_energy_is_pushed_to_every_peer_each_second(stage: Stage) -> None:
    stage.meet(1, 2)
    stage.node.publish(LocalLoad(free_energy=-4.25, active_cells=3), stage.now)
    stage.node.datagrams()
    stage.wait(3.05)
    pushed = [payload for payload in stage.heard(2) if isinstance(payload, ThermodynamicPush)]
    assert pushed == [ThermodynamicPush(-4.25, 3.0)] * 3


def test_links_are_few_sticky_and_refilled(stage: Stage) -> None:
    stage = Stage(NodeSettings(max_links=3))
    stage.meet(1, 2, 3, 4, 5)
    assert set(stage.node.links) == {stage.id(1), stage.id(2), stage.id(3)}
    stage.say(2, Leave(0))
    free = {4, 5}
    nearest = min(free, key=lambda n: int.from_bytes(stage.id(n)) ^ int.from_bytes(stage.node.id))
    assert set(stage.node.links) == {stage.id(1), stage.id(3), stage.id(nearest)}
    stage.wait(0.5)
    beaten = {to for data, to in stage.node.datagrams() if data[4] == heartbeat.TYPE}
    assert beaten == {stage.address(1), stage.address(3), stage.address(nearest)}
    assert {view.id for view in stage.node.peers(stage.now) if view.linked} == set(stage.node.links)


def test_a_full_node_refuses_more_peers(stage: Stage) -> None:
    stage = Stage(NodeSettings(max_peers=2))
    stage.meet(1, 2)
    stage.say(3, Ping(1))
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(3) if isinstance(payload, Ping))
    stage.say(3, Pong(ping.timestamp))
    assert stage.drops("peers_full") == 1
    assert stage.node.members == {stage.id(1), stage.id(2)}


def test_a_chatty_stranger_and_a_chatty_peer_are_limited(stage: Stage) -> None:
    stage.meet(1)
    for _ in range(1000):
        stage.say(2, Ping(1))
    assert len(stage.heard(2)) <= 40
    assert stage.drops("rate_limited") >= 960
    for _ in range(2000):
        stage.say(1, Ping(1))
    assert len(stage.heard(1)) <= 800
    assert stage.drops("rate_limited") >= 960 + 1200


def test_a_flood_of_strangers_does_not_keep_a_seed_from_proving_itself(stage: Stage) -> None:
    stage.node.connect(stage.address(1), stage.now)
    stage.wait(0.0)
    (ping,) = stage.heard(1)
    assert isinstance(ping, Ping)
    for number in range(3000):
        stage.say(2, FindNode(bytes(20)), (f"10.9.{number // 250}.{number % 250 + 1}", 1))
    assert stage.drops("rate_limited") >= 1900
    stage.node.datagrams()
    stage.say(1, Pong(ping.timestamp))
    assert stage.node.members == {stage.id(1)}


def test_noise_is_counted_and_memory_stays_bounded(stage: Stage) -> None:
    noise = random.Random(3)
    stage.meet(1)
    for number in range(20_000):
        stage.now += 0.0002
        data = noise.randbytes(noise.randrange(120))
        if number % 2:
            data = b"SHVY" + bytes((noise.randrange(12),)) + data
        stage.node.receive(data, (f"10.{noise.randrange(200)}.{noise.randrange(250)}.9", 9), stage.now)
        if number % 500 == 0:
            stage.node.handle_timer(stage.now)
            stage.node.datagrams()
    assert sum(stage.node.counters.drops.values()) > 15_000
    assert len(stage.node.counters.drops) < 25
    assert len(stage.node._peering._probes) <= 256
    assert len(stage.node._strangers) <= 512
    assert len(stage.node.events()) <= 1024
    assert stage.node.members == {stage.id(1)}


def test_queues_that_nobody_drains_are_bounded(stage: Stage) -> None:
    stage = Stage(NodeSettings(max_datagrams=50, max_events=10))
    stage.meet(1)
    for sequence in range(1, 200):
        stage.now += 0.01
        stage.beat(1, sequence)
        stage.say(1, Ping(sequence))
    assert len(stage.node.datagrams()) == 50
    assert len(stage.node.events()) == 10
    assert stage.drops("send_queue_full") > 100
    assert stage.drops("events_full") > 100


def test_a_lookup_asks_members_and_finds_the_target(stage: Stage) -> None:
    stage.meet(1, 2)
    operation = stage.node.find(stage.id(9))
    assert not operation.done
    deadline = stage.node.next_deadline()
    assert deadline is not None and deadline <= stage.now
    stage.wait(0.0)
    assert FindNode(stage.id(9)) in stage.heard(1)
    stage.say(1, FoundNodes((Peer(stage.id(9), *stage.address(9)),)))
    stage.wait(0.1)
    ping = next(payload for payload in stage.heard(9) if isinstance(payload, Ping))
    stage.say(9, Pong(ping.timestamp))
    assert stage.heard(9)[-1] == FindNode(stage.id(9)), "asked as soon as it has proved itself"
    stage.say(9, FoundNodes(()))
    stage.wait(0.0)
    assert operation.done
    assert operation.result == Peer(stage.id(9), *stage.address(9))
    assert {peer.id for peer in operation.closest} == {stage.id(1), stage.id(9)}


def test_a_lookup_without_peers_ends_with_nothing(stage: Stage) -> None:
    operation = stage.node.find(stage.id(9))
    stage.wait(0.0)
    assert operation.done and operation.result is None


def test_too_many_lookups_are_refused_at_once(stage: Stage) -> None:
    operations = [stage.node.find(stage.id(9)) for _ in range(70)]
    assert sum(operation.done for operation in operations) == 6
    assert stage.drops("lookups_full") == 6


def test_traffic_is_counted_both_ways(stage: Stage) -> None:
    stage.say(1, Ping(1))
    stage.node.receive(b"noise", stage.address(1), stage.now)
    counters = stage.node.counters
    assert (counters.datagrams_received, counters.bytes_received) == (2, 33 + 5)
    assert (counters.datagrams_sent, counters.bytes_sent) == (1, 33)
    assert counters.drops == {"bad_magic": 1}
