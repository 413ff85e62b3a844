"""What a ledger refuses, and how it says that its files have been damaged."""

from __future__ import annotations


class LedgerError(Exception):
    """A ledger cannot do what it was asked to; the text says why and what to do."""


class LedgerBusy(LedgerError):
    """Another process writes this ledger."""


class EntryRefused(LedgerError, ValueError):
    """An entry was not written, not even in part; the ledger goes on with the next one."""


class ProofInvalid(LedgerError, ValueError):
    """A proof does not show what it claims."""


class LedgerCorrupt(LedgerError, ValueError):
    """The files are not what was written into them.

    `index` is the first entry that is wrong or missing, None where a head file is what is wrong; `place` is
    the name of the file.
    """

    def __init__(self, place: str, index: int | None, reason: str) -> None:
        super().__init__(f"{place}: {'' if index is None else f'entry {index} '}{reason}")
        self.place, self.index, self.reason = place, index, reason
