"""Reading a ledger: each entry is checked against chain, tree and heads before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from shivya_daemon.ledgers.audit import chain
from shivya_daemon.ledgers.audit import head as heads
from shivya_daemon.ledgers.audit.canonical import NotCanonical
from shivya_daemon.ledgers.audit.chain import MAX_LINE_BYTES, Entry, Tip
from shivya_daemon.ledgers.audit.errors import LedgerCorrupt, LedgerError
from shivya_daemon.ledgers.audit.files import Files, Part
from shivya_daemon.ledgers.audit.head import MAX_HEAD_BYTES, Head

_ATTEMPTS = 100


class Source(Struct, frozen=True):
    """One open file of entries."""

    name: str
    first: int
    opening: Head | None
    """The head before `first`; None for the file that begins the ledger."""
    opening_name: str
    file: BinaryIO


class Snapshot(Struct, frozen=True):
    """All files of a ledger as they were at one moment; a writer may have added to the end since."""

    head_name: str
    head: Head
    sources: tuple[Source, ...]

    @property
    def base(self) -> Tip:
        """What the entries that are kept no longer came to."""
        opening = self.sources[0].opening
        return opening.tip if opening is not None else Tip()


def read_head(path: Path) -> Head:
    """Return the head in a file; raises `LedgerCorrupt` if there is none or it is damaged."""
    try:
        with path.open("rb") as file:
            return heads.decode(file.read(MAX_HEAD_BYTES + 1))
    except FileNotFoundError:
        raise LedgerCorrupt(path.name, None, "is missing") from None
    except NotCanonical as error:
        raise LedgerCorrupt(path.name, None, str(error)) from None


@contextmanager
def snapshot(files: Files) -> Iterator[Snapshot]:
    """Open a ledger for reading, also while a daemon writes to it, begins a new file or drops an old one.

    Raises `LedgerCorrupt`, and `LedgerError` where there is no ledger.
    """
    if not files.newest.exists() and not files.head.exists():
        raise LedgerError(f"no ledger at {files.newest}; name the folder of one")
    for _ in range(_ATTEMPTS):
        parts = files.parts()
        with ExitStack() as stack:
            try:
                head = read_head(files.head)
                sources = tuple(_open(part, files.newest, stack) for part in parts)
            except LedgerCorrupt:
                if files.parts() == parts:
                    raise
                continue
            if files.parts() != parts:
                continue
            if not sources or sources[-1].name != files.newest.name:
                raise LedgerCorrupt(files.newest.name, None, "has lost the head before it")
            if head.tip.size < sources[-1].first:
                raise LedgerCorrupt(files.head.name, None, "is older than the files beside it")
            yield Snapshot(files.head.name, head, sources)
            return
    raise LedgerError(f"the files at {files.newest} change all the time; try again")


def _open(part: Part, newest: Path, stack: ExitStack) -> Source:
    opening = read_head(part.opening) if part.opening is not None else None
    file: BinaryIO
    try:
        file = stack.enter_context(part.path.open("rb"))
    except FileNotFoundError:
        if part.path != newest:
            raise LedgerCorrupt(part.path.name, part.first, "is missing with its file") from None
        file = BytesIO()  # it was given its number, and its successor is not there yet
    before = part.opening.name if part.opening is not None else ""
    return Source(part.path.name, part.first, opening, before, file)


class Walk:
    """Reads entries in order; `tip` is what those read so far come to.

    `torn` is then the number of bytes behind the last whole line: of an entry that is being written, or that
    a crash has cut short.
    """

    def __init__(self, head_name: str, head: Head, tip: Tip) -> None:
        self.tip, self.torn = tip, 0
        self._head_name, self._head = head_name, head

    @classmethod
    def through(cls, found: Snapshot) -> Walk:
        """Return a walk that is at the oldest entry that is kept."""
        return cls(found.head_name, found.head, found.base)

    def all(self, found: Snapshot) -> Iterator[Entry]:
        """Yield every entry that is kept; raises `LedgerCorrupt` at the first that is wrong or missing."""
        if self.tip.size > self._head.first:
            first = self._head.first
            raise LedgerCorrupt(
                found.sources[0].name, first, f"is missing, with all up to {self.tip.size - 1}"
            )
        for source in found.sources:
            if source.first != self.tip.size:
                raise LedgerCorrupt(
                    source.name, self.tip.size, f"is missing: the file begins with {source.first}"
                )
            if source.opening is not None:
                self._compare(source.opening_name, source.opening)
            yield from self.lines(source.name, source.file)
            if self.torn and source is not found.sources[-1]:
                raise LedgerCorrupt(source.name, self.tip.size, "is cut off")
        if (missing := self._head.tip.size - 1) >= self.tip.size:
            what = "is cut off" if self.torn else f"is missing, with all up to {missing}"
            raise LedgerCorrupt(found.sources[-1].name, self.tip.size, what)

    def lines(self, name: str, file: BinaryIO) -> Iterator[Entry]:
        """Yield the entries from where `file` stands; raises `LedgerCorrupt` at a wrong one."""
        for line in iter(partial(file.readline, MAX_LINE_BYTES), b""):
            if not line.endswith(b"\n"):
                self._tear(name, line, file)
                return
            try:
                self.tip, entry = chain.read(self.tip, line)
            except NotCanonical as error:
                raise LedgerCorrupt(name, self.tip.size, str(error)) from None
            self._compare(self._head_name, self._head)
            yield entry

    def _tear(self, name: str, line: bytes, file: BinaryIO) -> None:
        while line:
            self.torn += len(line)
            line = file.readline(MAX_LINE_BYTES)
            if line.endswith(b"\n"):
                raise LedgerCorrupt(name, self.tip.size, f"is longer than {MAX_LINE_BYTES} bytes")

    def _compare(self, name: str, head: Head) -> None:
        if head.tip.size != self.tip.size:
            return
        if head.tip != self.tip:
            raise LedgerCorrupt(name, None, f"was written for other entries than these {self.tip.size}")
        if head.public_key != self._head.public_key:
            raise LedgerCorrupt(name, None, "is signed by another key than the newest head")
