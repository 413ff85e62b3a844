"""The page in a real browser: tubes in WebGL2, the drawn map without it, and what a person does with both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from anyio.from_thread import start_blocking_portal
from browser import DATA, LIT, Tab
from pictures import identifier, picture
from serving import TOKEN, ticking

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.views.web import PageServer

WINDOW = (900, 700)


@contextmanager
def served(look: Callable[[], Snapshot]) -> Iterator[PageServer]:
    server = PageServer(look, 0, TOKEN, time.monotonic, time.time)
    with start_blocking_portal() as portal:
        running, _ = portal.start_task(server.serve)
        try:
            yield server
        finally:
            running.cancel()


def look_at(tab: Tab, server: PageServer, nodes: int = 5) -> None:
    tab.go(server.url)
    tab.until(
        f"location.port === '{server.port}' && Number({DATA}.painted) >= 2"
        f" && document.querySelectorAll('#labels button').length === {nodes}"
    )


def text(tab: Tab, selector: str) -> str:
    return str(tab.ask(f"document.querySelector({json.dumps(selector)}).textContent"))


def test_with_webgl_the_tubes_glow(webgl: Tab) -> None:
    with served(ticking()) as server:
        look_at(webgl, server)
        assert webgl.ask(f"{DATA}.renderer") == "webgl2"
        webgl.until(f"{LIT} > 0.01")
        assert webgl.errors == []


def test_without_webgl_the_map_is_drawn(without_webgl: Tab) -> None:
    tab = without_webgl
    with served(ticking()) as server:
        look_at(tab, server)
        assert tab.ask(f"{DATA}.renderer") == "svg"
        assert tab.ask("document.querySelectorAll('#surface svg path').length") == 3 * 10
        assert tab.ask("document.querySelectorAll('#surface svg circle').length") == 4 * 5
        assert tab.errors == []


def test_a_lost_graphics_processor_costs_no_picture(webgl: Tab) -> None:
    with served(ticking()) as server:
        look_at(webgl, server)
        webgl.ask(
            "document.querySelector('#surface canvas').getContext('webgl2')"
            ".getExtension('WEBGL_lose_context').loseContext()"
        )
        webgl.until(f"{DATA}.renderer === 'svg' && document.querySelector('#surface svg circle')")


def test_every_node_is_told_to_whoever_sees_no_picture(tab: Tab) -> None:
    with served(ticking()) as server:
        look_at(tab, server)
        assert tab.ask("document.querySelectorAll('#table table:first-child tbody tr').length") == 5
        assert tab.ask("document.querySelectorAll('#table table:last-child tbody tr').length") == 10
        assert "edge-0 (this node)" in text(tab, "#table")
        said = str(tab.ask("document.querySelector('#labels button').getAttribute('aria-label')"))
        assert said == "edge-0, this node, 200 jobs held, waiting 10.0 s, 4 links"
        tab.until("document.querySelector('#news').textContent === 'ok: 5 nodes, 10 links'")
        assert "free energy now" in str(tab.ask("document.querySelector('#timeline').ariaLabel"))
        tab.press("t")
        assert tab.ask("document.querySelector('#table').getBoundingClientRect().height") > 100


def test_details_open_by_keyboard_and_by_click(tab: Tab) -> None:
    tab.less_motion()  # a name that glides away between press and release is not clicked
    with served(ticking()) as server:
        look_at(tab, server)
        tab.ask("document.querySelector('#labels button:nth-child(2)').focus()")
        tab.do("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r")
        tab.do("Input.dispatchKeyEvent", type="keyUp", key="Enter")
        tab.until("!document.querySelector('#details').hidden")
        assert text(tab, "#details h2") == "edge-1"
        assert identifier(1) in text(tab, "#details")
        tab.press("Escape")
        tab.until("document.querySelector('#details').hidden")
        tab.press("ArrowDown")
        tab.click_on("#labels button")
        tab.until("document.querySelector('#details h2')?.textContent === 'edge-0'")
        assert "shed" in text(tab, "#details")
        assert tab.errors == []


def test_whom_the_guard_keeps_out_is_seen(tab: Tab) -> None:
    with served(ticking()) as server:
        look_at(tab, server)
        assert "quarantined by the guard" in str(
            tab.ask("document.querySelector('#labels button:last-child').ariaLabel")
        )
        tab.ask("document.querySelector('#labels button:last-child').click()")
        tab.until("document.querySelector('#details').textContent.includes('quarantined, 9.0 s left')")
        assert "alert" in text(tab, "#vitals")


def test_the_keys_are_told_and_work_again_afterwards(tab: Tab) -> None:
    with served(ticking()) as server:
        look_at(tab, server)
        tab.press("?")
        tab.until("document.querySelector('#keys').open")
        tab.ask("document.querySelector('#keys button').click()")
        tab.until("!document.querySelector('#keys').open")
        tab.press("t")
        tab.until("document.body.classList.contains('tabled')")


def test_pause_holds_the_picture_and_says_so(tab: Tab) -> None:
    with served(ticking()) as server:
        look_at(tab, server)
        tab.press(" ")
        tab.until("document.querySelector('#state').dataset.state === 'paused'")
        held, sent = text(tab, "#details-body") + text(tab, "#vitals"), server.counts.sent
        while server.counts.sent < sent + 3:
            tab.ask("new Promise(requestAnimationFrame)")
        assert text(tab, "#details-body") + text(tab, "#vitals") == held
        tab.press(" ")
        tab.until("document.querySelector('#state').dataset.state === 'live'")


def test_colours_are_chosen_and_kept(tab: Tab) -> None:
    with served(ticking()) as server:
        look_at(tab, server)
        seen = []
        for _ in range(4):
            tab.press("c")
            seen.append(tab.ask(f"{DATA}.scheme"))
        assert sorted(seen) == ["bio", "neon", "plasma", "viridis"]
        tab.press("c")
        kept = tab.ask(f"{DATA}.scheme")
        look_at(tab, server)
        assert tab.ask(f"{DATA}.scheme") == kept


def test_with_less_motion_nothing_moves_between_messages(tab: Tab) -> None:
    tab.less_motion()
    with served(ticking()) as server:
        look_at(tab, server)
        tab.until("document.querySelectorAll('#labels button').length === 5")
        before = tab.ask(f"Number({DATA}.painted)"), server.counts.sent
        while server.counts.sent < before[1] + 4:
            tab.ask("new Promise(requestAnimationFrame)")
        painted = tab.ask(f"Number({DATA}.painted)") - before[0]
        assert painted <= server.counts.sent - before[1] + 2


@pytest.mark.parametrize("width", [400, 320])
def test_a_phone_needs_no_sideways_scrolling(tab: Tab, width: int) -> None:
    with served(ticking()) as server:
        tab.size(width, 800, mobile=True)
        look_at(tab, server)
        assert tab.ask("document.documentElement.scrollWidth") <= width
        tab.ask("document.querySelector('#labels button').click()")
        tab.until("!document.querySelector('#details').hidden")
        assert tab.ask("document.querySelector('#details').getBoundingClientRect().right") <= width
        assert tab.ask("document.documentElement.scrollWidth") <= width


HOSTILE = "<img src=x onerror='document.title=1'>\u202e\x1b[2J\x00"


def test_names_of_peers_are_text_and_nothing_else(tab: Tab) -> None:
    def look() -> Snapshot:
        made = picture(3, drops={HOSTILE: 1}, status=(HOSTILE,))
        peers = tuple(replace(peer, name=HOSTILE, capabilities={HOSTILE: HOSTILE}) for peer in made.peers)
        settle = tuple(replace(row, source=HOSTILE, target=HOSTILE) for row in made.settle)
        return replace(made, peers=peers, settle=settle)

    with served(look) as server:
        look_at(tab, server, 3)
        tab.ask("document.querySelector('#labels button:nth-child(2)').click()")
        tab.until("!document.querySelector('#details').hidden")
        assert tab.ask("document.querySelectorAll('img, [onerror]').length") == 0
        assert "<img src=x" in text(tab, "#details")
        assert not set(str(tab.ask("document.body.textContent"))) & set("\u202e\x1b\x00")
        assert tab.errors == []


@pytest.mark.parametrize("nodes", [1, 64])
def test_fleets_of_one_and_of_many(tab: Tab, nodes: int) -> None:
    with served(lambda: picture(nodes)) as server:
        look_at(tab, server, nodes)
        if nodes == 1:
            tab.until("document.querySelector('#notice').textContent.includes('--peer 127.0.0.1:8085')")
        assert tab.errors == []


def test_messages_that_lack_fields_end_nothing(tab: Tab) -> None:
    with served(ticking()) as server:
        look_at(tab, server)
        tab.ask(
            "import('/mesh.js').then(({ readMesh }) => {"
            " for (const odd of [{}, {peers: 3, settle: [null, 1, {}]}, {links: [{id: 5}], cells: {}},"
            " {peers: [{id: 'x', queue: 'many', service_rate: 1e999}]}]) readMesh(odd); })"
        )
        words = tab.ask(
            "import('/words.js').then(({ number, duration, speed }) => [number(0.00012345), number(-2.5),"
            " number(NaN), number(1234567), number(200), duration(0.0004), duration(59.4), duration(200),"
            " duration(7500), duration(273600), duration(null), speed(123456789)])"
        )
        numbers = ["1.2e−4", "−2.5", "–", "1.2e6", "200"]
        assert words == [*numbers, "0.4 ms", "59.4 s", "3m20s", "2h05m", "3d04h", "–", "118 MiB/s"]


def test_a_daemon_that_has_gone_is_called_lost(tab: Tab) -> None:
    with served(ticking()) as server:
        look_at(tab, server)
    tab.until("document.querySelector('#state').dataset.state === 'lost'")
    tab.until("document.querySelector('#notice').textContent.includes('shivya visualize')")
