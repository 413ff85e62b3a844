"""The files of a ledger: their names, and how they are written so that a crash leaves nothing half done.

    ledger.jsonl                        the newest entries; grows at its end only
    ledger.jsonl.head                   head as of the last sync, replaced in one step
    ledger.jsonl.lock                   held by the one process that writes
    ledger.jsonl.000000081234           older entries, from this index on; never changes again
    ledger.jsonl.000000081234.head      head as it was before that entry; none before entry 0
    ledger.jsonl.000000090000.torn      what a crash left of entry 90000

When a file is full, the head is put beside it under the number of the next entry, then the file gets its
own number, then a new one is begun. The newest file's first entry is therefore the lowest head beyond the
last numbered file. When the oldest file is dropped, the head file says so first; then the file goes, then the
head before it, and the next head stands for all that is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from msgspec import Struct

from shivya_daemon.ledgers.disk import sync_folder

FILE_NAME = "ledger.jsonl"


class Part(Struct, frozen=True):
    """One file of entries: the index of its first entry, where it lies, and the head before it."""

    first: int
    path: Path
    opening: Path | None


class Files(Struct, frozen=True):
    """The names of one ledger's files."""

    newest: Path

    @classmethod
    def at(cls, path: Path) -> Files:
        """Return the files of the ledger at `path`: its newest file, or the folder with `ledger.jsonl`."""
        return cls(path / FILE_NAME if path.is_dir() else path)

    @property
    def head(self) -> Path:
        """The head file."""
        return self._beside("head")

    @property
    def lock(self) -> Path:
        """The file whose lock the writer holds."""
        return self._beside("lock")

    def older(self, first: int) -> Path:
        """Return the name of a full file of entries."""
        return self._beside(f"{first:012d}")

    def opening(self, first: int) -> Path:
        """Return the name of the head before the file that begins with `first`."""
        return self._beside(f"{first:012d}.head")

    def torn(self, index: int) -> Path:
        """Return the name for what a crash left of an entry."""
        return self._beside(f"{index:012d}.torn")

    def _beside(self, ending: str) -> Path:
        return self.newest.with_name(f"{self.newest.name}.{ending}")

    def numbers(self, kind: str = "") -> list[int]:
        """Return the numbers of all full files, or of all files `.head` or `.torn`, in order."""
        pattern = re.compile(rf"{re.escape(self.newest.name)}\.(\d{{12}}){re.escape(kind)}")
        with os.scandir(self.newest.parent) as found:
            return sorted(int(match[1]) for item in found if (match := pattern.fullmatch(item.name)))

    def parts(self) -> list[Part]:
        """Return the files of entries, the oldest first, the newest last (it may have yet to be made)."""
        full, heads = self.numbers(), self.numbers(".head")
        last = full[-1] if full else -1
        newest = next((first for first in heads if first > last), None) if full else 0
        parts = [(first, self.older(first)) for first in full]
        if newest is not None:  # without its head nobody knows where it begins
            parts.append((newest, self.newest))
        return [Part(first, path, self.opening(first) if first else None) for first, path in parts]


def replace(path: Path, data: bytes) -> None:
    """Give a file a new content: after a crash it has all of the old one or all of the new one."""
    draft = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


class Appender:
    """A file that grows by whole lines only, with one writer.

    What is not yet known to be on the disk is kept in memory, too: after a failed fsync the kernel may have
    dropped its copy and call the next fsync a success (Rebello et al., USENIX ATC 2020), so it is written
    again first.
    """

    def __init__(self, path: Path, durable: int, unsynced: bytes = b"") -> None:
        """Open or make a file: of `durable` bytes known to be on the disk, and then of `unsynced`."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._durable = durable
        self._unsynced = bytearray(unsynced)
        self._doubtful = self._ragged = False

    @property
    def end(self) -> int:
        """Length of the file in bytes."""
        return self._durable + len(self._unsynced)

    @property
    def unsynced(self) -> int:
        """Number of bytes that a power failure could take."""
        return len(self._unsynced)

    def append(self, line: bytes) -> None:
        """Write a line; when `OSError` is raised, nothing of it outlives the next call of any method."""
        self._cut()
        try:
            self._write(line, self.end)
        except OSError:
            self._ragged = True
            with contextlib.suppress(OSError):
                self._cut()
            raise
        self._unsynced += line

    def sync(self) -> None:
        """Wait until all lines are on the disk; after an `OSError` it may be tried again."""
        self._cut()
        if self._doubtful:
            self._write(bytes(self._unsynced), self._durable)
        self._doubtful = True
        os.fsync(self._file)
        self._doubtful = False
        self._durable = self.end
        self._unsynced.clear()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._cut()
        os.close(self._file)

    def _write(self, data: bytes, at: int) -> None:
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written

    def _cut(self) -> None:
        if self._ragged:
            os.ftruncate(self._file, self.end)
            self._ragged = False
