"""What heartbeats carry, how they are merged, and what they tell of lives and links."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from shivya_daemon.core import frames, heartbeat
from shivya_daemon.core.beacon import Beacon, decode_beacon, encode_beacon
from shivya_daemon.core.events import (
    HeartbeatReceived,
    IncarnationAdopted,
    ObservationReceived,
    PeerJoined,
    PeerRestarted,
)
from shivya_daemon.core.frames import GradientDiff, Ping, Pong, ThermodynamicPush
from shivya_daemon.core.heartbeat import Descriptor, Echo, Heartbeat, NeighbourLoad, service_tag
from shivya_daemon.core.node import LocalLoad, NodeSettings

INCARNATION = 5  # of the peers


def test_heartbeats_carry_what_was_published_and_come_at_once(stage: Any) -> None:
    stage = stage.again(NodeSettings(name="edge-1"))
    stage.link(1)
    near = (NeighbourLoad(stage.id(1), 1, 1, 10.0, 0.25, 17, 2.5),)
    stage.node.publish(
        LocalLoad(
            free_energy=1.5,
            active_cells=2,
            services=(stage.load("resize", 4, near),),
            descriptors=(Descriptor("resize", "127.0.0.1:7001"),),
            conductances={stage.id(1): 0.75},
        ),
        stage.now,
    )
    stage.wait(0.05)
    (beat,) = (payload for payload in stage.heard(1) if isinstance(payload, Heartbeat))
    assert (beat.name, beat.free_energy, beat.active_cells, beat.conductance) == ("edge-1", 1.5, 2, 0.75)
    assert beat.services == (stage.load("resize", 4, near),)
    assert beat.descriptors == (Descriptor("resize", "127.0.0.1:7001"),)


def test_publication_is_at_once_but_never_faster_than_twice_the_interval(stage: Any) -> None:
    stage.link(1)
    stage.wait(0.5)
    stage.node.datagrams()
    stage.now += 0.06
    for queue in range(200):
        stage.node.publish(LocalLoad(services=(stage.load("a", queue),)), stage.now)
        stage.wait(0.001)
    beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
    assert beats[0].services[0].queue == 0
    assert 4 <= len(beats) <= 5


def test_heartbeats_go_on_without_publication_and_repeat_descriptors_each_second(stage: Any) -> None:
    stage.link(1)
    stage.node.publish(LocalLoad(descriptors=(Descriptor("a", ""),)), stage.now)
    for _ in range(20):
        stage.wait(0.5)
        stage.beat(1, sequence=round(stage.now * 10))
    beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
    assert 70 <= len(beats) <= 85
    assert 9 <= sum(bool(beat.descriptors) for beat in beats) <= 12
    numbers = [beat.sequence for beat in beats]
    assert numbers == sorted(set(numbers))


def test_a_load_too_big_for_one_datagram_arrives_in_parts(stage: Any) -> None:
    stage.link(1)
    near = tuple(NeighbourLoad(stage.id(n), n, 1, 10.0, 0.0, n, 0.0) for n in range(1, 13))
    loads = tuple(stage.load(f"s{n}", n, near) for n in range(8))
    stage.wait(0.1)
    stage.node.datagrams()
    stage.now += 0.1
    stage.node.publish(LocalLoad(services=loads), stage.now)
    sent = stage.node.datagrams()
    assert all(len(data) <= frames.MAX_DATAGRAM_BYTES for data, _ in sent)
    beats = [frames.decode(data).payload for data, _ in sent]
    assert sum((beat.services for beat in beats if isinstance(beat, Heartbeat)), ()) == loads


def told(load: Any, rate: float | None) -> Any:
    return replace(load, net_arrivals=rate)


def test_net_arrivals_travel_beside_the_record_and_fit_the_datagrams(stage: Any) -> None:
    stage.link(1)
    near = tuple(NeighbourLoad(stage.id(n), n, 1, 10.0, 0.0, n, 0.0) for n in range(1, 13))
    loads = [told(stage.load(f"s{n}", n, near), 2.0 * n if n != 3 else None) for n in range(8)]
    stage.wait(0.1)
    stage.node.datagrams()
    stage.now += 0.1
    stage.node.publish(LocalLoad(services=tuple(loads)), stage.now)
    sent = stage.node.datagrams()
    assert all(len(data) <= frames.MAX_DATAGRAM_BYTES for data, _ in sent)
    beats = [frames.decode(data).payload for data, _ in sent]
    arrived: dict[bytes, float] = {}
    for beat in beats:
        assert isinstance(beat, Heartbeat)
        here = dict(decode_beacon(beat.extension).net_arrivals)
        assert set(here) <= {load.tag for load in beat.services}, "with the services of the same frame"
        arrived |= here
    assert arrived == {service_tag(f"s{n}"): 2.0 * n for n in range(8) if n != 3}


def test_peers_that_tell_their_net_arrivals_and_peers_that_do_not_are_both_understood(stage: Any) -> None:
    stage.link(1)
    tag = service_tag("a")
    beacon = encode_beacon(Beacon(net_arrivals=((tag, 7.5), (service_tag("b"), 1.0))))
    stage.beat(1, 1, services=(stage.load("a", 1),), extension=beacon)
    assert stage.view(1).services == {tag: told(stage.load("a", 1), 7.5)}, "b is not spoken of"
    assert stage.view(1).services[tag].queue == 1
    stage.beat(1, 2, services=(stage.load("a", 2),))  # a version that knows of none
    assert stage.view(1).services == {tag: stage.load("a", 2)}
    stage.beat(1, 4, services=(stage.load("a", 4),), extension=beacon)
    late = encode_beacon(Beacon(net_arrivals=((tag, 99.0),)))
    stage.beat(1, 3, services=(stage.load("a", 3),), extension=late)  # overtaken
    assert stage.view(1).services == {tag: told(stage.load("a", 4), 7.5)}
    stage.beat(1, 5, services=(stage.load("a", 5),), extension=b"\x04\x01\x00")
    assert stage.drops("bad_value_length") == 1
    assert stage.view(1).services == {tag: stage.load("a", 5)}


def test_a_load_without_net_arrivals_is_the_frame_of_a_version_that_knows_of_none(stage: Any) -> None:
    stage.link(1)
    stage.node.publish(LocalLoad(services=(stage.load("a", 1),)), stage.now)
    stage.wait(0.2)
    beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
    assert beats and all(decode_beacon(beat.extension).net_arrivals == () for beat in beats)


def test_a_load_that_cannot_be_carried_leaves_the_old_one(stage: Any) -> None:
    stage.link(1)
    stage.node.publish(LocalLoad(services=(stage.load("a", 3),)), stage.now)
    for wrong in (
        LocalLoad(services=(stage.load("a", -1),)),
        LocalLoad(free_energy=float("nan")),
        LocalLoad(services=tuple(stage.load(f"s{n}") for n in range(9))),
        LocalLoad(conductances={stage.id(1): -1.0}),
        LocalLoad(services=(told(stage.load("a"), -1.0),)),
    ):
        with pytest.raises(frames.EncodeError):
            stage.node.publish(wrong, stage.now)
    stage.node.datagrams()
    stage.wait(0.3)
    beats = [payload for payload in stage.heard(1) if isinstance(payload, Heartbeat)]
    assert beats and all(beat.services == (stage.load("a", 3),) for beat in beats)


def test_an_echo_gives_the_round_trip_time_less_the_hold(stage: Any) -> None:
    stage.link(1)
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


def test_the_echo_names_the_last_heartbeat_and_how_long_it_was_held(stage: Any) -> None:
    stage.link(1)
    stage.wait(1.0)
    assert all(beat.echo is None for beat in stage.heard(1) if isinstance(beat, Heartbeat))
    stage.beat(1, sequence=41, incarnation=5)
    stage.now += 0.3
    stage.node.publish(LocalLoad(), stage.now)
    (beat,) = (payload for payload in stage.heard(1) if isinstance(payload, Heartbeat))
    assert beat.echo is not None
    assert (beat.echo.incarnation, beat.echo.sequence) == (5, 41)
    assert beat.echo.hold_us == pytest.approx(300_000, abs=2)


def test_loads_are_merged_by_service_and_old_ones_refused(stage: Any) -> None:
    stage.link(1)
    stage.beat(1, 10, services=(stage.load("a", 1),), descriptors=(Descriptor("a", "h:1"),))
    stage.now += 0.2
    stage.beat(1, 12, services=(stage.load("b", 2),))
    stage.beat(1, 11, services=(stage.load("a", 3), stage.load("b", 9)))  # overtaken: news of a, not of b
    stage.beat(1, 11, services=(stage.load("a", 8),))  # duplicate
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


def test_a_service_no_longer_spoken_of_is_forgotten(stage: Any) -> None:
    stage.link(1)
    stage.beat(1, 1, services=(stage.load("a"), stage.load("b")), descriptors=(Descriptor("a", "h:1"),))
    for sequence in range(2, 12):
        stage.wait(0.5)
        stage.beat(1, sequence, services=(stage.load("b"),))
    view = stage.view(1)
    assert set(view.services) == set(view.received) == {service_tag("b")}
    assert view.descriptors == {}


def test_a_peer_cannot_fill_memory_with_ever_new_services(stage: Any) -> None:
    stage.link(1)
    for sequence in range(1, 60):
        stage.now += 0.01
        names = [f"{sequence}-{n}" for n in range(8)]
        stage.beat(
            1,
            sequence,
            services=tuple(map(stage.load, names)),
            descriptors=tuple(Descriptor(name, "") for name in names),
        )
    view = stage.view(1)
    assert set(view.services) == set(view.descriptors) == {service_tag(f"59-{n}") for n in range(8)}


def test_sequence_numbers_wrap(stage: Any) -> None:
    stage.link(1)
    stage.beat(1, 2**32 - 1, services=(stage.load("a", 1),))
    stage.beat(1, 0, services=(stage.load("a", 2),))
    assert stage.view(1).services[service_tag("a")].queue == 2


def test_a_new_incarnation_is_a_restart_and_an_old_one_is_refused(stage: Any) -> None:
    stage.link(1)
    stage.beat(1, 900, incarnation=5, services=(stage.load("a", 1),))
    stage.beat(1, 1, incarnation=6, services=(stage.load("b", 2),))
    assert PeerRestarted(stage.id(1), 6) in stage.node.events()
    assert set(stage.view(1).services) == {service_tag("b")}
    stage.beat(1, 901, incarnation=5, services=(stage.load("a", 7),))
    assert stage.drops("stale_incarnation") == 1


def test_an_incarnation_is_remembered_across_silence(stage: Any) -> None:
    stage.meet(1)
    stage.beat(1, 1, incarnation=5)
    stage.wait(32.0)
    assert stage.node.members == frozenset()
    stage.node.events()
    stage.node.datagrams()
    stage.say(1, Ping(1))
    stage.wait(0.6)
    stage.say(1, Pong(stage.pinged(1).timestamp))
    assert stage.node.events() == [PeerJoined(stage.id(1), 5)]
    stage.beat(1, 1, incarnation=4)
    assert stage.drops("stale_incarnation") == 1
    stage.beat(1, 1, incarnation=7)
    assert PeerRestarted(stage.id(1), 7) in stage.node.events()


def test_a_node_goes_beyond_a_later_life_that_others_remember(stage: Any) -> None:
    stage.link(1)
    stage.beat(1, 1, echo=Echo(250, 9, heartbeat.MAX_HOLD_US))
    assert stage.node.incarnation == 251
    assert IncarnationAdopted(251) in stage.node.events()
    stage.beat(1, 2, echo=Echo(2**64 - 1, 9, 0))
    assert stage.node.incarnation == 251, "a claim that leaves no room is ignored"
    stage.beat(1, 3, echo=Echo(100, 9, 0))
    assert stage.node.incarnation == 251


def test_observations_are_kept_as_such_and_bounded_in_size(stage: Any) -> None:
    stage.link(1)
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


def test_free_energy_is_pushed_to_every_peer_each_second(stage: Any) -> None:
    stage.meet(1, 2)
    stage.node.publish(LocalLoad(free_energy=-4.25, active_cells=3), stage.now)
    stage.node.datagrams()
    stage.wait(3.05)
    pushed = [payload for payload in stage.heard(2) if isinstance(payload, ThermodynamicPush)]
    assert pushed == [ThermodynamicPush(-4.25, 3.0)] * 3
