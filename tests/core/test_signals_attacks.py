"""One node and neighbours driven by hand: what it refuses, what that costs, and what stays bounded."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.signals import (
    ActionPotential,
    Directed,
    Flood,
    Gradient,
    Kind,
    Signal,
    SignalFrame,
    SignalReceived,
    SignalRefused,
    Signals,
    SignalSettings,
    Undeliverable,
)
from shivya_daemon.core.signals.frame import sign

PEOPLE = [Identity.generate(random.Random(seed).randbytes) for seed in range(12)]
SELF, ANNA, BEN, CLEO, DORA, *OTHERS = PEOPLE


class Desk:
    """A node with the links Anna, Ben and Cleo, and a clock."""

    def __init__(self, settings: SignalSettings | None = None, **options: object) -> None:
        entropy = random.Random(5).randbytes
        self.signals = Signals(SELF, settings or SignalSettings(), entropy, 1, **options)  # type: ignore[arg-type]
        self.signals.set_links([ANNA.node_id, BEN.node_id, CLEO.node_id])
        self.now = 100.0

    def hear(self, frame: SignalFrame, via: Identity | bytes) -> str | None:
        return self.signals.receive(via if isinstance(via, bytes) else via.node_id, frame, self.now)

    def got(self) -> list[SignalReceived]:
        return [event for event in self.signals.events() if isinstance(event, SignalReceived)]

    def sent(self) -> list[bytes]:
        return [node for node, _, _ in self.signals.outgoing()]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def say(
    who: Identity,
    counter: int,
    kind: Kind | None = None,
    *,
    incarnation: int = 1,
    path: tuple[Identity | bytes, ...] = (),
    **fields: object,
) -> SignalFrame:
    """Sign a signal of `who` that came over the relays in `path`."""
    values: dict[str, object] = {"ttl": 8, "type": "alarm", "payload": b"fire"}
    number = counter.to_bytes(16, "big")
    signal = Signal(kind or Flood(), number, who.public_key, incarnation, counter, **(values | fields))  # type: ignore[arg-type]
    ids = tuple(relay if isinstance(relay, bytes) else relay.node_id for relay in path)
    return replace(sign(who, signal), path=ids)


# Forgery


def test_a_forged_signal_is_refused_and_does_not_keep_the_true_one_out(desk: Desk) -> None:
    true = say(ANNA, 1)
    forged = replace(true, signal=replace(true.signal, payload=b"calm"))
    assert desk.hear(forged, ANNA) == "bad_signature"
    ahead = replace(true, signal=replace(true.signal, counter=10**6, incarnation=99))
    assert desk.hear(ahead, ANNA) == "bad_signature"
    assert not desk.signals.outgoing()
    assert not desk.got()
    assert desk.hear(true, ANNA) is None
    assert [event.payload for event in desk.got()] == [b"fire"]
    assert desk.sent() == [BEN.node_id, CLEO.node_id]


def test_another_source_with_the_same_id_does_not_take_its_place(desk: Desk) -> None:
    assert desk.hear(say(BEN, 1, payload=b"mine"), BEN) is None
    assert desk.hear(say(ANNA, 1), ANNA) is None
    assert len(desk.got()) == 2


def test_the_path_must_end_where_the_frame_came_from(desk: Desk) -> None:
    assert desk.hear(say(DORA, 1), ANNA) == "forged_path"
    assert desk.hear(say(DORA, 1, path=(BEN,)), ANNA) == "forged_path"
    assert desk.hear(say(DORA, 1, path=(ANNA,)), ANNA) is None


def test_what_comes_back_is_dropped_before_its_signature_is_looked_at(desk: Desk) -> None:
    unsigned = replace(say(DORA, 1, path=(SELF, ANNA)), signature=bytes(64))
    assert desk.hear(unsigned, ANNA) == "looped_path"
    assert desk.hear(replace(unsigned, path=(DORA.node_id,)), DORA) == "looped_path"
    assert desk.hear(say(SELF, 7, path=(ANNA,)), ANNA) == "own_signal"


def test_the_ttl_is_the_sources_and_counts_the_links(desk: Desk) -> None:
    assert desk.hear(say(DORA, 1, ttl=1, path=(ANNA,)), ANNA) == "expired_ttl"
    assert desk.hear(say(DORA, 1, ttl=2, path=(ANNA,)), ANNA) is None
    assert [event.hops for event in desk.got()] == [2]
    assert desk.sent() == []


def test_only_allowed_sources_are_heard_by_whomever_they_come() -> None:
    desk = Desk(allow=frozenset({ANNA.node_id}))
    assert desk.hear(say(BEN, 1), BEN) == "source_not_allowed"
    assert desk.hear(say(ANNA, 1, path=(BEN,)), BEN) is None


# Replay


def test_a_replay_is_refused_however_late(desk: Desk) -> None:
    frame = say(ANNA, 1)
    assert desk.hear(frame, ANNA) is None
    desk.now += 1e6
    assert desk.hear(frame, ANNA) == "duplicate_signal"
    assert desk.hear(replace(frame, path=(BEN.node_id,)), BEN) == "duplicate_signal"
    assert desk.hear(say(ANNA, 5000), ANNA) is None
    assert desk.hear(frame, ANNA) == "stale_sequence"
    assert desk.hear(say(ANNA, 1, incarnation=2), ANNA) is None
    assert desk.hear(say(ANNA, 5001), ANNA) == "stale_incarnation"
    assert len(desk.got()) == 3


def test_signals_that_overtake_each_other_all_arrive_once() -> None:
    desk = Desk(SignalSettings(source_rate=10_000.0, verify_rate=10_000.0))
    order = list(range(200))
    random.Random(3).shuffle(order)
    frames = {number: say(ANNA, number) for number in order}
    assert all(desk.hear(frames[number], ANNA) is None for number in order)
    assert all(desk.hear(frames[number], ANNA) == "duplicate_signal" for number in order)


def test_the_largest_jump_of_a_counter_costs_nothing(desk: Desk) -> None:
    for counter in (1, 2**64 - 1):
        assert desk.hear(say(ANNA, counter), ANNA) is None
    assert desk.hear(say(ANNA, 2**64 - 2), ANNA) is None
    assert desk.hear(say(ANNA, 2), ANNA) == "stale_sequence"


# Floods


def test_forgeries_use_up_the_patience_for_their_bearer_only(desk: Desk) -> None:
    true = say(ANNA, 1)
    bad = replace(true, signature=bytes(64), path=(BEN.node_id,))
    reasons = [desk.hear(bad, BEN) for _ in range(300)]
    assert reasons == ["bad_signature"] * 200 + ["rate_limited"] * 100
    assert desk.hear(replace(true, path=(BEN.node_id,)), BEN) == "rate_limited"
    assert desk.hear(true, ANNA) is None
    desk.now += 1.0
    other = replace(say(ANNA, 2), signature=bytes(64), path=(BEN.node_id,))
    assert desk.hear(other, BEN) == "bad_signature"


def test_all_neighbours_together_are_limited_too() -> None:
    desk = Desk(SignalSettings(verify_rate=10.0, verify_total_rate=15.0))
    bad = replace(say(DORA, 1), signature=bytes(64))
    reasons = []
    for neighbour in (ANNA, BEN, CLEO):
        reasons += [desk.hear(replace(bad, path=(neighbour.node_id,)), neighbour) for _ in range(20)]
    assert reasons.count("bad_signature") == 30


def test_a_source_that_says_too_much_is_cut_and_others_are_heard(desk: Desk) -> None:
    first = say(BEN, 1)
    assert desk.hear(first, BEN) is None
    frames = [say(ANNA, number) for number in range(60)]
    reasons = [desk.hear(frame, ANNA) for frame in frames]
    assert reasons == [None] * 40 + ["rate_limited"] * 20
    # Copies of what was cut cost no signature, and nothing of Ben was forgotten for it.
    assert desk.hear(replace(frames[59], path=(CLEO.node_id,)), CLEO) == "duplicate_signal"
    assert desk.hear(first, BEN) == "duplicate_signal"
    assert desk.hear(say(BEN, 2), BEN) is None


def test_sources_are_forgotten_by_their_silence() -> None:
    desk = Desk(SignalSettings(max_sources=2))
    frames = {who: say(who, 1, path=(ANNA,)) for who in (BEN, CLEO, DORA)}
    for who in (BEN, CLEO):
        assert desk.hear(frames[who], ANNA) is None
    assert desk.hear(say(BEN, 2, path=(ANNA,)), ANNA) is None
    assert desk.hear(frames[DORA], ANNA) is None
    assert desk.hear(frames[BEN], ANNA) == "duplicate_signal"


def test_queues_are_bounded_and_their_losses_counted() -> None:
    desk = Desk(SignalSettings(max_queue=5, max_events=2))
    for number in range(3):
        assert desk.hear(say(ANNA, number), ANNA) is None
    assert len(desk.sent()) == 5
    assert len(desk.got()) == 2
    assert desk.signals.counters.drops == {"signals_full": 1, "signal_events_full": 1}


# Relays that lie


def test_a_path_made_longer_does_not_stop_a_signal(desk: Desk) -> None:
    """Ben claims that the signal has come as far as it may; Cleo's copy shows that it has not."""
    strangers = tuple(bytes((number,)) * 20 for number in range(6))
    assert desk.hear(say(DORA, 1, path=(*strangers, BEN)), BEN) is None
    assert desk.sent() == []
    assert desk.hear(say(DORA, 1, path=(CLEO,)), CLEO) is None
    assert desk.sent() == [ANNA.node_id, BEN.node_id]
    assert desk.hear(say(DORA, 1, path=(CLEO,)), CLEO) == "duplicate_signal"
    assert len(desk.got()) == 1


