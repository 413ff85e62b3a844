"""Runs a record through the law again and compares every digest: same inputs, same bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shivya_daemon.mind.head import differences
from shivya_daemon.mind.record import Mismatch, RecordError, digest, read
from shivya_daemon.mind.start import start_law


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
    if found := differences(head):
        raise Mismatch(f"{path} was recorded with {'; '.join(found)}: replay it there")
    law = start_law(head.law, head.node_id)
    count = judged = 0
    different: list[int] = []
    for tick in ticks:
        count += 1
        if tick.worlds and not tick.digest:
            continue  # the law was not there, or not any more
        judged += bool(tick.digest)
        try:
            for service, programs in tick.swaps.items():
                law.install(service, programs)
            again = digest(law.judge(tick.worlds, *tick.host))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise RecordError(f"{path}: tick {count} cannot be replayed: {error!r}") from error
        if again != tick.digest and len(different) < 100:
            different.append(count)
    return Replayed(count, judged, tuple(different))
