"""Taking up a ledger where it was left: by an orderly end, by a crash, or never begun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit.canonical import SEAL_BYTES, seal_of
from shivya_daemon.ledgers.audit.chain import Tip
from shivya_daemon.ledgers.audit.errors import LedgerCorrupt, LedgerError
from shivya_daemon.ledgers.audit.files import Appender, Files, replace
from shivya_daemon.ledgers.audit.head import Head
from shivya_daemon.ledgers.audit.reading import Walk, read_head
from shivya_daemon.ledgers.audit.verify import verify

MAX_TORN_FILES = 8
MAX_TORN_BYTES = 1 << 16


class Torn(Struct, frozen=True):
    """What was cut off the end: an entry that a crash had left half written."""

    index: int
    bytes: int
    evidence: Path
    """Where it is kept, up to `MAX_TORN_BYTES`."""


class Resumed(Struct, frozen=True):
    """A ledger that is ready for its next entry."""

    tip: Tip
    head: Head | None
    """As in the head file; None for a ledger that has none yet."""
    appender: Appender
    torn: Torn | None


def resume(files: Files, identity: Identity | None) -> Resumed:
    """Read what lies behind the head file's length, cut off a torn end, and open the newest file for writing.

    Raises `LedgerCorrupt` with the first bad entry if anything else is wrong, `LedgerError` if the ledger is
    that of another identity, and `OSError`.
    """
    try:
        if not files.head.exists() and not files.numbers():
            return _resume_unborn(files)
        head = read_head(files.head)
        _check_owner(files, head, identity)
        part = files.parts()[-1]
        if part.path != files.newest:
            raise LedgerCorrupt(files.newest.name, None, "has lost the head before it")
        before = read_head(part.opening).tip if part.opening is not None else Tip()
        return _resume(files, head, head.tip.length - before.length)
    except LedgerCorrupt as damage:
        raise verify(files.newest).damage or damage from None


def _resume_unborn(files: Files) -> Resumed:
    """A ledger that has no head yet has no more than its genesis either."""
    found = _resume(files, None, 0)
    if found.tip.size > 1:
        found.appender.close()
        raise LedgerCorrupt(files.head.name, None, "is missing")
    return found


def _resume(files: Files, head: Head | None, durable: int) -> Resumed:
    with _reading(files.newest) as file:
        file.seek(0, os.SEEK_END)
        if not 0 <= durable <= file.tell():
            raise LedgerCorrupt(files.newest.name, None, "does not have the length that its head says")
        if head is not None and durable:
            file.seek(durable - SEAL_BYTES)
            if file.read(SEAL_BYTES) != seal_of(head.tip.latest_hash):
                raise LedgerCorrupt(
                    files.newest.name, head.tip.size - 1, "is not the one that its head names"
                )
        walk = Walk(files.head.name, head or Head(Tip()), head.tip if head is not None else Tip())
        file.seek(durable)
        for _ in walk.lines(files.newest.name, file):
            pass
        file.seek(durable)
        unsynced = file.read(walk.tip.length - (head.tip.length if head is not None else 0))
        torn = _put_aside(files, walk, file) if walk.torn else None
    return Resumed(walk.tip, head, Appender(files.newest, durable, unsynced), torn)


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """The newest file, which a crash may have prevented from being begun."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _put_aside(files: Files, walk: Walk, file: BinaryIO) -> Torn:
    """Keep a torn end as evidence, then cut it off."""
    start = file.tell()
    evidence = files.torn(walk.tip.size)
    replace(evidence, file.read(MAX_TORN_BYTES))
    os.truncate(files.newest, start)
    for old in files.numbers(".torn")[:-MAX_TORN_FILES]:
        files.torn(old).unlink()
    return Torn(walk.tip.size, walk.torn, evidence)


def _check_owner(files: Files, head: Head, identity: Identity | None) -> None:
    if head.public_key == (identity.public_key if identity is not None else b""):
        return
    owner = f"signed by node {head.node}" if head.public_key else "not signed"
    raise LedgerError(
        f"the ledger at {files.newest} is {owner}, and cannot be continued by another; "
        "name another folder, or move this one away"
    )
