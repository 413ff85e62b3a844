"""What tests of the purse share: helper modules beside the tests, and beside those of the ledger."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "purse"), str(TESTS / "credits")]


@pytest.fixture
def book() -> Any:
    """Four accounts with 1000 credits each; the first three are witnesses."""
    from ledger_people import Book

    return Book()
