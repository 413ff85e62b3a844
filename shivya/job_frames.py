"""Frames of the job carrier: what two applications say to each other over a TCP connection.

A frame is `magic "SJ", version u8, kind u8, length u32, body`, big-endian. Both sides begin with HELLO; then
the one that connected sends JOB frames, and ASK frames when it has nothing to do, and gets one ACK for each,
in order; a job that was asked for comes as any other, over a connection of the one that gives it. A job
travels with its age, not with a time of birth: clocks of nodes may differ. Everything is bounded; whatever
does not parse exactly is a `FrameError`, and the connection is of no more use.
"""

from __future__ import annotations

import asyncio
import math
import struct
from dataclasses import dataclass

MAX_PAYLOAD = 64 * 1024
MAX_NAME = 64
MAX_HOPS = 65_535
ID_BYTES = 16
MAX_AGE = 1e9  # seconds

HELLO, JOB, ACK, ASK = 1, 2, 3, 4

_MAGIC = b"SJ"
_VERSION = 2
_HEADER = struct.Struct(">2sBBI")
_HELLO = struct.Struct(">QB")
_JOB = struct.Struct(">16sQHdB")
_ACK = struct.Struct(">16sQBIddQ")
_ASK = struct.Struct(">Q")
_DUPLICATE, _REFUSED, _LOAD_KNOWN = 1, 2, 4
_MAX_BODY = _JOB.size + MAX_NAME + MAX_PAYLOAD


class FrameError(ValueError):
    """Bytes that are no frame of this protocol."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job on its way: 128-bit id, at most 64 KiB of payload, moves so far, and the node it began at."""

    id: bytes
    payload: bytes
    hops: int = 0
    source: str = ""
    age: float = 0.0
    """Seconds since its birth, at the time at which it was handed to or came from a carrier."""

    def __post_init__(self) -> None:
        if len(self.id) != ID_BYTES:
            raise ValueError(f"a job id has {ID_BYTES} bytes, not {len(self.id)}")
        if len(self.payload) > MAX_PAYLOAD:
            raise ValueError(f"a payload has at most {MAX_PAYLOAD} bytes, not {len(self.payload)}")
        if not 0 <= self.hops <= MAX_HOPS:
            raise ValueError(f"hops must be from 0 to {MAX_HOPS}, not {self.hops}")
        if not 0.0 <= self.age <= MAX_AGE:
            raise ValueError(f"age must be from 0 to {MAX_AGE:g} seconds, not {self.age}")
        check_name("source", self.source)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of each side: a number drawn at the start of its process, and the node's name or id."""

    incarnation: int
    name: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One move of a job; `move` is the same each time this move is tried again."""

    move: int
    job: Job


@dataclass(frozen=True, slots=True)
class Ask:
    """An idle neighbour asks for a waiting job; `move` tells its requests apart."""

    move: int


@dataclass(frozen=True, slots=True)
class Ack:
    """Answer to a delivery or a request, with the receiver's load (None while it does not know it)."""

    id: bytes
    """Of the job; zeros in the answer to a request."""
    move: int
    duplicate: bool
    refused: bool
    """The job was not taken, or none is given."""
    load: tuple[int, float, float] | None
    """Jobs held, jobs per second, potential in seconds."""
    accepted: int
    """Jobs the receiver has accepted from this sender since it started."""


Frame = Hello | Delivery | Ack | Ask


def check_name(field: str, name: str) -> str:
    """Return `name` if it fits into a frame, else raise `ValueError`."""
    if not name.isascii() or not name.isprintable() or len(name) > MAX_NAME:
        raise ValueError(f"{field} must be at most {MAX_NAME} printable ASCII characters, not {name[:80]!r}")
    return name


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    match frame:
        case Hello(incarnation, name):
            kind, body = HELLO, _HELLO.pack(incarnation, len(name)) + name.encode()
        case Delivery(move, job):
            fixed = _JOB.pack(job.id, move, job.hops, job.age, len(job.source))
            kind, body = JOB, fixed + job.source.encode() + job.payload
        case Ask(move):
            kind, body = ASK, _ASK.pack(move)
        case Ack():
            queue, rate, potential = frame.load or (0, 0.0, 0.0)
            flags = _DUPLICATE * frame.duplicate | _REFUSED * frame.refused
            flags |= _LOAD_KNOWN * (frame.load is not None)
            kind, body = ACK, _ACK.pack(frame.id, frame.move, flags, queue, rate, potential, frame.accepted)
    return _HEADER.pack(_MAGIC, _VERSION, kind, len(body)) + body


async def read(reader: asyncio.StreamReader) -> Frame | None:
    """Return the next frame, None at the end of the stream; raises `FrameError`, `OSError`."""
    try:
        magic, version, kind, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if magic != _MAGIC or version != _VERSION:
            raise FrameError(f"not job carrier version {_VERSION}")
        if length > _MAX_BODY:
            raise FrameError(f"a frame of {length} bytes")
        return decode(kind, await reader.readexactly(length))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError("the stream ends within a frame") from None
        return None


def decode(kind: int, body: bytes) -> Frame:
    """Return the frame of a body; raises `FrameError`."""
    try:
        match kind:
            case 1:
                incarnation, length = _HELLO.unpack_from(body)
                return Hello(incarnation, _name(body[_HELLO.size :], length))
            case 2:
                identity, move, hops, age, length = _JOB.unpack_from(body)
                rest = body[_JOB.size :]
                job = Job(identity, rest[length:], hops, _name(rest[:length], length), age)
                return Delivery(move, job)
            case 3:
                identity, move, flags, queue, rate, potential, accepted = _ACK.unpack(body)
                if not (math.isfinite(rate) and math.isfinite(potential)):
                    raise FrameError("an acknowledgement with a number that is not finite")
                load = (queue, rate, potential) if flags & _LOAD_KNOWN else None
                return Ack(identity, move, bool(flags & _DUPLICATE), bool(flags & _REFUSED), load, accepted)
            case 4:
                return Ask(*_ASK.unpack(body))
    except (struct.error, ValueError) as error:
        raise FrameError(str(error)) from None
    raise FrameError(f"unknown kind {kind}")


def _name(raw: bytes, length: int) -> str:
    if len(raw) != length:
        raise FrameError("a name of the wrong length")
    return check_name("name", raw.decode("ascii"))
