"""What tests of ledgers share: two identities, clocks that tests move, and ledgers of several files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import Ledger, Limits

SMALL = Limits(files=4, file_bytes=1 << 16)
Write = Callable[..., Ledger]


@pytest.fixture(scope="session")
def anna() -> Identity:
    return Identity.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def ben() -> Identity:
    return Identity.from_private_bytes(bytes(range(32, 64)))


@pytest.fixture
def write(tmp_path: Path, anna: Identity) -> Write:
    """A ledger, open, with a number of entries of about a kilobyte each."""

    def writer(count: int, path: Path = tmp_path, identity: Identity | None = anna) -> Ledger:
        ledger = Ledger.open(path, identity, SMALL, wall=lambda: 1.7e9)
        for number in range(count):
            ledger.add_entry({"type": "action", "action": "ALERT", "number": number, "pad": "x" * 700})
        return ledger

    return writer
