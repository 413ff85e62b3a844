"""A `.spirit` file: a zip of a manifest and the files that the manifest names, with one possible text.

Files are stored, not compressed, in the order of their names, all of one time, so that what `pack` wrote is
known bit by bit: a package is refused unless packing its content again gives the same bytes. Nothing can hide
between entries then, no file can be there twice, and nothing grows when it is opened.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha3_256
from itertools import chain
from pathlib import Path

from shivya_daemon.spirits.manifest import (
    BadPackage,
    Manifest,
    canonical,
    check_file_name,
    file_digest,
    parse,
    read_manifest,
)

__all__ = ["BadPackage", "Manifest", "Package", "built_in", "installed", "pack", "read"]

SUFFIX = ".spirit"
MANIFEST = "manifest.json"
MAX_BYTES = 2 * 1024 * 1024
"""Of a package."""
MAX_FILES = 64
"""In a package, the manifest not counted."""
MAX_MANIFEST = 16 * 1024
MAX_INSTALLED = 64
"""Packages that are read from a folder."""
BUILT_IN = ("physarum",)

_DRAWING = Path(__file__).parents[1] / "drawing"
"""What pictures on the live page share; a package brings its own copy."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_END = struct.Struct("<4s4H2LH")
_LOCATOR = b"PK\x06\x07"
_AGAIN = "unzip it and pack the folder with 'shivya spirit pack'"


@dataclass(frozen=True)
class Package:
    """A package that has passed every check."""

    manifest: Manifest
    digest: bytes
    """SHA3-256 of the canonical manifest, which holds that of every file: by it the spirit is owned."""
    files: Mapping[str, bytes]
    """Content by name, the manifest not among it."""


def read(source: Path | bytes) -> Package:
    """Return the package in a file, or in bytes; raises `BadPackage`, or `OSError` if it cannot be read."""
    data = source if isinstance(source, bytes) else _bounded(source, MAX_BYTES, "a package")
    contents = _unzip(data)
    text = contents.pop(MANIFEST, None)
    if text is None:
        raise BadPackage(f"it holds no {MANIFEST}; pack a folder that has one with 'shivya spirit pack'")
    if len(text) > MAX_MANIFEST:
        raise BadPackage(f"{MANIFEST} is larger than {MAX_MANIFEST} bytes; shorten it")
    manifest = read_manifest(parse(text))
    if manifest.encoded() != text:
        raise BadPackage(f"{MANIFEST} is not written as 'shivya spirit pack' writes it; {_AGAIN}")
    for name in sorted(manifest.files.keys() | contents.keys()):
        if name not in contents:
            raise BadPackage(f"it lacks {name}, which its manifest names; {_AGAIN}")
        if manifest.files.get(name) != file_digest(contents[name]):
            raise BadPackage(f"{name} is not the file that its manifest names; {_AGAIN}")
    if _zip({MANIFEST: text, **contents}) != data:
        raise BadPackage(f"it has bytes that no package needs; {_AGAIN}")
    return Package(manifest, sha3_256(text).digest(), contents)


def pack(folder: Path, *shared: Path) -> bytes:
    """Return the package of a folder: its manifest.json, without `files`, and every other file in it.

    Files of `shared` folders go beside them; a name that is there already is refused.

    The same content gives the same bytes. Raises `BadPackage`, or `OSError` for what cannot be read.
    """
    contents: dict[str, bytes] = {}
    total = 0
    for name, path in chain.from_iterable(_walk(source, "") for source in (folder, *shared)):
        if name in contents:
            raise BadPackage(f"{path} is there twice; rename one")
        if len(contents) > MAX_FILES:
            raise BadPackage(f"{folder} holds more than {MAX_FILES} files; leave some out")
        contents[name] = _bounded(path, MAX_BYTES, "a package")
        if (total := total + len(contents[name])) > MAX_BYTES:
            raise BadPackage(f"a package may have {MAX_BYTES} bytes, and {folder} has more; make it smaller")
    text = contents.pop(MANIFEST, None)
    if text is None:
        raise BadPackage(f"{folder} holds no {MANIFEST}; see docs/spirits.md for one")
    document = parse(text)
    if "files" in document:
        raise BadPackage(f"{MANIFEST} has 'files', which packing writes; take it out")
    document["files"] = {name: file_digest(content) for name, content in contents.items()}
    read_manifest(document)  # says what is wrong before anything is written
    data = _zip({MANIFEST: canonical(document), **contents})
    read(data)
    return data


