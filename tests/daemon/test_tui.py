"""The screen: what stands on it at every size, which keys change it, and a terminal that is given back."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from tui_scenes import ENERGIES, identifier, snapshot

from shivya_daemon.snapshot import CellRow, FlowRow, PeerRow, Snapshot
from shivya_daemon.views import keys
from shivya_daemon.views.history import SECONDS, History
from shivya_daemon.views.looking import PAGES, View, press
from shivya_daemon.views.pace import LEAST, MOST, Pace
from shivya_daemon.views.screen import render
from shivya_daemon.views.strokes import ASCII, bar, chart, ring, strip
from shivya_daemon.views.tui import Tui, frame

SIZES = ((80, 24), (200, 50), (132, 10), (40, 8), (20, 4), (132, 36))
GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def drawn(picture: Snapshot, width: int, height: int, **how) -> str:
    return "\n".join(text.plain for text in render(picture, width, height, energies=ENERGIES, **how))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_frames_are_as_they_were_agreed(width, height):
    """A change of the screen is made by hand here too: SHIVYA_GOLDEN=write writes the frames anew."""
    file = GOLDEN / f"tui-{width}x{height}.txt"
    picture = snapshot(status=("NOT_CONVERGED: raise max_iterations",))
    text = drawn(picture, width, height, view=View(keys=True))
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    if os.environ.get("SHIVYA_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_everything_is_on_the_screen(width, height):
    text = drawn(snapshot(status=("NOT_CONVERGED: raise max_iterations",)), width, height)
    parts = [
        *("edge-0", "abababab", "DEGRADED", "up 1h02m", "running", "tick 1234", "-1.25", "25%"),
        *("work-1", "201", "10.0 s", "2.5 s", "3.5", "edge-3", "1.2 ms", "50 ms", "1.5", "0.75", "62"),
        *("90%", "0.9 last", "shed", "APPLY_BALANCE", "0.65", "0.96", "▁", "→███"),
        *("2", "NOT_CONVERGED: raise max_iterations"),
    ]
    assert [part for part in parts if part not in text] == []
    assert "replay" not in text


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [0, 1, 5, 64])
@pytest.mark.parametrize("page", PAGES)
def test_the_screen_is_filled_and_never_exceeded(width, height, count, page):
    remedies = ("long remedy " * 20,) * 5 if height > 10 else ()
    picture = snapshot(count, min(count, 16), count, status=remedies)
    lines = render(picture, width, height, view=View(page=page, keys=True), energies=ENERGIES)
    assert len(lines) == height
    assert {line.cell_len for line in lines} == {width}


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_what_does_not_fit_is_counted(width, height):
    text = drawn(snapshot(64, 2, 3), width, height)
    shown = sum(f"edge-{i} " in text for i in range(1, 65))
    assert shown > 5
    assert f"and {64 - shown} more" in text


def test_linked_peers_stand_first_and_the_largest_flow_too():
    picture = snapshot(3, 1, 3)
    picture = replace(picture, links=picture.links[1:], peers=picture.peers[::-1])
    peers = [line.split()[0] for line in drawn(picture, 80, 24).splitlines() if "1.2 ms" in line]
    assert peers == ["edge-2", "edge-1", "edge-3"]
    flows = drawn(picture, 80, 24, view=View(page="flows")).splitlines()
    assert [line.split()[2] for line in flows if "work-0" in line] == ["63", "62", "61"]


def test_an_open_breaker_stands_where_the_conductance_would():
    picture = snapshot()
    links = (replace(picture.links[0], breaker="half-open"), *picture.links[1:])
    text = drawn(replace(picture, links=links), 80, 24)
    assert text.count("half-open") == 1


def test_a_spirit_is_named_where_one_lives():
    assert "spirit" not in drawn(snapshot(), 132, 36)
    lives = {"name": "physarum", "panel": {"cells": 143, "nodes": 3}}
    assert "spirit physarum 143 cells, 3 nodes" in drawn(snapshot(spirit=lives), 132, 36)
    assert "spirit" not in drawn(snapshot(spirit={"name": "physarum", "panel": None}), 132, 36)


def test_an_empty_node_says_so():
    picture = snapshot(0, 0, 0, law="starting", tick_seconds_p50=None, drops={}, guard=None, phase=None)
    text = drawn(picture, 80, 24)
    assert "STARTING" in text
    assert text.count("none") == 5
    for page in PAGES:
        assert "STARTING" in drawn(picture, 80, 24, view=View(page=page))


def test_a_node_that_went_is_shown_as_it_was():
    text = drawn(snapshot(), 80, 24, gone=12.0)
    assert "GONE" in text and "12.0 s" in text and "work-1" in text


HOSTILE = "[red]a[/red]\x1b[2J\x07\nb\u202e\x9b"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
@pytest.mark.parametrize("page", PAGES)
def test_names_of_peers_are_neither_markup_nor_control(width, height, page):
    guard = {"action": HOSTILE, "kinds": {HOSTILE: 1}, "peers": [{"name": HOSTILE, "state": HOSTILE}, 7]}
    picture = snapshot(
        1,
        peers=(PeerRow("\x1b[31m", HOSTILE, HOSTILE, None, 0.1),),
        flows=(FlowRow("x", HOSTILE, HOSTILE, 1.0),),
        links=(),
        drops={HOSTILE: 1},
        status=(HOSTILE,),
        guard=guard,
    )
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    lines = render(picture, width, height, view=View(page=page, filter="", keys=True))
    text = "".join(frame(console, lines))
    assert "[red]a[/red]?[2J" in text
    assert not set(text) & set("\x1b\x07\u202e\x9b\n")


def test_wide_characters_take_the_columns_they_take():
    picture = snapshot(1, peers=(PeerRow(identifier(1), "節点" * 20, "x", 0.001, 0.1),), links=(), flows=())
    lines = render(picture, 80, 24)
    assert {line.cell_len for line in lines} == {80}


def test_numbers_that_are_none_are_shown_as_such():
    nan = float("nan")
    cell = CellRow("1", "w", 1, 1, nan, nan, nan, nan, nan, nan, nan, (nan,) * 8)
    picture = snapshot(1, cells=(cell,), curl_norm=nan, collective_free_energy=nan, phase={"theta": nan})
    for width, height in SIZES:
        for page in PAGES:
            assert drawn(picture, width, height, view=View(page=page))


def test_a_terminal_without_blocks_gets_ascii():
    for page in PAGES:
        assert drawn(snapshot(), 200, 50, view=View(page=page, keys=True), glyphs=ASCII).isascii()


@pytest.mark.parametrize("no_color", [False, True])
def test_without_colour_nothing_but_text_is_written(monkeypatch, no_color):
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system="truecolor")
    text = "".join(frame(console, render(snapshot(), 80, 24)))
    assert ("\x1b[3" in text or ";3" in text) is not no_color
    assert "OK" in text


# Strokes


def test_bars_show_shares_and_never_hide_a_little():
    assert bar(0.5, 4) == "██··" and bar(1e-6, 4) == "▏···" and bar(0.0, 4) == "····"
    assert bar(None, 2) == bar(float("nan"), 2) == "··"
    assert bar(7.0, 3) == "███" and bar(0.5, 3, ASCII) == "#-." and bar(-1.0, 2) == "··"


def test_charts_rise_with_their_values():
    assert chart((0.0, 1.0, 2.0), 3, 1) == ["▁▅█"]
    assert chart((0.0, 1.0), 4, 2) == ["   █", "  ▁█"]
    assert chart((5.0, 5.0), 2, 1) == ["▅▅"]
    assert chart((), 3, 2) == ["   ", "   "]
    assert chart((1e9, float("nan"), 1e9 + 1), 2, 1)[0] in ("▄▅", "▅▅"), "noise is not a mountain"


def test_phases_stand_where_they_are():
    assert strip(0.0, (3.2, None), 4) == "@·o·"
    assert strip(0.0, (0.0,), 4)[0] == "@", "this node is never hidden"
    rows = ring(0.0, (1.5708,), 7)
    assert len(rows) == 7 and {len(row) for row in rows} == {14}
    assert rows[3].rstrip().endswith("@") and "o" in rows[0]


# What is remembered


def test_history_has_one_value_a_second_and_fills_gaps():
    history = History()
    for second, energy in ((10.0, 1.0), (10.5, 2.0), (11.2, 3.0), (14.0, 4.0)):
        history.add(snapshot(uptime_seconds=second, collective_free_energy=energy))
    assert history.energies == (2.0, 3.0, 3.0, 3.0, 4.0)
    history.add(snapshot(uptime_seconds=1e7, collective_free_energy=None))
    assert len(history.energies) == 5
    history.add(snapshot(uptime_seconds=1e7, collective_free_energy=9.0))
    assert len(history.energies) == SECONDS
    history.add(snapshot(uptime_seconds=1.0, collective_free_energy=5.0))
    assert history.energies == (5.0,), "it restarted"


def test_pace_keeps_to_its_share():
    pace = Pace()
    assert pace.interval == LEAST
    for _ in range(10):
        pace.spent(0.1)
    assert pace.interval == pytest.approx(5.0)
    for _ in range(10):
        pace.spent(60.0)
    assert pace.interval == MOST


# Keys


def typed(view: View, text: str) -> View:
    for key in keys.pressed(text.encode()):
        view = press(view, key)
    return view


def test_only_whole_keys_are_taken():
    assert keys.pressed(b"q?\t\r\x7f") == ["q", "?", keys.TAB, keys.ENTER, keys.ERASE]
    assert keys.pressed(b"\x1b") == [keys.ESCAPE]
    assert keys.pressed(b"\x1b[A") == keys.pressed(b"\x1bOP") == [], "arrows and functions"
    assert keys.pressed(b"\xff\x00\x07") == []
    assert keys.pressed("é".encode()) == ["é"]


def test_tab_goes_through_the_pages_and_escape_back():
    view, seen = View(), []
    for _ in PAGES:
        seen.append(view.page)
        view = typed(view, "\t")
    assert tuple(seen) == PAGES and view.page == PAGES[0]
    assert press(typed(View(), "\t\t"), keys.ESCAPE) == View()


def test_the_filter_takes_letters_of_keys_too():
    view = typed(View(), "/qp?")
    assert view.filter == "qp?" and view.typing and not view.done and not view.paused
    view = typed(view, "\x7f\x7f\r")
    assert view.filter == "q" and not view.typing
    assert press(typed(View(), "/abc"), keys.ESCAPE) == View()
    assert len(typed(View(), "/" + "x" * 100).filter) == 32


def test_the_filter_leaves_what_it_names():
    text = drawn(snapshot(), 80, 24, view=View(filter="EDGE-2", keys=True))
    assert "edge-2" in text and "edge-1" not in text and "work-0" not in text


def test_leaving_a_viewer_is_one_key_and_stopping_a_node_two():
    assert typed(View(), "q").done
    owner = View(owner=True, keys=True)
    asked = typed(owner, "q")
    assert asked.leaving and not asked.done
    assert "q again stops this node" in drawn(snapshot(), 80, 24, view=asked)
    assert typed(asked, "q").done
    assert typed(asked, "x") == owner
    assert typed(typed(View(), "?"), "q") == View(), "q leaves the help first"


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_help_names_every_key(size):
    text = drawn(snapshot(), *size, view=View(help=True, keys=True))
    for key in ("q ", "? ", "/ ", "tab ", "p ", "escape "):
        assert any(line.startswith(key) for line in text.splitlines()), key


# The terminal


class Stopped(Exception):
    pass


def screen(out: io.StringIO) -> Tui:
    return Tui(Console(file=out, width=80, height=24, force_terminal=True))


@pytest.mark.parametrize("fails", [False, True])
def test_the_terminal_is_given_back(fails):
    out = io.StringIO()
    try:
        with screen(out) as tui:
            tui.show(snapshot())
            tui.show(snapshot(tick=99))
            assert "\x1b[?1049h" in out.getvalue()
            assert "tick 99" in out.getvalue()
            assert "\x1b[?1049l" not in out.getvalue()
            if fails:
                raise Stopped
    except Stopped:
        assert fails
    written = out.getvalue()
    assert written.count("\x1b[?1049l") == 1
    assert "\x1b[?25h" in written and "\x1b[?7h" in written
    tui.show(snapshot(tick=100))
    assert out.getvalue() == written, "nothing is drawn on a terminal that was given back"


def test_only_lines_that_changed_are_written():
    out = io.StringIO()
    with screen(out) as tui:
        tui.show(snapshot())
        before = len(out.getvalue())
        tui.show(snapshot())
        assert len(out.getvalue()) == before
        tui.show(snapshot(tick=99))
        assert out.getvalue()[before:].count("\x1b[2;1H") == 1
        assert "work-1" not in out.getvalue()[before:]


def test_a_pause_holds_the_picture_and_not_the_keys():
    out = io.StringIO()
    with screen(out) as tui:
        tui.view = replace(tui.view, keys=True)
        tui.show(snapshot())
        tui.press(b"p")
        tui.show(snapshot(tick=99))
        assert "tick 99" not in out.getvalue() and "PAUSED" in out.getvalue()
        tui.press(b"p")
        tui.show(snapshot(tick=100))
        assert "tick 100" in out.getvalue()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal: ours, and the one a program has."""
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("fails", [False, True])
def test_the_mode_of_the_terminal_is_restored(terminal, fails):
    import termios

    _, theirs = terminal
    before = termios.tcgetattr(theirs)
    try:
        with keys.cbreak(theirs):
            assert not termios.tcgetattr(theirs)[3] & (termios.ECHO | termios.ICANON)
            assert termios.tcgetattr(theirs)[3] & termios.ISIG, "Ctrl-C still stops"
            if fails:
                raise Stopped
    except Stopped:
        pass
    assert termios.tcgetattr(theirs) == before


def test_what_is_no_terminal_in_front_has_no_keys(terminal, monkeypatch, tmp_path):
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(os.dup(terminal[1])) as other:
        assert not keys.drawable(other), "a terminal of another session"
    with (tmp_path / "file").open("w") as file:
        assert not keys.drawable(file)
    assert not keys.drawable(io.StringIO())
    assert not keys.drawable(None)  # type: ignore[arg-type]  # pythonw has no standard streams
