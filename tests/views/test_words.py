"""The words in which every view says the same."""

from __future__ import annotations

import pytest

from shivya_daemon.views.words import duration, finite, health, number, plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (float("nan"), "-"), (0.0, "0.0 ms"), (0.00042, "0.4 ms"), (0.012, "12 ms"),
        (0.0995, "0.1 s"), (1.46, "1.5 s"), (59.6, "1m00s"), (200, "3m20s"), (3599.7, "1h00m"),
        (7500, "2h05m"), (3 * 86400 + 4 * 3600, "3d04h"), (float("inf"), "-"),
    ],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0"), (-0.0001, "-0.0001"), (1e-12, "0"), (2.5, "2.5"), (100, "100"),
        (1.23456, "1.235"), (1e12, "1e+12"), (-1e-12, "0"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


def test_plain_is_one_line_of_bounded_length():
    assert plain("a\nb\x1b") == "a?b?"
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert plain("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    ("law", "status", "word"),
    [
        ("starting", ("x",), "starting"),
        ("failed", (), "failed"),
        ("running", ("x",), "degraded"),
        ("running", (), "ok"),
        ("off", (), "ok"),
        ("off", ("x",), "degraded"),
    ],
)
def test_health_prefers_the_law(law, status, word):
    assert health(law, status) == word


def test_a_document_without_infinities_is_one_for_json():
    nan, infinity = float("nan"), float("inf")
    found = finite({"a": nan, "b": [1.5, (-infinity, "x")], "c": None, "d": True})
    assert found == {"a": None, "b": [1.5, [None, "x"]], "c": None, "d": True}
