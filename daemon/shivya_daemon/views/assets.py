"""The files of the page, read once; nothing of a request ever becomes a path."""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import files
from itertools import chain

from websockets.http11 import Response

from shivya_daemon.views.frames import frame_sources
from shivya_daemon.views.front import refused, response

_KINDS = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


class Assets:
    """Every file of `views/page`, and what all pictures share, by its URL path."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bytes]] = {}
        ours = files("shivya_daemon")
        for file in chain(ours.joinpath("views", "page").iterdir(), ours.joinpath("drawing").iterdir()):
            kind = _KINDS.get(file.name.rpartition(".")[2])
            if kind is not None:
                self._files[f"/{file.name}"] = (kind, file.read_bytes())
        self._files["/"] = self._files.pop("/index.html")

    def answer(self, path: str, port: int) -> Response:
        """Return the file at `path`. `port` is the only one that the page may speak with."""
        found = self._files.get(path)
        if found is None:
            return refused(HTTPStatus.NOT_FOUND, "No such file.\n")
        kind, body = found
        return response(HTTPStatus.OK, body, kind, {"Content-Security-Policy": policy(port)})


def policy(port: int) -> str:
    """Return what the page may do: run and show its own files, and speak with its own daemon."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' ws://127.0.0.1:{port} ws://localhost:{port}; "
        f"frame-src {frame_sources(port)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
