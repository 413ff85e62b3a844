"""The heartbeat's extension, and the chorus that it carries: over loss, partitions, restarts and replays."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core import heartbeat
from shivya_daemon.core.beacon import Beacon, Phase, decode_beacon, encode_beacon
from shivya_daemon.core.chorus import (
    ChorusSettings,
    LivePhase,
    Oscillator,
    Phases,
    kuramoto_step,
    order_parameter,
)
from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.heartbeat import Heartbeat
from shivya_kernels import phase as kernel

# The wire

phases = st.builds(
    Phase, st.floats(0, 6.25, width=32), st.floats(-1000, 1000, width=32), st.integers(0, 2**32 - 1)
)
beacons = st.builds(
    Beacon,
    phase=st.none() | phases,
    draining=st.booleans(),
    ledger_head=st.none() | st.binary(min_size=8, max_size=8),
    unknown=st.dictionaries(st.integers(5, 255), st.binary(max_size=40), max_size=5).map(
        lambda fields: tuple(sorted(fields.items()))
    ),
    flags=st.integers(0, 127).map(lambda bits: bits << 1),
    net_arrivals=st.dictionaries(
        st.binary(min_size=4, max_size=4), st.floats(0, 1e9, width=32), max_size=3
    ).map(lambda rates: tuple(rates.items())),
)


def refused(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_beacon(data)
    return caught.value.reason


@given(beacons)
def test_a_beacon_says_what_was_meant(beacon: Beacon) -> None:
    data = encode_beacon(beacon)
    assert decode_beacon(data) == beacon
    beat = Heartbeat(1, 1, extension=data)
    assert heartbeat.decode_payload(heartbeat.encode_payload(beat)).extension == data


@given(beacons, st.binary(max_size=256), st.data())
def test_noise_is_refused_or_means_what_it_says(beacon: Beacon, noise: bytes, data: st.DataObject) -> None:
    whole = bytearray(encode_beacon(beacon))
    if whole:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    for candidate in (noise, bytes(whole)):
        try:
            decoded = decode_beacon(candidate)
        except DecodeError:
            continue
        assert encode_beacon(decoded) == candidate


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("01", "truncated"),
        ("010c00", "truncated"),
        ("0901aa0901aa", "repeated_entry"),
        ("0901aa0801aa", "repeated_entry"),
        ("010400000000", "bad_value_length"),
        ("010c" + "7fc00000" + "00000000" + "00000001", "not_finite"),
        ("010c" + "40c90fdc" + "00000000" + "00000001", "out_of_range"),  # just above 2 pi
        ("010c" + "80000000" + "00000000" + "00000001", "out_of_range"),  # a second zero
        ("010c" + "00000000" + "ff800000" + "00000001", "not_finite"),
        ("010c" + "00000000" + "447a0001" + "00000001", "out_of_range"),
        ("020100", "bad_flag"),
        ("02020101", "bad_flag"),
        ("0301aa", "bad_value_length"),
        ("0400", "bad_value_length"),
        ("0407" + "00" * 7, "bad_value_length"),
        ("0448" + "".join(f"{n:08x}00000000" for n in range(9)), "bad_value_length"),
        ("0408" + "aaaaaaaa" + "7fc00000", "not_finite"),
        ("0408" + "aaaaaaaa" + "bf800000", "out_of_range"),
        ("0410" + 2 * ("aaaaaaaa" + "3f800000"), "repeated_entry"),
        ("04ff" + "00" * 255, "oversized"),
    ],
)
def test_each_field_is_bounded(text: str, reason: str) -> None:
    assert refused(bytes.fromhex(text)) == reason


@pytest.mark.parametrize("theta", [-1.0, 0.0, 7.0, 1e9, math.tau, math.nextafter(math.tau, 0), -1e-300])
def test_a_phase_is_wrapped_before_it_travels(theta: float) -> None:
    told = decode_beacon(encode_beacon(Beacon(Phase(theta, 1.0, 0)))).phase
    assert told is not None
    assert math.cos(told.theta - theta) > 1 - 1e-9
    assert decode_beacon(encode_beacon(Beacon(told))).phase == told


@pytest.mark.parametrize(
    "beacon",
    [
        Beacon(Phase(math.nan, 0.0, 0)),
        Beacon(Phase(0.0, math.inf, 0)),
        Beacon(Phase(0.0, 0.0, 2**32)),
        Beacon(ledger_head=b"short"),
        Beacon(unknown=((1, b""),)),
        Beacon(unknown=((9, b""), (9, b""))),
        Beacon(unknown=((9, bytes(256)),)),
        Beacon(unknown=((8, bytes(200)), (9, bytes(200)))),
        Beacon(flags=1),
        Beacon(flags=256),
        Beacon(net_arrivals=((b"four", -1.0),)),
        Beacon(net_arrivals=((b"four", math.nan),)),
        Beacon(net_arrivals=((b"five!", 1.0),)),
        Beacon(net_arrivals=((b"four", 1.0), (b"four", 2.0))),
    ],
)
def test_what_cannot_be_said_is_not(beacon: Beacon) -> None:
    with pytest.raises(EncodeError):
        encode_beacon(beacon)


# The law


def test_one_oscillator_steps_as_the_kernel_does() -> None:
    """A row of weights for the one, none for its peers, which then run freely: as between two beacons."""
    source = np.random.default_rng(3)
    with jax.enable_x64(True):
        for size in (1, 2, 7, 13):
            theta, omega = source.uniform(0, math.tau, size), source.normal(0, 2, size)
            weights = np.zeros((size, size))
            weights[0] = 1.0
            expected = kernel.kuramoto_step(theta, omega, 2.5, 0.1, weights)[0]
            ours = kuramoto_step(theta[0], omega[0], list(zip(theta[1:], omega[1:], strict=True)), 0.1, 2.5)
            assert math.remainder(ours - float(expected), math.tau) == pytest.approx(0, abs=1e-12)
            assert order_parameter(theta) == pytest.approx(float(kernel.order_parameter(theta)), abs=1e-12)
    assert order_parameter([]) == 0.0


def test_a_longer_time_is_cut_into_steps_in_which_peers_run_on() -> None:
    settings = ChorusSettings(omega=0.5, max_step=0.1)
    theta, omega = np.array([1.0, 2.5, 4.0]), np.array([0.5, 3.0, -2.0])
    now = theta + 0.4 * omega
    peers = [LivePhase(bytes((n,)), float(now[n]), float(omega[n])) for n in (1, 2)]
    ours = Oscillator(settings, 1.0, 0.0).advance(peers, 0.4)
    weights = np.zeros((3, 3))
    weights[0] = 1.0
    with jax.enable_x64(True):
        for _ in range(4):
            theta = np.asarray(kernel.kuramoto_step(theta, omega, 2.5, 0.1, weights))
    assert math.remainder(ours - theta[0], math.tau) == pytest.approx(0, abs=1e-12)


def test_a_clique_follows_the_kernels_trajectory() -> None:
    source = np.random.default_rng(4)
    theta, omega = source.uniform(0, math.tau, 6), source.normal(1, 0.5, 6)
    settings = [ChorusSettings(omega=float(each)) for each in omega]
    oscillators = [Oscillator(each, float(at), 0.0) for each, at in zip(settings, theta, strict=True)]
    dt, steps = 0.002, 500
    with jax.enable_x64(True):
        for step in range(1, steps + 1):
            theta = np.asarray(kernel.kuramoto_step(theta, omega, 2.5, dt))
            live = [
                LivePhase(bytes((n,)), oscillator.theta + omega[n] * dt, float(omega[n]))
                for n, oscillator in enumerate(oscillators)
            ]
            for n, oscillator in enumerate(oscillators):
                oscillator.advance(live[:n] + live[n + 1 :], step * dt)
    for oscillator, expected in zip(oscillators, theta, strict=True):
        # What a peer does within a step is not known here: an error of first order in the step.
        assert math.remainder(oscillator.theta - expected, math.tau) == pytest.approx(0, abs=5 * dt)


# What is believed


def told(theta: float = 1.0, counter: int = 1, omega: float = 0.0) -> Phase:
    return Phase(theta, omega, counter)


def test_only_what_is_newer_is_taken() -> None:
    phases = Phases(ChorusSettings())
    assert phases.hear(b"a", 5, told(counter=7), 0.0) is None
    assert phases.hear(b"a", 5, told(2.0, counter=7), 0.1) == "stale_sequence"
    assert phases.hear(b"a", 5, told(2.0, counter=6), 0.1) == "stale_sequence"
    assert phases.hear(b"a", 4, told(2.0, counter=99), 0.1) == "stale_incarnation"
    assert [peer.theta for peer in phases.live(0.1)] == [1.0]
    # A restarted peer counts from the start again, and one that paused may be any number ahead.
    assert phases.hear(b"a", 6, told(3.0, counter=1), 0.2) is None
    assert phases.hear(b"a", 6, told(4.0, counter=10**9), 0.3) is None
    assert [peer.theta for peer in phases.live(0.3)] == [4.0]
    wrapped = Phases(ChorusSettings())
    assert wrapped.hear(b"a", 1, told(counter=2**32 - 1), 0.0) is None
    assert wrapped.hear(b"a", 1, told(counter=0), 0.1) is None


def test_a_silent_peer_leaves_the_sum_but_its_past_stays_refused() -> None:
    phases = Phases(ChorusSettings(peer_ttl=1.0))
    phases.hear(b"a", 1, told(counter=1), 0.0)
    phases.hear(b"b", 1, told(counter=1), 0.5)
    assert [peer.node for peer in phases.live(1.0)] == [b"a", b"b"]
    assert [peer.node for peer in phases.live(1.2)] == [b"b"]
    assert phases.live(9.0) == []
    assert phases.hear(b"a", 1, told(counter=1), 9.0) == "stale_sequence"
    assert phases.live(9.0) == []
    assert phases.hear(b"a", 1, told(counter=2), 9.0) is None
    assert [peer.node for peer in phases.live(9.0)] == [b"a"]


def test_a_phase_runs_on_between_beacons() -> None:
    phases = Phases(ChorusSettings())
    phases.hear(b"a", 1, told(6.0, omega=2.0), 10.0, transit=0.1)
    (peer,) = phases.live(10.4)
    assert peer.theta == pytest.approx(6.0 + 2.0 * 0.5 - math.tau)
    assert peer.omega == 2.0


def test_peers_are_bounded() -> None:
    phases = Phases(ChorusSettings(max_peers=3))
    for number in range(10):
        phases.hear(bytes((number,)), 1, told(), 0.1 * number)
    assert len(phases) == 3
    assert [peer.node[0] for peer in phases.live(1.0)] == [7, 8, 9]


def test_after_a_pause_no_old_phase_pulls_for_longer_than_its_ttl() -> None:
    settings = ChorusSettings(omega=0.0, peer_ttl=1.0)
    paused, prompt = (Oscillator(settings, 1.0, now) for now in (0.0, 99.0))
    peers = [LivePhase(b"a", 0.0, 0.0)]
    assert paused.advance(peers, 100.0) == pytest.approx(prompt.advance(peers, 100.0))
    assert paused.advance(peers, 50.0) == paused.theta  # a clock that steps back changes nothing


# Many


class Chorus:
    """Oscillators that tell their neighbours ten times a second, with loss, delay and their own timing."""

    def __init__(self, size: int, spread: float, *, seed: int = 1, loss: float = 0.2) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.now = 0.0
        self.hears: Callable[[int, int], bool] = lambda sender, receiver: True
        self.settings = ChorusSettings(omega=1.0)
        self.incarnations = [1] * size
        self.recorded: list[tuple[int, int, bytes]] = []
        self.drops: list[str] = []
        self.oscillators: list[Oscillator] = []
        self.phases: list[Phases] = []
        for _ in range(size):
            self.join(self.random.uniform(0, spread))

    def join(self, theta: float) -> None:
        frequency = 1.0 + self.random.uniform(-0.05, 0.05)
        settings = ChorusSettings(omega=frequency)
        self.oscillators.append(Oscillator(settings, theta, self.now))
        self.phases.append(Phases(settings))
        if len(self.incarnations) < len(self.oscillators):
            self.incarnations.append(1)

    def restart(self, node: int, theta: float) -> None:
        self.incarnations[node] += 1
        self.oscillators[node] = Oscillator(self.settings, theta, self.now)
        self.phases[node] = Phases(self.settings)

    def run(self, seconds: float) -> None:
        """Every node beats once in each tenth of a second, in an order of chance."""
        for _ in range(round(seconds * 10)):
            order = self.random.sample(range(len(self.oscillators)), len(self.oscillators))
            for sender in order:
                self.now += 0.1 / len(order)
                oscillator = self.oscillators[sender]
                oscillator.advance(self.phases[sender].live(self.now), self.now)
                data = encode_beacon(Beacon(oscillator.tell()))
                self.recorded.append((sender, self.incarnations[sender], data))
                for receiver in range(len(self.oscillators)):
                    heard = receiver != sender and self.hears(sender, receiver)
                    if heard and self.random.random() >= self.loss:
                        self.tell(sender, receiver, self.incarnations[sender], data)

    def tell(self, sender: int, receiver: int, incarnation: int, data: bytes) -> None:
        phase = decode_beacon(data).phase
        assert phase is not None
        reason = self.phases[receiver].hear(bytes((sender,)), incarnation, phase, self.now)
        if reason is not None:
            self.drops.append(reason)

    def order(self, *nodes: int) -> float:
        """Of some nodes, or all, at one moment."""
        chosen = nodes or tuple(range(len(self.oscillators)))
        for node in chosen:
            self.oscillators[node].advance(self.phases[node].live(self.now), self.now)
        return order_parameter(self.oscillators[node].theta for node in chosen)


def test_a_lossy_clique_comes_together() -> None:
    chorus = Chorus(20, math.tau)
    assert chorus.order() < 0.5
    chorus.run(20)
    assert chorus.order() > 0.99
    assert chorus.drops == []


def test_a_lossy_ring_comes_together() -> None:
    """From within half a circle: from anywhere, a ring may also settle with its phases in a twist."""
    chorus = Chorus(20, 3.0)
    chorus.hears = lambda a, b: (a - b) % 20 in (1, 19)
    chorus.run(60)
    assert chorus.order() > 0.99


def test_a_partition_has_two_beats_and_heals() -> None:
    chorus = Chorus(20, math.tau, seed=3)
    left, right = tuple(range(10)), tuple(range(10, 20))
    for node in right:
        chorus.oscillators[node].theta = (chorus.oscillators[node].theta / 8 + math.pi) % math.tau
    for node in left:
        chorus.oscillators[node].theta /= 8
    chorus.hears = lambda a, b: (a < 10) == (b < 10)
    chorus.run(10)
    assert min(chorus.order(*left), chorus.order(*right)) > 0.99
    assert chorus.order() < 0.6
    chorus.hears = lambda a, b: True
    chorus.run(20)
    assert chorus.order() > 0.99


def test_late_and_restarted_nodes_are_taken_in_at_once() -> None:
    chorus = Chorus(6, 1.0)
    chorus.run(60)  # 600 beacons ahead of whoever starts now
    chorus.join(chorus.oscillators[0].theta + 2.0)
    chorus.restart(1, chorus.oscillators[0].theta + 2.0)
    chorus.run(0.5)
    for node in range(2, 6):
        heard = {peer.node[0] for peer in chorus.phases[node].live(chorus.now)}
        assert heard == set(range(7)) - {node}
    chorus.run(10)
    assert chorus.order() > 0.99


def test_replayed_beacons_change_nothing() -> None:
    chorus = Chorus(5, 3.0, loss=0.0)
    chorus.run(5)
    chorus.restart(2, 0.0)
    chorus.run(1)
    before = [phases.live(chorus.now) for phases in chorus.phases]
    for sender, incarnation, data in chorus.recorded:
        for receiver in set(range(5)) - {sender}:
            chorus.tell(sender, receiver, incarnation, data)
    assert [phases.live(chorus.now) for phases in chorus.phases] == before
    # The node that restarted has no past to compare with; the newest it heard is the present.
    assert set(chorus.drops) == {"stale_sequence", "stale_incarnation"}


def test_a_dead_node_stops_pulling() -> None:
    chorus = Chorus(4, 0.0, loss=0.0)
    chorus.run(2)
    ghost = Phase(chorus.oscillators[0].theta + math.pi / 2, 1.0, 2**31 - 1)
    for phases in chorus.phases:
        phases.hear(b"ghost", 1, ghost, chorus.now)
    chorus.run(1.1)
    assert all(b"ghost" not in {peer.node for peer in each.live(chorus.now)} for each in chorus.phases)
    chorus.run(5)
    assert chorus.order() > 0.99
