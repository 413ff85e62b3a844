"""What a worker and the generator say to each other: one JSON object per line over stdin and stdout.

Pipes are private to parent and child, keep what a killed worker had already said, and end with either side.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, dataclass
from typing import ClassVar

MAX_LINE = 1024
MAX_AGE = 1e9  # seconds; what a hand-over can carry
_ATTEMPT = struct.Struct(">QQ")
_PAYLOAD = struct.Struct(">d")


@dataclass(frozen=True, slots=True)
class Task:
    """A job as it stands: generator's id, size, how often it was resubmitted, how often handed over since.

    `age` is the time in seconds since it was first submitted.
    """

    kind: ClassVar[str] = "task"
    id: int
    size: float
    attempt: int = 0
    hops: int = 0
    age: float = 0.0

    @property
    def attempt_id(self) -> bytes:
        """16 bytes that name this attempt: a duplicate shares them, a resubmission does not."""
        return _ATTEMPT.pack(self.id, self.attempt)

    @property
    def payload(self) -> bytes:
        """What travels beside `attempt_id`."""
        return _PAYLOAD.pack(self.size)

    @classmethod
    def from_transfer(cls, attempt_id: bytes, payload: bytes, hops: int, age: float) -> Task:
        """The task that a hand-over carries; ValueError when it is malformed."""
        try:
            job, attempt = _ATTEMPT.unpack(attempt_id)
            (size,) = _PAYLOAD.unpack(payload)
        except struct.error as error:
            raise ValueError(f"not a task: {error}") from error
        if not possible_size(size):
            raise ValueError(f"a job of size {size}")
        return cls(job, size, attempt, hops, age)


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker takes jobs; `address` is where other workers reach it (None without the mesh)."""

    kind: ClassVar[str] = "ready"
    address: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """A job was served."""

    kind: ClassVar[str] = "done"
    id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A job left for the worker at `to`; `sure` when that worker acknowledged it.

    `hops` counts this hand-over too, so that news from two workers can be put in order.
    """

    kind: ClassVar[str] = "moved"
    id: int
    attempt: int
    hops: int
    to: str
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Finish:
    """To a worker: serve what is left, then end."""

    kind: ClassVar[str] = "finish"


Message = Task | Ready | Done | Moved | Finish
_KINDS: dict[str, type[Task] | type[Ready] | type[Done] | type[Moved] | type[Finish]] = {
    kind.kind: kind for kind in (Task, Ready, Done, Moved, Finish)
}
_COUNTERS = {"id": 2**64, "attempt": 2**64, "hops": 2**64}


def encode(message: Message) -> bytes:
    """One line, newline included."""
    return json.dumps({"kind": message.kind, **asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read one line; ValueError on anything that `encode` would not have written."""
    try:
        fields = json.loads(line)
        message = _KINDS[fields.pop("kind")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a message: {line[:80]!r}") from error
    for name, value in asdict(message).items():
        if not _possible(name, value):
            raise ValueError(f"{message.kind} has an impossible {name}: {line[:80]!r}")
    return message


def _possible(name: str, value: object) -> bool:
    if name in _COUNTERS:
        return type(value) is int and 0 <= value < _COUNTERS[name]
    if name == "size":
        return possible_size(value)
    if name == "age":
        return possible_size(value) and value <= MAX_AGE  # type: ignore[operator]  # a float, then
    if name == "sure":
        return isinstance(value, bool)
    return isinstance(value, str) or (name == "address" and value is None)


def possible_size(value: object) -> bool:
    """Whether `value` can be the size of a job: a finite float, not negative."""
    return isinstance(value, float) and math.isfinite(value) and value >= 0
