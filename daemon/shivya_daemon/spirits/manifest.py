"""What a spirit says of itself, and the checks that it says nothing else.

A manifest is one canonical JSON object: keys sorted, no spaces, ASCII. It names every file of its package
with the file's SHA3-256 (FIPS 202), so that the SHA3-256 of its own text stands for all of the package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha3_256
from typing import Any, TypeAlias

FORMAT = 1
MAX_TAGS = 16
MAX_SETTINGS = 32
MAX_PRICE = 2**63 - 1

Setting: TypeAlias = bool | float | str

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_VERSION = re.compile(r"\d{1,6}\.\d{1,6}\.\d{1,6}", re.ASCII)
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){0,3}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PERMISSIONS = {"network": ("none", "read"), "compute": ("none", "minimal"), "display": ("required",)}
_KERNELS = ("physarum", "none")
_KINDS = ("css", "html", "js", "json", "md", "png", "svg", "txt")
_KEYS = (
    "spirit", "name", "version", "author", "licence", "tags", "tier", "price", "permissions", "entry",
    "kernel", "settings", "files",
)  # fmt: skip


class BadPackage(ValueError):
    """A package that is refused; the text is one line that says why, and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a spirit says of itself."""

    name: str
    version: str
    author: str
    licence: str
    tags: tuple[str, ...]
    tier: str
    """`free` or `paid`."""
    price: int
    """In 10^-6 credit; 0 if and only if it is free."""
    permissions: Mapping[str, str]
    """`network`: none or read; `compute`: none or minimal; `display`: required."""
    entry: str
    """The HTML file that is shown."""
    kernel: str
    """What the daemon steps: `physarum`, or `none`."""
    settings: Mapping[str, Setting]
    """Defaults."""
    files: Mapping[str, str]
    """SHA3-256 of each file but the manifest, in hexadecimal digits, by name."""

    def to_json(self) -> dict[str, Any]:
        """Return the object whose canonical text the manifest is."""
        plain = {key: getattr(self, key) for key in _KEYS[1:]}
        for key in ("permissions", "settings", "files"):
            plain[key] = dict(plain[key])
        return {"spirit": FORMAT, **plain, "tags": list(self.tags)}

    def encoded(self) -> bytes:
        """Return the canonical text."""
        return canonical(self.to_json())


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the one text of an object of JSON; raises `ValueError` for what JSON cannot say."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def file_digest(content: bytes) -> str:
    """Return the SHA3-256 of a file as the manifest has it."""
    return sha3_256(content).hexdigest()


def parse(text: bytes) -> dict[str, Any]:
    """Return the object that a manifest's text says; raises `BadPackage`."""
    try:
        document = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadPackage("manifest.json is not a JSON object; see docs/spirits.md for one")
    return document


def check_file_name(name: str) -> None:
    """Refuse a name that a package may not hold; raises `BadPackage`."""
    if not _FILE.fullmatch(name):
        raise BadPackage(
            f"it holds a file named {_shown(name)}; use letters, digits, . _ - in up to 4 parts of at most"
            " 64, none beginning with a dot"
        )
    if name.rpartition(".")[2] not in _KINDS:
        raise BadPackage(f"it holds {_shown(name)}; only {', '.join(_KINDS)} files may be in a package")


