"""The live page of one of three real daemons, in a real browser: with WebGL2, and drawn without it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

sys.path.append(str(Path(__file__).parents[1] / "views"))
from browser import DATA, LIT, NO_WEBGL, WEBGL, Tab, browsing, program

pytestmark = pytest.mark.processes
Start = Callable[..., Any]


@pytest.fixture(params=[WEBGL, NO_WEBGL], ids=["webgl2", "svg"])
def tab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tab]:
    if program() is None:
        pytest.skip("no Chromium for the live page: apt-get install chromium")
    (folder := tmp_path / "browser").mkdir()
    with browsing(folder, request.param) as found:
        found.size(900, 700)
        yield found


def named(*names: str) -> str:
    """What holds in the page when exactly these nodes are in the table for screen readers."""
    rows = "[...document.querySelectorAll('#table table:first-child tbody tr th')]"
    told = f"{rows}.map(cell => cell.textContent.replace(' (this node)', '')).sort().join()"
    return f"{told} === {json.dumps(','.join(sorted(names)))}"


def test_the_page_shows_three_daemons_and_that_one_of_them_died(start: Start, tab: Tab) -> None:
    first = start("a", flags=("--visualize", "0"))
    others = [start(name, first.address, flags=("--no-law",)) for name in ("b", "c")]
    first.until(lambda status: len(status["links"]) == 2 and status["law"] == "running")
    link = first.ask("FACTS")["page"]
    tab.go(link)
    tab.until(named("a", "b", "c"))
    tab.until("document.querySelectorAll('#labels button').length === 3")
    if tab.ask(f"{DATA}.renderer") == "webgl2":
        tab.until(f"{LIT} > 0.005")
    else:
        tab.until("document.querySelectorAll('#surface svg circle').length === 4 * 3")
    others[0].process.kill()
    tab.until(named("a", "c"))
    assert tab.errors == []
    where = urlsplit(link)
    for header, refusal in (({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)):
        line = http.client.HTTPConnection("127.0.0.1", where.port, timeout=60)
        line.request("GET", f"/?{where.query}", headers=header)
        assert line.getresponse().status == refusal
        line.close()
