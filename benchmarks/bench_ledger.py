"""What does the audit ledger cost: an entry, a batch, a start, and the verification of 100,000 entries?

The ledger holds entries of the guard (about 330 bytes) in as many files as the daemon would use, signed.
Verification is of every byte; "one bit flipped" is over bits drawn from the whole ledger, heads included,
each of which must be found and named. Batches are of ten entries and three fsyncs (of the entries, of the new
head file, and of its name), so their wall time is the disk's.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import Ledger, verify
from shivya_daemon.ledgers.audit.files import Files
from timing import Row, Timing, fix_environment, least, measure, once, publish

ENTRIES = 100_000
FLIPS = 10
IDENTITY = Identity.from_private_bytes(bytes(range(32)))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        publish("ledger", list(rows(Path(folder))))


def rows(folder: Path) -> Iterator[Row]:
    path = folder / "ledger.jsonl"
    ledger = Ledger.open(path, IDENTITY)
    _, spent = once(lambda: fill(ledger, ENTRIES - 1))
    yield row("entry added", spent, calls=ENTRIES - 1)
    yield row("batch of 10 made durable", measure(lambda: batch(ledger), repeats=5))
    head = ledger.checkpoint.size
    yield row("proof that an entry is in it", once(lambda: ledger.prove(ENTRIES // 2))[1], entries=head)
    yield row(
        "proof that it continues itself", once(lambda: ledger.prove_consistency(12_345))[1], entries=head
    )
    ledger.close()
    size = sum(part.path.stat().st_size for part in Files.at(path).parts())
    yield row("opened", measure(lambda: Ledger.open(path, IDENTITY).close(), repeats=5), entries=head)
    found, timings = zip(*(once(lambda: verify(path)) for _ in range(3)), strict=True)
    if not all(report.ok for report in found):
        raise RuntimeError("an intact ledger does not verify")
    yield row("verified", least(timings), entries=head, megabytes=size / 1e6)
    yield row(
        "verified, one bit flipped", least([flipped(path, draw) for draw in range(FLIPS)]), entries=head
    )


def fill(ledger: Ledger, count: int) -> None:
    for number in range(count):
        details = {"threat": 0.6 + number * 1e-7, "peer": "ab" * 20, "anomalies": number % 50}
        ledger.add_entry({"type": "action", "action": "ALERT", "details": details}, 1.7e9 + number * 0.1)


def batch(ledger: Ledger) -> None:
    fill(ledger, 10)
    ledger.sync()


def flipped(path: Path, seed: int) -> Timing:
    """What it takes to find one bit that was flipped anywhere; raises RuntimeError if it is not found."""
    draw, files = random.Random(seed), Files.at(path)
    places = [files.head, *(place for part in files.parts() for place in (part.path, part.opening) if place)]
    (place,) = draw.choices(places, [place.stat().st_size for place in places])
    intact = place.read_bytes()
    offset = draw.randrange(len(intact))
    changed = bytearray(intact)
    changed[offset] ^= 1 << draw.randrange(8)
    place.write_bytes(changed)
    report, spent = once(lambda: verify(path))
    place.write_bytes(intact)
    first = next((part.first for part in files.parts() if part.path == place), None)
    expected = None if first is None else first + intact[:offset].count(b"\n")
    if report.damage is None or (report.damage.place, report.damage.index) != (place.name, expected):
        raise RuntimeError(f"{place.name} at {offset}: {report.damage}")
    return spent


def row(
    what: str, spent: Timing, calls: int = 1, entries: int | None = None, megabytes: float | None = None
) -> Row:
    return {
        "what": what,
        "unit": "ms",
        "cpu": 1e3 * spent.cpu / calls,
        "wall": 1e3 * spent.wall / calls,
        "wall_median": 1e3 * spent.wall_median / calls,
        "entries": entries,
        "megabytes": megabytes,
    }


if __name__ == "__main__":
    fix_environment()
    main()
