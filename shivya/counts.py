"""What a client counted since it last told the daemon, and the lines that tell it."""

from __future__ import annotations

from dataclasses import dataclass, field

_MAX_LINE = 4096


@dataclass(slots=True)
class Counts:
    """What happened since the last COUNT; by node id or name."""

    arrived: int = 0
    done: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    unsent: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)


def count_lines(service: str, words: list[str]) -> bytes:
    """Pack words into as few COUNT lines as the daemon's limit allows."""
    head = f"COUNT service={service}"
    lines: list[str] = []
    room = 0
    for word in words:
        if room < len(word) + 1:
            lines.append(head)
            room = _MAX_LINE - len(head)
        lines[-1] += f" {word}"
        room -= len(word) + 1
    return "".join(f"{line}\n" for line in lines).encode()
