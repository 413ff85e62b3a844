"""What `shivya spirit pack` does: a folder becomes a `.spirit` file."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from shivya.arguments import AddCommand
from shivya.commands import show
from shivya.errors import CommandError, ExitCode
from shivya_daemon.views.words import plain


def add(actions: Any, command: AddCommand) -> None:
    """Add the command to the actions of `shivya spirit`."""
    added = command(actions, "pack", pack, example="shivya spirit pack lantern -o lantern.spirit")
    added.add_argument(
        "folder", metavar="FOLDER", type=Path, help="with a manifest.json and the files it shows"
    )
    added.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="the file to write")
    added.add_argument("--json", action="store_true", help="print JSON with stable field names")


def pack(options: Namespace) -> int:
    """Make a package of a folder; the same content gives the same bytes."""
    from shivya_daemon.spirits import package

    output: Path = options.output
    if output.suffix != package.SUFFIX:
        raise CommandError(ExitCode.USAGE, f"{output} must end with {package.SUFFIX}")
    try:
        data = package.pack(options.folder)
    except package.BadPackage as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    except OSError as error:
        raise CommandError(ExitCode.USAGE, f"cannot read {error.filename}: {error.strerror}") from None
    found = package.read(data)
    _write(output, data)
    document = {"file": str(output), "bytes": len(data), "digest": found.digest.hex()}
    document |= {"manifest": found.manifest.to_json()}
    show(document, None if options.json else _text)
    return ExitCode.OK


def _write(path: Path, data: bytes) -> None:
    """Write all of it or nothing; a package that a daemon reads meanwhile stays whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CommandError(ExitCode.FAILED, f"cannot write {path}: {error.strerror}") from None


def _text(document: dict[str, Any]) -> str:
    said = document["manifest"]
    name, files = plain(f"{said['name']} {said['version']}"), len(said["files"])
    return (
        f"{document['file']}: {name}, {files} files, {document['bytes']} bytes\ndigest {document['digest']}\n"
    )
