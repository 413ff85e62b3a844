"""What the tests of this folder share: modules they can import, and browsers that stay open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browser import NO_WEBGL, WEBGL, Tab, browsing, program

Browsers = Callable[[tuple[str, ...]], Tab]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def browsers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsers]:
    """One browser per kind of graphics, started when first wanted, as large as `WINDOW` of the module."""
    if program() is None:
        pytest.skip("no Chromium for the live page: apt-get install chromium")
    opened: dict[tuple[str, ...], Tab] = {}
    with ExitStack() as windows:

        def tab(flags: tuple[str, ...]) -> Tab:
            if flags not in opened:
                folder = tmp_path_factory.mktemp("browser")
                opened[flags] = windows.enter_context(browsing(folder, flags))
            found = opened[flags]
            found.go("about:blank")
            found.until("location.protocol === 'about:'")
            found.errors.clear()
            found.do("Emulation.setEmulatedMedia", features=[])
            found.size(*request.module.WINDOW)
            return found

        yield tab


@pytest.fixture(params=[WEBGL, NO_WEBGL], ids=["webgl2", "svg"])
def tab(request: pytest.FixtureRequest, browsers: Browsers) -> Tab:
    return browsers(request.param)


@pytest.fixture
def webgl(browsers: Browsers) -> Tab:
    return browsers(WEBGL)


@pytest.fixture
def without_webgl(browsers: Browsers) -> Tab:
    return browsers(NO_WEBGL)
