"""The protocol page names every word under which the code counts a drop."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = (
    r'(?:Decode|Handshake)Error\("(\w+)"',
    r'\.drop\("(\w+)"',
    r'^\s+return "(\w+)"$',
    r'DecodeError\("\w+" if .* else "(\w+)"\)',
)


def test_every_reason_of_a_drop_is_explained() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    package = ROOT / "daemon" / "shivya_daemon"
    sources = "\n".join(
        file.read_text() for folder in ("core", "net") for file in sorted((package / folder).rglob("*.py"))
    )
    reasons = {word for pattern in WORDS for word in re.findall(pattern, sources, re.MULTILINE)}
    assert len(reasons) > 30
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()
