"""Runs a record through the law again and compares every digest: same inputs, same bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shivya_daemon.mind.record import RecordError, conditions, digest, read
from shivya_daemon.mind.start import start_law
from shivya_daemon.settings import LawSettings


class Mismatch(RecordError):
    """The record was made under conditions that this machine does not meet."""


@dataclass(frozen=True)
class Replayed:
    """What a replay found."""

    ticks: int
    judged: int
    """Ticks at which the law ran when they were recorded."""
    different: tuple[int, ...]
    """Of those, the ones whose verdicts differ now (the first hundred)."""


def replay(path: Path) -> Replayed:
    """Judge every recorded tick again; raises `Mismatch` when exactness cannot be expected here."""
    head, ticks = read(path)
    settings = LawSettings(**head["law"])
    own = bytes.fromhex(head["node_id"])
    here = conditions(settings, own)
    for key in ("jaxlib", "cpu"):
        if head[key] != here[key]:
            raise Mismatch(
                f"{path} was recorded with {key} {head[key]}, this machine has {here[key]}; replay it there"
            )
    law = start_law(settings, own)
    count = judged = 0
    different: list[int] = []
    for tick in ticks:
        count += 1
        if tick.digest:
            judged += 1
            for service, programs in tick.swaps.items():
                try:
                    law.install(service, programs)
                except ValueError as error:
                    raise RecordError(f"{path}: tick {count} cannot be replayed: {error}") from error
            again = digest(law.judge(tick.worlds, *tick.host))
            if again != tick.digest and len(different) < 100:
                different.append(count)
    return Replayed(count, judged, tuple(different))
