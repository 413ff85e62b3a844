"""The audit ledger of a node, as the process that writes it sees it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec import Struct

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import chain, proof, recovery
from shivya_daemon.ledgers.audit.canonical import NotCanonical
from shivya_daemon.ledgers.audit.chain import GENESIS, MAX_LINE_BYTES, Entry
from shivya_daemon.ledgers.audit.checkpoint import Checkpoint
from shivya_daemon.ledgers.audit.errors import EntryRefused, LedgerBusy, LedgerCorrupt, LedgerError
from shivya_daemon.ledgers.audit.files import Appender, Files, replace
from shivya_daemon.ledgers.audit.head import Head
from shivya_daemon.ledgers.audit.recovery import Torn
from shivya_daemon.ledgers.audit.verify import Report, verify
from shivya_daemon.ledgers.disk import exclusive, sync_folder


class Limits(Struct, frozen=True):
    """Bounds of a ledger."""

    files: int = 8
    """Files of entries, the newest included; at least 2. Beyond that the oldest is dropped."""
    file_bytes: int = 16 << 20
    batch_seconds: float = 1.0
    """Longest time for which an entry is not known to be on the disk."""
    batch_bytes: int = 1 << 20
    """When so much is not known to be on the disk, the next entry waits until it is."""

    def __post_init__(self) -> None:
        if self.files < 2 or self.file_bytes < MAX_LINE_BYTES or self.batch_seconds < 0:
            raise ValueError(f"a ledger has at least 2 files of {MAX_LINE_BYTES} bytes")


class Ledger:
    """An append-only log of JSON objects: a hash chain, a Merkle tree, and signed checkpoints.

    `add_entry` hands the entry to the kernel before it returns, so that no crash of the process loses it. A
    power failure may take what was added since the last `sync`, which is due `batch_seconds` after the first
    such entry: call `handle_timer` at `next_deadline`. `durable` and `checkpoint` speak of what no failure
    takes. The methods may be called from any thread, and may wait for the disk.
    """

    def __init__(
        self,
        files: Files,
        identity: Identity | None,
        limits: Limits,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Use `Ledger.open`."""
        self._files, self._identity, self._limits = files, identity, limits
        self._wall, self._monotonic = wall, monotonic
        self._mutex = threading.RLock()
        self._deadline: float | None = None
        self._lock = _lock(files.lock)
        self._closed = False
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._lock)
            found = recovery.resume(files, identity)
            undo.callback(found.appender.close)
            self._tip, self._head, self._appender = found.tip, found.head, found.appender
            self.torn: Torn | None = found.torn
            """What a crash had left half written, put aside when the ledger was opened."""
            if self._tip.size == 0:
                self._append(GENESIS, self._wall())
            self.sync()
            self._drop()
            undo.pop_all()

    @classmethod
    def open(
        cls,
        path: str | Path,
        identity: Identity | None = None,
        limits: Limits | None = None,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Ledger:
        """Open the ledger at `path` (its newest file, or the folder of `ledger.jsonl`), or begin one.

        Without an identity the checkpoints are unsigned: they show damage, but not a rewritten log. Only what
        lies behind the head file's length is read; `verify_chain` reads all. Raises `LedgerBusy` if another
        process has it open, `LedgerCorrupt` if it is damaged, and `LedgerError` if it is another identity's
        or cannot be used.
        """
        path = Path(path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(Files.at(path), identity, limits or Limits(), wall, monotonic)
        except OSError as error:
            raise LedgerError(f"cannot use the ledger at {path}: {error.strerror or error}") from error

    def add_entry(self, data: Mapping[str, object], timestamp: float | None = None) -> Entry:
        """Append an object; raises `EntryRefused` if it has no canonical form, or cannot be written."""
        with self._mutex:
            self._open_or_raise()
            now = self._monotonic()
            try:
                self.handle_timer(now)
                entry = self._append(data, self._wall() if timestamp is None else timestamp)
            except NotCanonical as error:
                raise EntryRefused(f"the entry {error}") from None
            except OSError as error:
                raise EntryRefused(_remedy("write the entry", self._files, error)) from error
            except LedgerError as error:
                raise EntryRefused(f"the entry was not written: {error}") from error
            if self._deadline is None:
                self._deadline = now + self._limits.batch_seconds
            return entry

    def record_action(self, action: str, details: Mapping[str, object] | None = None) -> Entry:
        """Append what the guard decided to do."""
        return self.add_entry({"type": "action", "action": action, "details": dict(details or {})})

    def record_pulse(self, pulse: Mapping[str, object]) -> Entry:
        """Append one pulse of the guard."""
        return self.add_entry({"type": "pulse", "pulse": dict(pulse)})

    def record_flow_result(self, flow: str, result: Mapping[str, object]) -> Entry:
        """Append what one of the guard's cores found."""
        return self.add_entry({"type": "flow_result", "flow": flow, "result": dict(result)})

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which `handle_timer` is due; None while all entries are durable."""
        return self._deadline

    def handle_timer(self, now: float) -> None:
        """Make the entries durable if that is due; raises `LedgerError`, and may then be called again."""
        with self._mutex:
            due = self._deadline is not None and now >= self._deadline
            if due or self._appender.unsynced >= self._limits.batch_bytes:
                self.sync()

    def sync(self) -> None:
        """Make all entries durable, and say so in the head file.

        Raises `LedgerError` if the disk refuses; the ledger keeps the entries and tries again when called
        again.
        """
        with self._mutex:
            self._open_or_raise()
            try:
                if self._head is None or self._head.tip.size < self._tip.size:
                    self._appender.sync()
                    self._write_head(0 if self._head is None else self._head.first)
                self._deadline = None
            except OSError as error:
                self._deadline = self._monotonic() + self._limits.batch_seconds
                raise LedgerError(_remedy("make the ledger durable", self._files, error)) from error

    @property
    def durable(self) -> int:
        """Number of entries that are on the disk."""
        return self._durable.tip.size

    @property
    def checkpoint(self) -> Checkpoint:
        """The latest checkpoint, of durable entries only: no crash makes a liar of a node that tells it."""
        return self._durable.checkpoint

    def verify_chain(self) -> bool:
        """Return whether every byte on the disk is as it was written; `verify` says what is not."""
        return self.verify().ok

    def verify(self) -> Report:
        """Check every byte on the disk, and that this process wrote it; other threads may go on writing."""
        before = self._tip
        try:
            report = verify(self._files.newest)
        except LedgerError as error:
            return Report(LedgerCorrupt(self._files.newest.name, 0, f"is gone: {error}"))
        known = {tip.size: tip for tip in (before, self._tip)}
        same = report.tip.size >= before.size and known.get(report.tip.size, report.tip) == report.tip
        if report.ok and not same:
            what = "is written here, but not what this process has written"
            return Report(LedgerCorrupt(self._files.newest.name, None, what))
        return report

    def compute_merkle_root(self) -> str:
        """Return the root of all entries, as hexadecimal digits."""
        return self._tip.tree.root().hex()

    def prove(self, index: int) -> proof.Proof:
        """Make all entries durable, and prove that one is among them; reads the whole ledger."""
        self.sync()
        return proof.prove(self._files.newest, index)

    def prove_consistency(self, old: int) -> tuple[Checkpoint, list[bytes]]:
        """Make all entries durable, and prove that they continue the first `old`; reads the whole ledger."""
        self.sync()
        return proof.prove_consistency(self._files.newest, old)

    def get_manifest(self) -> dict[str, Any]:
        """Return where the ledger stands."""
        return {
            "chain_length": self._tip.size,
            "genesis_hash": self._tip.genesis_hash,
            "latest_hash": self._tip.latest_hash,
            "merkle_root": self.compute_merkle_root(),
            "timestamp": self._wall(),
        }

    def close(self) -> None:
        """Make all entries durable and let go of the files; a second call does nothing."""
        with self._mutex:
            if self._closed:
                return
            try:
                self.sync()
            finally:
                self._closed = True
                self._appender.close()
                os.close(self._lock)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _durable(self) -> Head:
        assert self._head is not None  # from the first sync on
        return self._head

    def _open_or_raise(self) -> None:
        if self._closed:
            raise LedgerError("the ledger is closed")

    def _write_head(self, first: int) -> None:
        head = Head.of(self._tip, first, self._identity)
        replace(self._files.head, head.encode())
        self._head = head

    def _append(self, data: Mapping[str, object], timestamp: float) -> Entry:
        tip, entry, line = chain.write(self._tip, data, timestamp)
        if self._appender.end + len(line) > self._limits.file_bytes:
            self._begin_file()
        self._appender.append(line)
        self._tip = tip
        return entry

    def _begin_file(self) -> None:
        """Give the newest file its number, begin another, and drop the oldest.

        The order is that of `files`; where a step fails, the next call goes on from there.
        """
        self.sync()
        files, size, newest = self._files, self._tip.size, self._files.parts()[-1]
        if newest.first != size:
            for number in files.numbers(".head"):
                if number > newest.first:
                    files.opening(number).unlink()  # of an attempt that got no further
            replace(files.opening(size), self._durable.encode())
            files.newest.rename(files.older(newest.first))
        appender = Appender(files.newest, 0)
        self._appender.close()
        self._appender = appender
        sync_folder(files.newest.parent)
        self._drop()

    def _drop(self) -> None:
        """Remove the files beyond the limit; what cannot be removed now is the next time."""
        with contextlib.suppress(OSError):
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        files, full, keep = self._files, self._files.numbers(), self._limits.files - 1
        first = max(self._durable.first, full[-keep] if len(full) > keep else 0)
        if first > self._durable.first:
            self._write_head(first)
        for number in full:
            if number < first:
                files.older(number).unlink()
        for number in files.numbers(".head"):
            if number < first:
                files.opening(number).unlink()


def _lock(path: Path) -> int:
    try:
        return exclusive(path)
    except BlockingIOError:
        raise LedgerBusy(f"another process writes the ledger that {path} locks; stop it first") from None


def _remedy(what: str, files: Files, error: OSError) -> str:
    return f"cannot {what} at {files.newest}: {error.strerror or error}; free or repair the disk"
