"""The picture of a spirit: files of its package, for a frame of the page that can reach nothing else.

The frame has no origin (`sandbox="allow-scripts"`): it cannot read the page, its token or its storage, and
its policy lets it load the files of its own package and nothing more. What it shows comes to it as messages
of the page. Its address has a key of its own, from which the token does not follow: it knows its address.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus

from websockets.http11 import Response

from shivya_daemon.views.front import refused, response

ROOT = "/spirit/"
KINDS = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "md": "text/plain",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}
_KEY_DIGITS = 32
_NO_ORIGIN = "null"


@dataclass(frozen=True)
class Frame:
    """What a spirit shows itself with."""

    entry: str
    files: Mapping[str, bytes]


Find = Callable[[str], Frame | None]
"""Digest of a manifest, in hexadecimal digits -> its frame, or None where there is no such package."""


class Frames:
    """Serves the files of packages below `/spirit/KEY/DIGEST/`."""

    def __init__(self, token: str, find: Find) -> None:
        self._key = hmac.new(token.encode(), b"frames", sha256).hexdigest()[:_KEY_DIGITS]
        self._find = find

    def place(self, digest: object) -> str | None:
        """Return the path of the page of the package with this digest, or None where there is none."""
        if not isinstance(digest, str) or self._find(digest) is None:
            return None
        return f"{ROOT}{self._key}/{digest}/"

    def knows(self, path: str) -> bool:
        """Return whether `path` has the one right key."""
        given = path.removeprefix(ROOT).partition("/")[0]
        return path.startswith(ROOT) and hmac.compare_digest(given.encode(), self._key.encode())

    def answer(self, path: str, port: int) -> Response:
        """Return the file at a path that `knows` passed."""
        digest, _, name = path.removeprefix(f"{ROOT}{self._key}/").partition("/")
        frame = self._find(digest)
        name = frame.entry if frame is not None and not name else name
        body = None if frame is None else frame.files.get(name)
        kind = KINDS.get(name.rpartition(".")[2])
        if body is None or kind is None:
            return refused(HTTPStatus.NOT_FOUND, "No such file.\n")
        base = f"{ROOT}{self._key}/{digest}/"
        more = {
            "Content-Security-Policy": frame_policy(port, base),
            "Access-Control-Allow-Origin": _NO_ORIGIN,  # how a frame without origin loads its modules
            "X-Frame-Options": "SAMEORIGIN",
        }
        return response(HTTPStatus.OK, body, kind, more)


def frame_policy(port: int, base: str) -> str:
    """Return what a spirit's frame may do: run and show the files below `base`, and connect to nothing.

    WebRTC is subject to no policy that browsers know yet; docs/spirits.md says so.
    """
    ours = _ours(port)
    own = " ".join(f"{origin}{base}" for origin in ours)
    return (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src {own}; sandbox allow-scripts; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {' '.join(ours)}; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def frame_sources(port: int) -> str:
    """Return where a frame of the page may be, also after it went elsewhere by itself."""
    return " ".join(f"{origin}{ROOT}" for origin in _ours(port))


def _ours(port: int) -> tuple[str, str]:
    return f"http://127.0.0.1:{port}", f"http://localhost:{port}"
