"""What the server gives to the frame of a spirit, and to nobody else."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from organisms import DIGEST, organism
from pictures import picture
from serving import TOKEN, UPGRADE, ask, page, running, ticking
from websockets.asyncio.client import connect

from shivya_daemon.snapshot import Snapshot
from shivya_daemon.spirits import package
from shivya_daemon.spirits.manifest import _KINDS
from shivya_daemon.spirits.shelf import Shelf
from shivya_daemon.views.frames import KINDS
from shivya_daemon.views.web import PageServer

pytestmark = pytest.mark.anyio
ASSETS = Path(package.__file__).with_name("physarum")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def look(tick: int) -> Snapshot:
    return picture(4, tick=tick, spirit=organism(3, tick))


def showing(**options: Any) -> PageServer:
    return page(ticking(look), find=Shelf(Path("/nowhere"), time.monotonic).find, **options)


async def told(server: PageServer) -> dict[str, Any]:
    address = f"ws://127.0.0.1:{server.port}/live?token={TOKEN}"
    async with connect(address, proxy=None, max_size=None, compression=None) as viewer:
        document = json.loads(await viewer.recv())
    assert isinstance(document, dict)
    return document


async def place(server: PageServer) -> str:
    return str((await told(server))["spirit"]["frame"])


async def test_the_page_is_told_where_the_frame_is() -> None:
    async with running(showing()) as server:
        document = await told(server)
        expected = organism(3, document["tick"])
        where = document["spirit"].pop("frame")
        assert document["spirit"] == expected
        assert re.fullmatch(rf"/spirit/[0-9a-f]{{32}}/{DIGEST}/", where)
        assert TOKEN not in where
    async with running(page(ticking(look))) as server:
        assert (await told(server))["spirit"]["frame"] is None, "its package is not here"
    async with running(page(ticking(lambda tick: picture(tick=tick)))) as server:
        assert (await told(server))["spirit"] is None


async def test_every_file_comes_with_what_it_may_do() -> None:
    async with running(showing()) as server:
        where = await place(server)
        start = await ask(server.port, where)
        assert start.status == 200 and b"<title>Physarum</title>" in start.body
        for name, content in package.built_in("physarum").files.items():
            for lines in ((), ("Origin: null",), (f"Origin: http://127.0.0.1:{server.port}",)):
                found = await ask(server.port, where + name, *lines)
                assert (found.status, found.body) == (200, content), name
            policy = found.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "sandbox allow-scripts;" in policy
            assert "connect-src" not in policy and "unsafe" not in policy
            assert f"frame-ancestors http://127.0.0.1:{server.port} " in policy
            for kind in ("script", "style", "img"):
                assert f"{kind}-src http://127.0.0.1:{server.port}{where} " in policy
            assert found.headers["x-content-type-options"] == "nosniff"
            assert found.headers["access-control-allow-origin"] == "null"
            assert TOKEN not in str(found.headers)


@pytest.mark.parametrize("upgrade", [(), UPGRADE])
async def test_without_the_key_nothing_is_given(upgrade: tuple[str, ...]) -> None:
    async with running(showing()) as server:
        where = await place(server)
        key = where.split("/")[2]
        for wrong in ("0" * 32, key[:-1], key + "0", key.upper() + "x", ""):
            path = where.replace(key, wrong)
            for lines in ((), ("Origin: null",)):
                found = await ask(server.port, path, *lines, *upgrade)
                assert found.status in ((403, 404) if upgrade else (403,)), wrong
                assert b"html" not in found.body
        assert (await ask(server.port, f"/spirit/{TOKEN}/{DIGEST}/")).status == 403


async def test_no_origin_passes_nowhere_else() -> None:
    async with running(showing()) as server:
        where = await place(server)
        for path in (f"/?token={TOKEN}", "/main.js", "/spirit/", f"/live?token={TOKEN}"):
            assert (await ask(server.port, path, "Origin: null")).status == 403
            assert (await ask(server.port, path, "Origin: null", *UPGRADE)).status == 403
        assert (await ask(server.port, where, "Origin: null", "Origin: null")).status == 403
        assert (await ask(server.port, where, "Origin: http://evil.example")).status == 403
        assert (await ask(server.port, where, host="evil.example")).status == 421
        assert (await ask(server.port, where, *UPGRADE)).status == 404
        assert (await ask(server.port, where, method="POST")).status == 405


@pytest.mark.parametrize(
    "name",
    ["../../web.py", "%2e%2e/web.py", "manifest.json", "main.js/", "/main.js", "nothing.js", "?x"],
)
async def test_only_files_of_the_package_are_given(name: str) -> None:
    async with running(showing()) as server:
        where = await place(server)
        found = await ask(server.port, where + name)
        assert found.status == (200 if name == "?x" else 404)
        assert (await ask(server.port, where.replace(DIGEST, "0" * 64))).status == 404


async def test_the_page_may_have_frames_of_spirits_only() -> None:
    async with running(showing()) as server:
        policy = (await ask(server.port, f"/?token={TOKEN}")).headers["content-security-policy"]
        sources = re.search(r"frame-src ([^;]*);", policy)
        assert sources is not None
        for source in sources[1].split():
            assert re.fullmatch(rf"http://(127\.0\.0\.1|localhost):{server.port}/spirit/", source)


async def test_a_key_is_of_one_start() -> None:
    keys = set()
    for token in ("one", "two"):
        server = PageServer(ticking(look), 0, token, time.monotonic, time.time)
        keys.add(server._frames._key)
    assert len(keys) == 2


def test_the_picture_uses_nothing_of_the_page() -> None:
    for path in ASSETS.iterdir():
        text = path.read_text()
        assert "views/page" not in text and "../" not in text, path.name


def test_the_defaults_of_the_manifest_are_those_of_the_picture() -> None:
    settings = package.built_in("physarum").manifest.settings
    html = (ASSETS / "index.html").read_text()
    assert f'data-scheme="{settings["scheme"]}" data-background="{settings["background"]}"' in html
    assert f'step="0.05" value="{settings["glow"]}"' in html
    for key in ("oscillations", "overlay"):
        assert f'id="{key}" type="button" aria-pressed="{str(settings[key]).lower()}"' in html


def test_every_kind_of_file_of_a_package_has_a_media_type() -> None:
    assert set(KINDS) == set(_KINDS)


def test_what_pictures_share_is_in_the_package() -> None:
    """A package brings its files itself, and so its own copy."""
    shared = {path.name: path.read_bytes() for path in (ASSETS.parents[1] / "drawing").iterdir()}
    assert "schemes.js" in shared
    files = package.built_in("physarum").files
    assert shared == {name: files[name] for name in shared}


def test_a_shelf_finds_what_is_put_there_later(tmp_path: Path) -> None:
    now = 0.0
    shelf = Shelf(tmp_path, lambda: now)
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.html").write_text("<!doctype html>")
    manifest = json.loads((ASSETS / "manifest.json").read_text()) | {"name": "other"}
    (source / "manifest.json").write_text(json.dumps(manifest))
    data = package.pack(source)
    digest = package.read(data).digest.hex()
    assert shelf.find(digest) is None
    (tmp_path / "other.spirit").write_bytes(data)
    assert shelf.find(digest) is None, "it looks now and then only"
    now = 11.0
    found = shelf.find(digest)
    assert found is not None and found.files == {"index.html": b"<!doctype html>"}
    assert shelf.find("x") is None and shelf.find(digest) == found
