"""The one way in which what is asked about spirits is refused."""

from __future__ import annotations


class SpiritRefused(ValueError):
    """What was asked cannot be; the text says why, and what to do."""
