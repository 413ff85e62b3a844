"""A record of all that the law was told, tick by tick, and a digest of what it answered.

A gzip file of JSON lines: a head (`head`: what must match for a replay to be exact), then one line per tick
with the telemetry, the laws of the predictor that were installed before it, the worlds and the digest of the
verdicts. Numbers are written so that they read back bit for bit. docs/operations.md has every key.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from shivya_daemon.mind import head
from shivya_daemon.mind.head import Head
from shivya_daemon.mind.programs import Programs, parse
from shivya_daemon.verdict import Verdict
from shivya_daemon.world import Link, Vertex, World

FORMAT = 4
MAX_BYTES = 1 << 30  # of lines before compression: some days of ticks; then recording ends
_Host = tuple[float, float, float]


class RecordError(ValueError):
    """A file that cannot be replayed; the text says why."""


class Mismatch(RecordError):
    """A record of another version, or made under conditions that are not met here."""


@dataclass(frozen=True)
class Tick:
    """One recorded tick."""

    time: float
    """Seconds on the daemon's clock."""
    host: _Host
    """cpu and memory as shares, network in bytes per second."""
    worlds: tuple[World, ...]
    digest: str
    """Of the verdicts; empty when no law ran."""
    swaps: Mapping[str, Programs]
    """Laws of the predictor that were installed before the tick, by service."""


class Recorder:
    """Writes ticks to a new file; raises `FileExistsError` rather than write over an old one."""

    def __init__(self, path: Path, head: Mapping[str, object]) -> None:
        self._file = gzip.open(path, "xt", compresslevel=1, encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._written = 0
        self.full = False
        self._write({"format": FORMAT, **head})

    def tick(
        self,
        time: float,
        host: _Host,
        worlds: tuple[World, ...],
        verdicts: Mapping[str, Verdict],
        swaps: Mapping[str, Programs] | None = None,
    ) -> None:
        """Add one tick; once `MAX_BYTES` are written the rest is not recorded and `full` is set."""
        if not self.full:
            self._write(
                {
                    "t": time,
                    "host": host,
                    "worlds": [_pack(world) for world in worlds],
                    "digest": digest(verdicts),
                    **({"laws": swaps} if swaps else {}),
                }
            )

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _write(self, document: Mapping[str, object]) -> None:
        line = json.dumps(document, separators=(",", ":"))
        self._written += len(line) + 1
        self.full = self._written > MAX_BYTES
        self._file.write(line + "\n")


def read(path: Path) -> tuple[Head, Iterator[Tick]]:
    """Return the head of a record and its ticks, read as they are asked for.

    Raises `Mismatch` for another format, and `RecordError` for what is no record or damaged.
    """
    lines = _lines(path)
    document = next(lines, {})
    number = document.pop("format", None)
    if type(number) is not int:
        raise RecordError(f"{path} is no record; make one with shivya daemon --record")
    if number != FORMAT:
        raise Mismatch(
            f"{path} is a record of format {number}, here is format {FORMAT}; "
            "replay it with the version of shivya that wrote it"
        )
    try:
        return head.parse(document), (_tick(path, line) for line in lines)
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}") from error


def digest(verdicts: Mapping[str, Verdict]) -> str:
    """Return a digest of verdicts in which every bit of every number counts."""
    if not verdicts:
        return ""
    text = repr([(name, verdicts[name]) for name in sorted(verdicts)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                document = json.loads(line)
                if not isinstance(document, dict):
                    raise RecordError(f"{path}: a line is not an object")
                yield document
    except EOFError:
        return  # the daemon was killed: what is there is whole up to its last line
    except (OSError, RecursionError, ValueError, zlib.error) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error


def _tick(path: Path, document: dict[str, Any]) -> Tick:
    try:
        cpu, memory, network = document["host"]
        worlds = tuple(_unpack(world) for world in document["worlds"])
        swaps = {name: parse(laws) for name, laws in document.get("laws", {}).items()}
        if not isinstance(document["digest"], str):
            raise ValueError("its digest is no text")
        return Tick(float(document["t"]), (cpu, memory, network), worlds, document["digest"], swaps)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RecordError(f"{path}: a tick is damaged: {error!r}") from error


def _pack(world: World) -> dict[str, object]:
    return {
        "service": world.service,
        "stale_after": world.stale_after,
        "vertices": [[v.id.hex(), *astuple(v)[1:]] for v in world.vertices],
        "links": [[k.tail.hex(), k.head.hex(), *astuple(k)[2:]] for k in world.links],
    }


def _unpack(document: dict[str, Any]) -> World:
    vertices = [Vertex(bytes.fromhex(row[0]), *row[1:]) for row in document["vertices"]]
    links = [Link(bytes.fromhex(row[0]), bytes.fromhex(row[1]), *row[2:]) for row in document["links"]]
    if any(len(row) != len(fields(Vertex)) for row in document["vertices"]) or not vertices:
        raise ValueError("a vertex lacks a field")
    return World(document["service"], tuple(vertices), tuple(links), document["stale_after"])
