"""The persistent map against a dictionary."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shivya_daemon.ledgers.credits.persistent import Map

# Few different bytes, so that keys share long beginnings and meet again.
KEYS = st.binary(min_size=3, max_size=3).map(lambda key: bytes(b & 0x11 for b in key))
STEPS = st.lists(st.tuples(KEYS, st.none() | st.integers()), max_size=60)


@settings(deadline=None)
@given(STEPS)
def test_it_is_a_dictionary_whose_past_stays(steps: list[tuple[bytes, int | None]]) -> None:
    model: dict[bytes, int] = {}
    made: Map[int] = Map()
    past: list[tuple[Map[int], dict[bytes, int]]] = []
    for key, value in steps:
        past.append((made, dict(model)))
        if value is None:
            made = made.without(key)
            model.pop(key, None)
        else:
            made = made.set(key, value)
            model[key] = value
    for version, then in [*past, (made, model)]:
        assert list(version.items()) == sorted(then.items())
        assert len(version) == len(then)
        assert all(version.get(key) == then.get(key) for key, _ in steps)
        assert version == Map(dict(reversed(then.items()))), "the same content is the same map"


def test_keys_that_differ_in_the_last_bit_only() -> None:
    low, high = bytes(31) + b"\x00", bytes(31) + b"\x01"
    both = Map({low: "low", high: "high"})
    assert both.get(low) == "low" and both.get(high) == "high"
    assert both.without(high) == Map({low: "low"})
    assert both.without(low).without(high) == Map()
    assert b"\x01" * 32 not in both
