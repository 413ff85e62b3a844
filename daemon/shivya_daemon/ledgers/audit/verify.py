"""Verification of a whole ledger."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from shivya_daemon.ledgers.audit.chain import Tip
from shivya_daemon.ledgers.audit.errors import LedgerCorrupt
from shivya_daemon.ledgers.audit.files import Files
from shivya_daemon.ledgers.audit.head import Head
from shivya_daemon.ledgers.audit.reading import Walk, snapshot


class Report(Struct, frozen=True):
    """What was found; nothing but `damage` where there is some."""

    damage: LedgerCorrupt | None = None
    first: int = 0
    """Index of the oldest entry that is kept."""
    tip: Tip = Tip()
    head: Head | None = None
    torn: int = 0
    """Bytes of an entry that is being written, or that a crash has cut; the next writer puts them aside."""

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return self.damage is None


def verify(path: Path) -> Report:
    """Check every byte that is kept: form, hashes, order, chain, tree, heads and their signatures.

    What lies behind the head file's length is held to the same rules, but for a last line without its
    newline. Raises `LedgerError` where there is no ledger.
    """
    try:
        with snapshot(Files.at(path)) as found:
            walk = Walk.through(found)
            for _ in walk.all(found):
                pass
            return Report(None, found.base.size, walk.tip, found.head, walk.torn)
    except LedgerCorrupt as damage:
        return Report(damage)
