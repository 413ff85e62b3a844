"""What tests of the ledger share: people who sign, and helper modules beside the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from ledger_people import Book


@pytest.fixture
def book() -> Book:
    """Four accounts with 1000 credits each; the first three are witnesses."""
    return Book()