def test_a_shorter_copy_must_be_the_same_signal(desk: Desk) -> None:
    assert desk.hear(say(DORA, 1, path=(OTHERS[0], BEN)), BEN) is None
    short = say(DORA, 1, path=(CLEO,))
    assert desk.hear(replace(short, signal=replace(short.signal, ttl=16)), CLEO) == "duplicate_signal"
    assert desk.hear(replace(short, signature=bytes(64)), CLEO) == "duplicate_signal"
    assert desk.hear(short, CLEO) is None


def test_a_signal_does_not_go_back_to_its_source(desk: Desk) -> None:
    assert desk.hear(say(CLEO, 1, path=(BEN,)), BEN) is None
    assert desk.sent() == [ANNA.node_id]


def test_naming_a_link_in_the_path_does_not_keep_the_signal_from_it(desk: Desk) -> None:
    assert desk.hear(say(DORA, 1, path=(CLEO, BEN)), BEN) is None
    assert desk.sent() == [ANNA.node_id, CLEO.node_id]


# Gradients


def test_a_gradient_keeps_value_age_and_distance_apart(desk: Desk) -> None:
    assert desk.hear(say(DORA, 1, Gradient(0.5), path=(OTHERS[0], BEN), payload=b"7"), BEN) is None
    desk.now += 2.0
    reading = desk.signals.read_gradient("alarm", desk.now)[0]
    assert (reading.node, reading.strength, reading.age) == (DORA.node_id, 0.125, 2.0)
    assert (reading.hops, reading.payload) == (3, b"7")
    # The same signal by a shorter way is stronger, not younger; and it is passed on.
    assert desk.hear(say(DORA, 1, Gradient(0.5), path=(CLEO,), payload=b"7"), CLEO) is None
    reading = desk.signals.read_gradient("alarm", desk.now)[0]
    assert (reading.strength, reading.age) == (0.25, 2.0)
    # A later one replaces it, also when it is weaker.
    assert desk.hear(say(DORA, 2, Gradient(0.5), path=(OTHERS[0], BEN), payload=b"8"), BEN) is None
    reading = desk.signals.read_gradient("alarm", desk.now)[0]
    assert (reading.strength, reading.age, reading.payload) == (0.125, 0.0, b"8")
    # One that was overtaken does not come back.
    desk.now += 61.0
    assert desk.signals.read_gradient("alarm", desk.now) == []


