"""Amounts are whole numbers of 10^-6 credit, times whole milliseconds since 1970."""

from __future__ import annotations

from typing import TypeAlias

Amount: TypeAlias = int
"""10^-6 credit, from 0 to `LIMIT`."""
Time: TypeAlias = int
"""Milliseconds since 1970-01-01 UTC, from 0 to `LIMIT`."""
Count: TypeAlias = int
"""From 0 to `LIMIT`."""

CREDIT: Amount = 1_000_000
LIMIT = 2**63 - 1
"""The largest amount, lifetime total, counter and time: what every database and language can hold."""

SECOND: Time = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR

OPENING_FEE: Amount = 1_000
PUBLISHING_FEE: Amount = 1_000
_FEE_DIVISOR = 1_000


def fee(amount: Amount) -> Amount:
    """Return what the pool gets for moving `amount`: a thousandth, rounded up."""
    return -(-amount // _FEE_DIVISOR)
