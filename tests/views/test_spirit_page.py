"""The spirit's picture in a real browser: what it draws, what it says, and that it can reach nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from browser import DATA, LIT, Tab
from organisms import organism
from pictures import picture
from serving import TOKEN, ticking

from shivya_daemon.spirits import package
from shivya_daemon.spirits.shelf import Shelf
from shivya_daemon.views.web import PageServer

WINDOW = (1200, 800)
Spirit = Callable[[int], dict[str, Any] | None]


@contextmanager
def served(spirit: Spirit, shelf: Path = Path("/nowhere")) -> Iterator[PageServer]:
    look = ticking(lambda tick: picture(4, tick=tick, spirit=spirit(tick)))
    find = Shelf(shelf, time.monotonic).find
    server = PageServer(look, 0, TOKEN, time.monotonic, time.time, find=find)
    with start_blocking_portal() as portal:
        running, _ = portal.start_task(server.serve)
        try:
            yield server
        finally:
            running.cancel()


def grown(tick: int) -> dict[str, Any]:
    return organism(3, tick)


def open_page(tab: Tab, server: PageServer) -> None:
    tab.go(server.url)
    tab.until(
        f"location.port === '{server.port}' && Number({DATA}.painted) >= 1"
        " && !document.querySelector('#show-spirit').hidden"
    )


def open_spirit(tab: Tab, server: PageServer) -> Tab:
    """Open the page, then the spirit; returns the frame once it has drawn what it was told."""
    open_page(tab, server)
    tab.ask("document.querySelector('#show-spirit').click()")
    tab.until("document.querySelector('#spirit iframe')")
    inside = tab.inside()
    inside.until(f"Number({DATA}.told) >= 2 && Number({DATA}.painted) >= 2")
    return inside


def text(tab: Tab, selector: str) -> str:
    return str(tab.ask(f"document.querySelector({json.dumps(selector)}).textContent"))


def test_with_webgl_the_organism_glows(webgl: Tab) -> None:
    with served(grown) as server:
        inside = open_spirit(webgl, server)
        assert inside.ask(f"{DATA}.renderer") == "webgl2"
        inside.until(f"{LIT} > 0.005")
        assert webgl.errors + inside.errors == []


def test_without_webgl_it_is_drawn(without_webgl: Tab) -> None:
    tab = without_webgl
    with served(grown) as server:
        inside = open_spirit(tab, server)
        assert inside.ask(f"{DATA}.renderer") == "svg"
        assert inside.ask("document.querySelectorAll('#surface .tubes line').length") == 96
        assert inside.ask("document.querySelectorAll('#surface .cells circle').length") == 97
        assert inside.ask("document.querySelectorAll('#surface .foods circle').length") == 3
        assert inside.ask("document.querySelectorAll('#surface .ends circle').length") == 3
        assert tab.errors + inside.errors == []


def test_a_lost_graphics_processor_costs_no_picture(webgl: Tab) -> None:
    with served(grown) as server:
        inside = open_spirit(webgl, server)
        inside.ask(
            "document.querySelector('#surface canvas').getContext('webgl2')"
            ".getExtension('WEBGL_lose_context').loseContext()"
        )
        inside.until(f"{DATA}.renderer === 'svg' && document.querySelector('#surface .cells circle')")


def test_everything_is_told_to_whoever_sees_no_picture(tab: Tab) -> None:
    with served(grown) as server:
        inside = open_spirit(tab, server)
        said = text(inside, "#table")
        assert "edge-1" in said and "efficiency0.83" in said and "nutrient12.550" in said
        tables = "document.querySelectorAll('#table table')"
        assert inside.ask(f"[...{tables}].map((table) => table.tBodies[0].rows.length)") == [7, 3, 24]
        assert inside.ask(f"{tables}[1].tBodies[0].rows[0].cells[3].textContent") == "yes"
        assert "97" in text(inside, "#panel") and "1.42" in text(inside, "#panel")
        assert "connected nodes4" in text(inside, "#mesh")
        assert "speed1exploration0.3decay0.1" in text(inside, "#life")
        assert "shivya spirit set speed" in text(inside, "#commands")
        assert text(inside, "#news").startswith("97 cells, 96 tubes, efficiency 0.83")
        inside.click_on("#show-table")
        inside.until("document.querySelector('#table').getBoundingClientRect().height > 100")


def test_what_a_person_can_choose(tab: Tab) -> None:
    with served(grown) as server:
        inside = open_spirit(tab, server)
        inside.ask("document.querySelector('#stage').focus()")
        keys = "dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true, shiftKey: {}}}))"

        def press(key: str, *, shift: bool = False) -> None:
            inside.ask(f"document.querySelector('#stage').{keys.format(key, json.dumps(shift))}")

        schemes, grounds = [], []
        for _ in range(4):
            press("c")
            press("b")
            schemes.append(inside.ask(f"{DATA}.scheme"))
            grounds.append(inside.ask(f"{DATA}.background"))
        assert sorted(schemes) == ["bio", "neon", "plasma", "viridis"]
        assert sorted(grounds) == ["black", "dark", "gradient", "grid"]
        press("o")
        assert inside.ask("document.querySelector('#oscillations').ariaPressed") == "false"
        press("n")
        inside.until("document.querySelector('#labels').textContent.includes('there')")
        position = "document.querySelector('#position').value"
        assert inside.ask(position) == "0.00 -2.35 2.30"
        press("ArrowLeft")
        inside.until(f"{position} !== '0.00 -2.35 2.30'")
        press("ArrowRight", shift=True)
        inside.until("document.querySelector('#target').value !== '0.00 0.00 0.00'")
        press("0")
        inside.until(f"{position} === '0.00 -2.35 2.30'")
        inside.ask(
            "(() => { const field = document.querySelector('#position'); field.focus();"
            " field.value = '0 0 3'; field.dispatchEvent(new Event('change')); })()"
        )
        inside.until(f"{position}.endsWith(' 3.00')")
        assert inside.errors == []


def test_dragging_turns_the_camera(webgl: Tab) -> None:
    with served(grown) as server:
        inside = open_spirit(webgl, server)
        for kind, x in (("mousePressed", 400), ("mouseMoved", 460), ("mouseReleased", 460)):
            webgl.do(
                "Input.dispatchMouseEvent", type=kind, x=x, y=300, button="left", buttons=1, clickCount=1
            )
        inside.until("document.querySelector('#position').value !== '0.00 -2.35 2.30'")
        assert inside.ask("document.querySelector('#target').value") == "0.00 0.00 0.00"


def test_with_less_motion_nothing_moves_between_messages(tab: Tab) -> None:
    tab.less_motion()
    with served(grown) as server:
        inside = open_spirit(tab, server)
        inside.less_motion()
        inside.until("matchMedia('(prefers-reduced-motion: reduce)').matches")
        before = inside.ask(f"[Number({DATA}.painted), Number({DATA}.told)]")
        inside.until(f"Number({DATA}.told) >= {before[1] + 4}")
        after = inside.ask(f"[Number({DATA}.painted), Number({DATA}.told)]")
        assert after[0] - before[0] <= after[1] - before[1] + 2


def test_no_spirit_no_button_and_a_dismissed_one_leaves(webgl: Tab) -> None:
    alive = True
    with served(lambda tick: grown(tick) if alive else None) as server:
        open_spirit(webgl, server)
        webgl.click_on("#close-spirit")
        webgl.until("document.querySelector('#spirit').hidden && !document.querySelector('iframe')")
        webgl.click_on("#show-spirit")
        webgl.until("document.querySelector('#spirit iframe')")
        alive = False
        webgl.until(
            "!document.querySelector('iframe') && document.querySelector('#show-spirit').hidden"
            " && !document.body.classList.contains('spirited')"
        )


@pytest.mark.parametrize("width", [400, 320])
def test_a_phone_needs_no_sideways_scrolling(tab: Tab, width: int) -> None:
    with served(grown) as server:
        tab.size(width, 800, mobile=True)
        inside = open_spirit(tab, server)
        assert tab.ask("document.documentElement.scrollWidth") <= width
        assert inside.ask("document.documentElement.scrollWidth - innerWidth") <= 0


HOSTILE = "<img src=x onerror='document.title=1'>\u202e\x1b[2J\x00"
ODD: list[dict[str, Any]] = [
    {"cells": None, "tubes": 3, "foods": {}, "panel": [], "settings": None},
    {
        "cells": [[1], "x", None, [0, 0, 0]],
        "tubes": [[0, 9, 1], [-1, 0, 1], ["a", {}, []]],
        "foods": [[0, 0, 0]],
    },
    {"name": HOSTILE, "version": HOSTILE, "now": "late", "age": HOSTILE},
    {"foods": [[1e300, 0, 0, -1, 5, HOSTILE, HOSTILE, "x", None]], "settings": {"speed": HOSTILE}},
    {"cells": [[0, 0, 0, 1e308, 1e308, -1]] * 5000, "tubes": [[0, 1, -1, 1e308, None]] * 9000},
]


def test_odd_organisms_end_nothing(tab: Tab) -> None:
    with served(lambda tick: organism(3, tick, **ODD[tick % len(ODD)])) as server:
        inside = open_spirit(tab, server)
        told = int(inside.ask(f"{DATA}.told"))
        inside.until(f"Number({DATA}.told) >= {told + 6}")
        assert inside.ask("document.querySelectorAll('img, [onerror]').length") == 0
        assert not set(str(inside.ask("document.body.textContent"))) & set("\u202e\x1b\x00")
        assert tab.errors + inside.errors == []


# The sandbox


PROBE = """
const tried = {};
const attempt = async (name, act) => {
  try { tried[name] = `DONE ${await act()}`; } catch (error) { tried[name] = error.name; }
};
const loads = (tag, attributes) => new Promise((done, failed) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.onload = () => done("loaded");
  made.onerror = () => failed(Object.assign(new Error("no"), { name: "blocked" }));
  document.head.append(made);
});
const opens = (made) => new Promise((done, failed) => {
  made.onopen = () => done("open");
  made.onerror = () => failed(Object.assign(new Error("no"), { name: "blocked" }));
});
const { host, origin } = location;
await attempt("parent document", () => parent.document.title);
await attempt("parent storage", () => parent.localStorage.length);
await attempt("parent location", () => parent.location.href);
await attempt("own storage", () => localStorage.length);
await attempt("cookies", () => document.cookie);
await attempt("fetch the page", async () => (await fetch(`${origin}/main.js`)).status);
await attempt("fetch itself", async () => (await fetch("main.js")).status);
await attempt("stream", () => opens(new WebSocket(`ws://${host}/live`)));
await attempt("events", () => opens(new EventSource(`${origin}/live`)));
await attempt("picture", () => loads("img", { src: `${origin}/icon.svg` }));
await attempt("style", () => loads("link", { rel: "stylesheet", href: `${origin}/base.css` }));
await attempt("eval", () => new Function("return 1")());
await attempt("top", () => { top.location = "about:blank"; });
await attempt("window", () => {
  if (open("about:blank") === null) throw new DOMException("no", "blocked");
});
await attempt("form", () => {
  const form = document.body.appendChild(document.createElement("form"));
  form.action = origin;
  form.submit();
  return "sent";
});
document.documentElement.dataset.address = location.href;
document.documentElement.dataset.tried = JSON.stringify(tried);
addEventListener("message", (event) => {
  document.documentElement.dataset.heard = JSON.stringify(Object.keys(event.data));
  document.documentElement.dataset.keys = JSON.stringify(Object.keys(event.data.spirit));
  parent.postMessage({ spirit: { name: "forged" }, law: "forged", name: "forged" }, "*");
});
"""
MANIFEST = {
    "spirit": 1, "name": "probe", "version": "1.0.0", "author": "Mallory", "licence": "MIT", "tags": [],
    "tier": "free", "price": 0, "permissions": {"network": "read", "compute": "none", "display": "required"},
    "entry": "index.html", "kernel": "none", "settings": {},
}  # fmt: skip
PAGE = '<!doctype html><html><head><script type="module" src="main.js"></script></head><body></body></html>'


def probe(tmp_path: Path, script: str) -> tuple[Path, str]:
    """A folder of packages with one that does as `script` says, and the digest of that one."""
    source, shelf = tmp_path / "probe", tmp_path / "spirits"
    source.mkdir()
    shelf.mkdir()
    (source / "manifest.json").write_text(json.dumps(MANIFEST))
    (source / "index.html").write_text(PAGE)
    (source / "main.js").write_text(script)
    data = package.pack(source)
    (shelf / "probe.spirit").write_bytes(data)
    return shelf, package.read(data).digest.hex()


def test_a_frame_reaches_nothing(webgl: Tab, tmp_path: Path) -> None:
    shelf, digest = probe(tmp_path, PROBE)
    with served(lambda tick: organism(3, tick, name="probe", digest=digest), shelf) as server:
        open_page(webgl, server)
        webgl.click_on("#show-spirit")
        webgl.until("document.querySelector('#spirit iframe')")
        inside = webgl.inside()
        inside.until(f"{DATA}.tried && {DATA}.heard")
        tried = json.loads(inside.ask(f"{DATA}.tried"))
        assert tried.pop("form") == "DONE sent", "it is not told that nothing was sent"
        assert len(tried) == 14
        done = {name: what for name, what in tried.items() if what.startswith("DONE")}
        assert done == {}
        address = str(inside.ask(f"{DATA}.address"))
        assert address.endswith(f"/{digest}/") and TOKEN not in address, "and the form led nowhere"
        assert inside.ask(f"{DATA}.heard") == '["spirit"]'
        assert set(json.loads(inside.ask(f"{DATA}.keys"))) == set(organism())
        assert text(webgl, "#name") == "edge-0" and text(webgl, "#spirit-name") == "probe", "nobody listens"


def test_a_frame_cannot_go_elsewhere(webgl: Tab, tmp_path: Path) -> None:
    script = "onmessage = () => { location = 'http://127.0.0.1:9/?' + location.href; };"
    shelf, digest = probe(tmp_path, script)
    with served(lambda tick: organism(3, tick, digest=digest), shelf) as server:
        open_page(webgl, server)
        webgl.click_on("#show-spirit")
        sent = server.counts.sent
        while not any("frame-src" in error or "Framing" in error for error in webgl.errors):
            webgl.ask("new Promise(requestAnimationFrame)")
            assert server.counts.sent < sent + 200, webgl.errors


def test_a_malformed_package_is_not_shown(
    webgl: Tab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf, digest = probe(tmp_path, "")
    data = bytearray((shelf / "probe.spirit").read_bytes())
    data[data.index(b"<body>") + 1] ^= 1
    (shelf / "probe.spirit").write_bytes(bytes(data))
    with served(lambda tick: organism(3, tick, digest=digest), shelf) as server:
        open_page(webgl, server)
        webgl.click_on("#show-spirit")
        webgl.until("!document.querySelector('#spirit-missing').hidden")
        assert webgl.ask("document.querySelector('iframe')") is None
    assert "probe.spirit is left out" in caplog.text