def test_an_overtaken_gradient_does_not_replace_a_later_one(desk: Desk) -> None:
    assert desk.hear(say(ANNA, 2, Gradient(0.5), payload=b"new"), ANNA) is None
    assert desk.hear(say(ANNA, 1, Gradient(0.5), payload=b"old"), ANNA) is None
    assert [reading.payload for reading in desk.signals.read_gradient("alarm", desk.now)] == [b"new"]


def test_a_gradient_too_weak_is_not_passed_on(desk: Desk) -> None:
    assert desk.hear(say(ANNA, 1, Gradient(0.25)), ANNA) is None  # .0625 would be left: above .05
    assert desk.sent() == [BEN.node_id, CLEO.node_id]
    assert desk.hear(say(ANNA, 2, Gradient(0.2)), ANNA) is None  # .04
    assert desk.sent() == []


def test_a_source_displaces_only_its_own_gradients() -> None:
    desk = Desk(SignalSettings(max_gradients_per_source=3))
    assert desk.hear(say(BEN, 1, Gradient(0.5), type="kept"), BEN) is None
    for number in range(20):
        assert desk.hear(say(ANNA, number, Gradient(0.5), type=f"t{number}"), ANNA) is None
    assert len(desk.signals.read_gradient("kept", desk.now)) == 1
    assert sum(len(desk.signals.read_gradient(f"t{number}", desk.now)) for number in range(20)) == 3


