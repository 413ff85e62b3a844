"""What tests of the purse share: helper modules beside the tests, and beside those of the ledger."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "purse"), str(TESTS / "credits"), str(TESTS / "daemon")]
