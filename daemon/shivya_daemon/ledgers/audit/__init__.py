"""The audit ledger: what a node did, in an order that cannot be changed afterwards without being noticed.

Read `canonical`, `merkle`, `chain`, `checkpoint` and `head` first: they are the whole construction, without a
file or a clock. `files`, `reading` and `recovery` put it on a disk, `ledger` is what the daemon holds, and
`witnessed` is what other nodes remember of it.
"""

from shivya_daemon.ledgers.audit.chain import Entry, entry_hash
from shivya_daemon.ledgers.audit.errors import (
    EntryRefused,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    ProofInvalid,
)
from shivya_daemon.ledgers.audit.ledger import Ledger, Limits
from shivya_daemon.ledgers.audit.merkle import merkle_root
from shivya_daemon.ledgers.audit.verify import Report, verify

__all__ = [
    "Entry",
    "EntryRefused",
    "Ledger",
    "LedgerBusy",
    "LedgerCorrupt",
    "LedgerError",
    "Limits",
    "ProofInvalid",
    "Report",
    "entry_hash",
    "merkle_root",
    "verify",
]