# Directed


def test_a_directed_signal_goes_one_way_or_is_reported() -> None:
    ways = {DORA.node_id: BEN.node_id}
    desk = Desk(next_hop=ways.get)
    desk.signals.send(Directed(CLEO.node_id), "x", b"", desk.now)
    desk.signals.send(Directed(DORA.node_id), "x", b"", desk.now)
    assert desk.sent() == [CLEO.node_id, BEN.node_id]
    lost = desk.signals.send(Directed(OTHERS[0].node_id), "x", b"", desk.now)
    own = desk.signals.send(Directed(SELF.node_id), "x", b"me", desk.now)
    undeliverable, received = desk.signals.events()
    assert undeliverable == Undeliverable(lost, OTHERS[0].node_id)
    assert isinstance(received, SignalReceived)
    assert (received.id, received.hops, received.payload) == (own, 0, b"me")
    # As a relay: on, never back, and no further than the TTL.
    assert desk.hear(say(ANNA, 1, Directed(DORA.node_id)), ANNA) is None
    assert desk.sent() == [BEN.node_id]
    assert desk.hear(say(BEN, 1, Directed(DORA.node_id)), BEN) == "no_route"
    assert desk.hear(say(OTHERS[1], 1, Directed(DORA.node_id), path=(BEN, ANNA)), ANNA) == "no_route"
    assert desk.hear(say(ANNA, 2, Directed(OTHERS[0].node_id)), ANNA) == "no_route"
    assert desk.hear(say(ANNA, 3, Directed(DORA.node_id), ttl=1), ANNA) == "expired_ttl"
    assert desk.hear(say(ANNA, 4, Directed(SELF.node_id), ttl=1), ANNA) is None
    assert [event.source for event in desk.got()] == [ANNA.node_id]
    assert desk.sent() == []


# Action potentials


def test_a_type_rests_after_it_fired(desk: Desk) -> None:
    assert desk.hear(say(ANNA, 1, ActionPotential()), ANNA) is None
    assert desk.hear(say(BEN, 1, ActionPotential()), BEN) == "refractory"
    assert desk.hear(say(BEN, 2, ActionPotential(), type="other"), BEN) is None
    with pytest.raises(SignalRefused) as caught:
        desk.signals.send(ActionPotential(), "alarm", b"", desk.now)
    assert caught.value.reason == "refractory"
    desk.now += 1.0
    assert desk.hear(say(BEN, 1, ActionPotential(), path=(CLEO,)), CLEO) == "duplicate_signal"
    desk.signals.send(ActionPotential(3.0), "alarm", b"", desk.now)
    desk.now += 2.9
    assert desk.hear(say(BEN, 3, ActionPotential()), BEN) == "refractory"


def test_the_rest_outlasts_two_round_trips(desk: Desk) -> None:
    desk.signals.set_links([ANNA.node_id], largest_rtt=2.0)
    assert desk.hear(say(ANNA, 1, ActionPotential()), ANNA) is None
    desk.now += 3.9
    assert desk.hear(say(ANNA, 2, ActionPotential()), ANNA) == "refractory"
    desk.now += 0.2
    assert desk.hear(say(ANNA, 3, ActionPotential()), ANNA) is None


def test_many_types_at_rest_stay_bounded() -> None:
    desk = Desk(SignalSettings(max_refractory_types=2))
    for number, rest in enumerate((5.0, 0.0, 5.0)):
        frame = say(ANNA, number, ActionPotential(rest), type=f"t{number}")
        assert desk.hear(frame, ANNA) is None
    reasons = [desk.hear(say(BEN, n, ActionPotential(), type=f"t{n}"), BEN) for n in (0, 2, 1)]
    assert reasons == ["refractory", "refractory", None]


def test_what_is_urgent_goes_first_and_has_its_own_room() -> None:
    desk = Desk(SignalSettings(max_queue=3, max_events=2))
    for number in range(4):
        assert desk.hear(say(ANNA, number), ANNA) is None
    assert desk.hear(say(ANNA, 9, ActionPotential()), ANNA) is None
    assert [urgent for _, _, urgent in desk.signals.outgoing()] == [True, True, False, False, False]
    assert [type(event.kind) for event in desk.got()] == [ActionPotential, Flood, Flood]