def read_manifest(document: Mapping[str, Any]) -> Manifest:
    """Return the manifest that an object is; raises `BadPackage` for the first thing that is wrong."""
    for key in document:
        if key not in _KEYS:
            raise BadPackage(
                f"manifest.json has the key {_shown(key)}, which means nothing here; take it out"
            )
    for key in _KEYS:
        if key not in document:
            raise BadPackage(f"manifest.json lacks {key!r}; see docs/spirits.md for what it is")
    if document["spirit"] != FORMAT or isinstance(document["spirit"], bool):
        raise BadPackage(f'manifest.json has another format than "spirit": {FORMAT}; update shivya')
    tier = _one_of(document, "tier", ("free", "paid"))
    price = document["price"]
    if not (isinstance(price, int) and not isinstance(price, bool) and 0 <= price <= MAX_PRICE):
        raise BadPackage("manifest.json: 'price' must be a whole number of 10^-6 credit, 0 or more")
    if (tier == "free") != (price == 0):
        raise BadPackage("manifest.json: 'price' must be 0 for the tier free, and above 0 for the tier paid")
    kernel = _one_of(document, "kernel", _KERNELS)
    permissions = _permissions(document["permissions"])
    if kernel != "none" and permissions["compute"] == "none":
        raise BadPackage('manifest.json: a kernel needs the permission "compute": "minimal"')
    files = _files(document["files"])
    entry = document["entry"]
    if not (isinstance(entry, str) and entry in files and "/" not in entry and entry.endswith(".html")):
        raise BadPackage("manifest.json: 'entry' must be an .html file at the top of the package")
    return Manifest(
        name=_matching(document, "name", _NAME, "a-z, 0-9 and -, at most 32, a letter first"),
        version=_matching(document, "version", _VERSION, "three numbers such as 1.0.0"),
        author=_text(document, "author", 80),
        licence=_text(document, "licence", 40),
        tags=_tags(document["tags"]),
        tier=tier,
        price=price,
        permissions=permissions,
        entry=entry,
        kernel=kernel,
        settings=_settings(document["settings"]),
        files=files,
    )


def _one_of(document: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = document[key]
    if not (isinstance(value, str) and value in choices):
        raise BadPackage(f"manifest.json: {key!r} must be {' or '.join(choices)}")
    return value


def _matching(document: Mapping[str, Any], key: str, pattern: re.Pattern[str], meant: str) -> str:
    value = document[key]
    if not (isinstance(value, str) and pattern.fullmatch(value)):
        raise BadPackage(f"manifest.json: {key!r} must be {meant}")
    return value


def _text(document: Mapping[str, Any], key: str, limit: int) -> str:
    value = document[key]
    if not (isinstance(value, str) and 0 < len(value) <= limit and value.isprintable() and value.strip()):
        raise BadPackage(f"manifest.json: {key!r} must be a text of 1 to {limit} printable characters")
    return value


def _tags(value: object) -> tuple[str, ...]:
    if not (isinstance(value, list) and len(value) <= MAX_TAGS):
        raise BadPackage(f"manifest.json: 'tags' must be a list of at most {MAX_TAGS} words")
    for tag in value:
        if not (isinstance(tag, str) and _NAME.fullmatch(tag)):
            raise BadPackage(
                "manifest.json: each of 'tags' must be a-z, 0-9 and -, at most 32, a letter first"
            )
    return tuple(value)


def _permissions(value: object) -> dict[str, str]:
    if not (isinstance(value, dict) and set(value) == set(_PERMISSIONS)):
        raise BadPackage(f"manifest.json: 'permissions' must say {', '.join(_PERMISSIONS)}, and nothing else")
    return {key: _one_of(value, key, choices) for key, choices in _PERMISSIONS.items()}


def _settings(value: object) -> dict[str, Setting]:
    if not (isinstance(value, dict) and len(value) <= MAX_SETTINGS):
        raise BadPackage(f"manifest.json: 'settings' must be an object of at most {MAX_SETTINGS} defaults")
    for key, default in value.items():
        number = isinstance(default, int | float) and abs(default) <= 1e12  # a NaN is neither
        if not (_NAME.fullmatch(key) and (number or (isinstance(default, str) and len(default) <= 80))):
            raise BadPackage(
                f"manifest.json: the setting {_shown(key)} must be named by a-z, 0-9 and -, and be a number,"
                " true, false or a text of at most 80 characters"
            )
    return dict(value)


def _files(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise BadPackage(
            "manifest.json: 'files' must be an object of digests; 'shivya spirit pack' writes it"
        )
    for name, digits in value.items():
        check_file_name(name)
        if not (isinstance(digits, str) and _DIGEST.fullmatch(digits)):
            raise BadPackage(f"manifest.json: the digest of {_shown(name)} is none; pack it again")
    return dict(value)


def _shown(text: object) -> str:
    return ascii(str(text)[:40])
