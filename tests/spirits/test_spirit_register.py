"""The register: its bytes, its order, and what no node writes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.spirits.keeper import Keeper
from shivya_daemon.spirits.register import MAX_COUNTER, UNIT, Part, Register, decode, encode
from shivya_daemon.spirits.settings import LIMITS, Settings, from_manifest
from shivya_daemon.spirits.steps import MOST, STEP, Steps

A, B = b"a" * 20, b"b" * 20
DIGEST = bytes(range(32))
FIRST = Register().summon(A, "physarum", DIGEST, Settings(2.0, 0.5, 0.25))
PART = Part(200, 300, 7 * UNIT)

settings = st.builds(
    Settings,
    *(
        st.integers(round(least * 1000), round(most * 1000)).map(lambda x: x / 1000)
        for least, most in LIMITS.values()
    ),
)


def test_a_register_is_these_bytes() -> None:
    value = encode(FIRST, PART)
    assert value.hex() == (
        "01" + "03" + "0000000000000001" + A.hex() + FIRST.organism.hex() + DIGEST.hex()
        + "08" + b"physarum".hex() + "07d0" + "01f4" + "00fa" + "00c8" + "012c" + "00000001a13b8600"
    )  # fmt: skip
    assert decode(value) == (FIRST, PART)
    assert decode(encode(FIRST, None)) == (FIRST, None)
    longest = replace(FIRST, name="p" * 32)
    assert len(encode(longest, PART)) == 121


@given(settings, st.booleans(), st.integers(1, MAX_COUNTER), st.text("abc-", min_size=1, max_size=32))
def test_what_is_written_is_read(chosen: Settings, summoned: bool, counter: int, name: str) -> None:
    register = Register(counter, B, summoned, name, DIGEST, b"organism", chosen)
    assert decode(encode(register, PART)) == (register, PART)


@given(st.binary(max_size=140))
def test_any_bytes_are_refused_or_read_back(value: bytes) -> None:
    try:
        register, part = decode(value)
    except DecodeError:
        return
    assert encode(register, part) == value


@pytest.mark.parametrize(
    ("at", "byte", "reason"),
    [(0, 2, "bad_version"), (1, 4, "bad_flags"), (9, 0, "out_of_range"), (2, 1, "out_of_range")],
)
def test_what_no_node_writes_is_refused(at: int, byte: int, reason: str) -> None:
    value = bytearray(encode(FIRST, PART))
    value[at] = byte
    with pytest.raises(DecodeError) as error:
        decode(bytes(value))
    assert error.value.reason == reason
    for broken in (value[:40], value[:-1], value + b"x"):
        with pytest.raises(DecodeError):
            decode(bytes(encode(FIRST, PART)[: len(broken)] + b"x" * max(0, len(broken) - len(value))))


def test_the_last_writer_wins_wherever_it_is_heard() -> None:
    tuned = FIRST.tune(B, Settings(3.0))
    rival = FIRST.dismiss(A)
    assert tuned.counter == rival.counter == 2 and tuned.organism == FIRST.organism
    for order in ((FIRST, tuned, rival), (rival, FIRST, tuned), (tuned, rival, FIRST)):
        keeper = Keeper()
        for number, register in enumerate(order):
            keeper.hear(bytes([number]) * 20, encode(register, None))
        assert keeper.register == tuned, "of two with one counter, that of the higher id"
    again = tuned.dismiss(A).summon(A, "physarum", DIGEST, Settings())
    assert again.organism != FIRST.organism
    with pytest.raises(OverflowError, match="start them again"):
        replace(FIRST, counter=MAX_COUNTER).dismiss(A)


def test_totals_are_of_living_nodes_with_the_same_organism() -> None:
    keeper = Keeper()
    keeper.write(FIRST)
    keeper.hear(A, encode(FIRST, PART))
    keeper.hear(B, encode(FIRST, None))
    other = replace(FIRST, organism=bytes(8), counter=1, author=bytes(20))
    keeper.hear(b"c" * 20, encode(other, PART))
    totals = keeper.totals(Part(1, 2, UNIT), {A, B, b"c" * 20})
    assert (totals.nodes, totals.cells, totals.tubes, totals.nutrient) == (2, 201, 302, 8.0)
    assert keeper.totals(None, {B}).nodes == 0
    assert not keeper.hear(A, b"")
    assert keeper.totals(None, {A}).nodes == 0


def test_settings_have_bounds_and_defaults_come_from_the_manifest() -> None:
    with pytest.raises(ValueError, match=r"speed must be from 0.1 to 10"):
        Settings(speed=11.0)
    assert from_manifest({"speed": 2, "glow": 0.6, "decay": 0.2, "exploration": True}) == Settings(
        2.0, 0.3, 0.2
    )
    assert Settings(1 / 3).speed == 0.333


def test_rounds_follow_the_clock_and_never_make_up_in_a_burst() -> None:
    steps, done = Steps(0.0), 0
    for tick in range(1, 401):
        rounds, dt = steps.due(1.0, tick * 0.1)
        assert dt == rounds * STEP
        done += rounds
    assert done == 160 and steps.left_out == 0.0
    assert steps.due(10.0, 100.0)[0] == MOST and steps.left_out > 500.0
    assert steps.due(1.0, 100.01)[0] == 0
    assert 0.1 <= steps.wait(1.0, 100.01) <= 0.25
