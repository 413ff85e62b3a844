"""Where a node receives datagrams."""

from __future__ import annotations

Address = tuple[str, int]
"""Textual IP address and UDP port."""