def built_in(name: str) -> Package:
    """Return a package that comes with the daemon; `name` is one of `BUILT_IN`."""
    return read(pack(Path(__file__).with_name(name), _DRAWING))


def installed(folder: Path, refused: Callable[[Path, str], None] | None = None) -> list[Package]:
    """Return the built-in packages, then the `*.spirit` files of `folder` in the order of their names.

    `refused` is told of each file that is left out, with the reason; a folder that does not exist is empty.
    """
    packages = [built_in(name) for name in BUILT_IN]
    names = {package.manifest.name for package in packages}
    found = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    for i, path in enumerate(found):
        try:
            if i >= MAX_INSTALLED:
                raise BadPackage(f"more than {MAX_INSTALLED} packages in {folder}; remove some")
            package = read(path)
            if package.manifest.name in names:
                raise BadPackage(f"another package is named {package.manifest.name}; remove one")
        except BadPackage as error:
            if refused is not None:
                refused(path, str(error))
        except OSError as error:
            if refused is not None:
                refused(path, f"cannot be read: {error.strerror}")
        else:
            packages.append(package)
            names.add(package.manifest.name)
    return packages


def _bounded(path: Path, limit: int, what: str) -> bytes:
    """Read a file that is no larger than `limit`; a device or a pipe is none."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadPackage(f"{path} is not a file; name the package or its folder")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BadPackage(f"{what} may have {limit} bytes, and {path} has more; make it smaller")
    return data


def _walk(folder: Path, above: str) -> Iterator[tuple[str, Path]]:
    """The files below a folder with their names in the package; links are refused, never followed."""
    for path in sorted(folder.iterdir()):
        name = above + path.name
        if path.is_symlink():
            raise BadPackage(f"{path} is a link; put the file itself there")
        if path.is_dir():
            if name.count("/") >= 3:
                raise BadPackage(f"{path} is too deep; use 3 levels of folders at most")
            yield from _walk(path, f"{name}/")
        else:
            check_file_name(name)
            yield name, path


def _zip(contents: Mapping[str, bytes]) -> bytes:
    """Return the one zip of these files: the manifest first, the others by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents, key=lambda name: (name != MANIFEST, name)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name])
    return buffer.getvalue()


def _unzip(data: bytes) -> dict[str, bytes]:
    """Return the files of a zip, with the manifest; raises `BadPackage`."""
    if len(data) > MAX_BYTES:
        raise BadPackage(f"a package may have {MAX_BYTES} bytes, and it has {len(data)}; make it smaller")
    _check_end(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            contents: dict[str, bytes] = {}
            room = len(data)
            for entry in archive.infolist():
                _check_entry(entry)
                room -= entry.file_size
                if room < 0:
                    raise BadPackage(f"it says to hold more bytes than it has; {_AGAIN}")
                if entry.filename in contents:
                    raise BadPackage(f"it holds {entry.filename!a} twice; {_AGAIN}")
                contents[entry.filename] = archive.read(entry)
            return contents
    except BadPackage:
        raise
    # What `zipfile` raises on hostile input is not one kind.
    except (
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        struct.error,
    ):
        raise BadPackage("it is no intact zip file; fetch it again") from None


def _check_end(data: bytes) -> None:
    """Refuse a zip whose end says too much, before a list of its entries is made."""
    end = data[-_END.size :]
    if len(end) < _END.size or end[:4] != b"PK\x05\x06" or data[-_END.size - 20 :][:4] == _LOCATOR:
        raise BadPackage("it is no package; 'shivya spirit pack' makes one of a folder")
    _, _, _, _, entries, length, _, _ = _END.unpack(end)
    if entries > MAX_FILES + 1 or length > 512 * (MAX_FILES + 1):
        raise BadPackage(f"it holds more than {MAX_FILES} files; leave some out")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    """Refuse an entry before its content is looked at."""
    name = entry.orig_filename
    check_file_name(name)
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BadPackage(f"{name} is a link or a device; {_AGAIN}")
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits or entry.file_size != entry.compress_size:
        raise BadPackage(f"{name} is compressed or encrypted, which no file of a package may be; {_AGAIN}")
