"""The register: which spirit lives on the mesh, and how. The last writer wins.

Every node that takes part publishes its copy by gossip, together with the size of the part it hosts, so that
newcomers and restarted nodes find it whoever wrote it. Versions are (counter, author), no clock: who writes
goes one beyond the highest counter it knows, and of two who wrote at once the higher id wins.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace

from shivya_daemon.core.errors import DecodeError, EncodeError
from shivya_daemon.core.fields import NAME_CHARACTERS, decode_text, encode_text, unpack
from shivya_daemon.core.identity import NODE_ID_BYTES
from shivya_daemon.spirits.settings import Settings

MAX_COUNTER = 2**48 - 1
"""No honest mesh gets there; one that was brought there has to be started anew."""
MAX_NAME = 32
MAX_NUTRIENT = 2**63 - 1
UNIT = 10**9
"""Of nutrient: what is exchanged and told is whole billionths."""

_VERSION = 1
_SUMMONED, _HOSTED = 1, 2
_HEAD = struct.Struct(f">BBQ{NODE_ID_BYTES}s8s32s")
_TAIL = struct.Struct(">HHHHHQ")
_LABEL = b"shivya/1 spirit"


@dataclass(frozen=True, slots=True)
class Register:
    """One version."""

    counter: int = 0
    author: bytes = bytes(NODE_ID_BYTES)
    summoned: bool = False
    name: str = ""
    digest: bytes = bytes(32)
    """Of the package."""
    organism: bytes = bytes(8)
    """Stands for this summoning: parts of different summonings have nothing to exchange."""
    settings: Settings = field(default_factory=Settings)

    @property
    def version(self) -> tuple[int, bytes]:
        """What decides between two registers."""
        return (self.counter, self.author)

    def summon(self, author: bytes, name: str, digest: bytes, settings: Settings) -> Register:
        """Return the next version, with a new organism; raises `OverflowError`."""
        counter = self._next()
        stamp = _LABEL + digest + counter.to_bytes(8, "big") + author
        organism = hashlib.sha256(stamp).digest()[:8]
        return Register(counter, author, True, name, digest, organism, settings)

    def dismiss(self, author: bytes) -> Register:
        """Return the next version, without a spirit; raises `OverflowError`."""
        return replace(self, counter=self._next(), author=author, summoned=False)

    def tune(self, author: bytes, settings: Settings) -> Register:
        """Return the next version, of the same organism; raises `OverflowError`."""
        return replace(self, counter=self._next(), author=author, settings=settings)

    def _next(self) -> int:
        if self.counter >= MAX_COUNTER:
            raise OverflowError("the register of spirits is used up; stop all daemons, then start them again")
        return self.counter + 1


@dataclass(frozen=True, slots=True)
class Part:
    """How much of the spirit one node hosts."""

    cells: int = 0
    tubes: int = 0
    nutrient: int = 0
    """In billionths."""


def encode(register: Register, part: Part | None) -> bytes:
    """Return the value of SPIRIT (at most 124 bytes); `part` is None where the spirit does not live."""
    flags = (_SUMMONED if register.summoned else 0) | (0 if part is None else _HOSTED)
    part, settings = part or Part(), register.settings
    thousandths = (settings.speed, settings.exploration, settings.decay)
    try:
        head = _HEAD.pack(
            _VERSION, flags, register.counter, register.author, register.organism, register.digest
        )
        tail = _TAIL.pack(
            *(round(value * 1000) for value in thousandths),
            min(part.cells, 0xFFFF),
            min(part.tubes, 0xFFFF),
            min(part.nutrient, MAX_NUTRIENT),
        )
    except struct.error as error:
        raise EncodeError(f"register: {error}") from None
    return head + encode_text(register.name, MAX_NAME, NAME_CHARACTERS) + tail


def decode(value: bytes) -> tuple[Register, Part | None]:
    """Return what is in a value of SPIRIT; raises `DecodeError`."""
    version, flags, counter, author, organism, digest = unpack(_HEAD, value, 0)
    if version != _VERSION:
        raise DecodeError("bad_version")
    if flags & ~(_SUMMONED | _HOSTED):
        raise DecodeError("bad_flags")
    name, offset = decode_text(value, _HEAD.size, MAX_NAME, NAME_CHARACTERS)
    speed, exploration, decay, cells, tubes, nutrient = unpack(_TAIL, value, offset)
    if len(value) != offset + _TAIL.size:
        raise DecodeError("trailing_bytes")
    if not 1 <= counter <= MAX_COUNTER or nutrient > MAX_NUTRIENT or not name:
        raise DecodeError("out_of_range")
    try:
        settings = Settings(speed / 1000, exploration / 1000, decay / 1000)
    except ValueError:
        raise DecodeError("out_of_range") from None
    register = Register(counter, author, bool(flags & _SUMMONED), name, digest, organism, settings)
    return register, Part(cells, tubes, nutrient) if flags & _HOSTED else None
