from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from shivya_daemon.snapshot import CellRow, FlowRow, LinkRow, PeerRow, Snapshot
from shivya_daemon.views.tui import Tui, render
from shivya_daemon.views.words import duration, health, number, plain

SIZES = ((80, 24), (200, 50), (132, 10), (40, 8))


def identifier(i: int) -> str:
    return f"{i:02x}" * 20


def snapshot(peers: int = 3, cells: int = 2, flows: int = 2, /, **changes) -> Snapshot:
    base = Snapshot(
        node_id=identifier(171),
        name="edge-0",
        version="0.5.0",
        address="127.0.0.1:8085",
        port=8085,
        uptime_seconds=3723.0,
        law="running",
        tick=1234,
        tick_seconds_p50=0.0008,
        collective_free_energy=-1.25,
        curl_norm=0.5,
        harmonic_norm=0.25,
        peers=tuple(
            PeerRow(identifier(i), f"edge-{i}", f"127.0.0.1:{i}", 0.0012, 0.05, queue=i, service_rate=10.0)
            for i in range(1, peers + 1)
        ),
        links=tuple(
            LinkRow(
                identifier(i), f"edge-{i}", f"127.0.0.1:{i}", 0.0012, 0.05, conductance=1.5, reported=0.75
            )
            for i in range(1, min(peers, 2) + 1)
        ),
        cells=tuple(
            CellRow(str(i), f"work-{i}", 200 + i, 4, 20.0, 25.0, 10.0, 2.5, 3.5, 1.0, 1.0)
            for i in range(cells)
        ),
        flows=tuple(FlowRow(identifier(i), f"edge-{i}", "work-0", 60.0 + i) for i in range(1, flows + 1)),
        traffic={"datagrams_in": 1200, "jobs_sent": 5},
        drops={"bad_frame": 2, "replay": 0},
        host={"cpu": 0.25, "memory": 0.5},
    )
    return replace(base, **changes)


def drawn(picture: Snapshot, width: int, height: int) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(render(picture, width, height))
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_everything_is_on_the_screen(width, height):
    text = drawn(snapshot(status=("NOT_CONVERGED: raise max_iterations",)), width, height)
    parts = [
        *("edge-0", "abababab", "DEGRADED", "up 1h02m", "running", "tick 1234", "-1.25", "cpu 25%"),
        *("work-1", "201", "10.0 s", "2.5 s", "3.5", "edge-3", "03030303", "1.2 ms", "50 ms", "1.5", "0.75"),
        *("HAND OVER TO", "62", "bad_frame 2", "NOT_CONVERGED: raise max_iterations"),
    ]
    assert [part for part in parts if part not in text] == []
    assert "replay" not in text


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [0, 1, 5, 64])
def test_the_screen_is_never_exceeded(width, height, count):
    picture = snapshot(count, min(count, 16), count, status=("long remedy " * 20,) if height > 10 else ())
    lines = drawn(picture, width, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_what_does_not_fit_is_counted(width, height):
    text = drawn(snapshot(64, 2, 3), width, height)
    shown = sum(f" {identifier(i)[:8]} " in text for i in range(1, 65))
    assert shown > 5
    assert f"and {64 - shown} more" in text
    assert "edge-3" in text  # the short table is not crowded out by the long one


def test_linked_peers_stand_first_and_the_largest_flow_too():
    picture = snapshot(3, 1, 3)
    picture = replace(picture, links=picture.links[1:], peers=picture.peers[::-1])
    lines = drawn(picture, 80, 24).splitlines()
    peers = [line.split()[0] for line in lines if "1.2 ms" in line]
    assert peers == ["edge-2", "edge-1", "edge-3"]
    assert lines[next(i for i, line in enumerate(lines) if "HAND OVER" in line) + 1].split()[-1] == "63"


def test_an_empty_node_says_so():
    text = drawn(snapshot(0, 0, 0, law="starting", tick_seconds_p50=None, drops={}), 80, 24)
    assert "STARTING" in text
    assert text.count("none") == 4


HOSTILE = "[red]a[/red]\x1b[2J\x07\nb\u202e\x9b"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_names_of_peers_are_neither_markup_nor_control(width, height):
    picture = snapshot(
        1,
        peers=(PeerRow("\x1b[31m", HOSTILE, HOSTILE, None, 0.1),),
        flows=(FlowRow("x", HOSTILE, HOSTILE, 1.0),),
        links=(),
        drops={HOSTILE: 1},
        status=(HOSTILE,),
    )
    text = drawn(picture, width, height)
    assert "[red]a[/red]?[2J" in text
    assert not set(text) & set("\x1b\x07\u202e\x9b")


def test_without_colour_nothing_but_text_is_written(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system="truecolor")
    console.print(render(snapshot(), 80, 24))
    assert "\x1b[3" not in console.file.getvalue()
    assert "OK" in console.file.getvalue()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_the_terminal_is_given_back(fails):
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    try:
        with Tui(console) as screen:
            screen.update(snapshot())
            screen.update(snapshot(tick=99))
            assert "\x1b[?1049h" in out.getvalue()
            assert "tick 99" in out.getvalue()
            assert "\x1b[?1049l" not in out.getvalue()
            if fails:
                raise Stopped
    except Stopped:
        assert fails
    assert out.getvalue().count("\x1b[?1049l") == 1
    assert "\x1b[?25h" in out.getvalue()


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
    ],
)
def test_health_prefers_the_law(law, status, word):
    assert health(law, status) == word
