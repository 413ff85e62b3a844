"""The keys between two nodes: sealing and opening transport frames, and how long that may go on."""

from __future__ import annotations

import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from shivya_daemon.core.secure.handshake import TAG_BYTES
from shivya_daemon.core.secure.replay import ReplayWindow
from shivya_daemon.core.secure.settings import SecureSettings

TYPE = 0x06
_HEADER = struct.Struct(">BIQ")
HEADER_BYTES = _HEADER.size
_REQUEST = struct.Struct(">Q")
OVERHEAD_BYTES = HEADER_BYTES + _REQUEST.size + TAG_BYTES
HEARD, ASKED = 0, 1
"""Request ids of empty frames: this side hears; this side hears, and asks for such a frame."""
_MAX_COUNTER = 2**64 - 2**13 - 1  # WireGuard, 6.1; Noise reserves 2^64 - 1


class Opening(NamedTuple):
    """An authentic transport frame."""

    request: int
    frame: bytes
    """Empty where the sender only shows that it hears."""
    counter: int
    newest: bool
    """Whether no frame with a higher counter was opened before."""


class Session:
    """One pair of keys: `index` is ours and heads what we receive, `remote` theirs and heads what we send."""

    __slots__ = (
        "_next",
        "_opener",
        "_sealer",
        "_settings",
        "_window",
        "born",
        "heard",
        "index",
        "initiated",
        "node",
        "remote",
    )

    def __init__(
        self,
        node: bytes,
        index: int,
        remote: int,
        keys: tuple[bytes, bytes],
        *,
        initiated: bool,
        now: float,
        settings: SecureSettings,
    ) -> None:
        self.node = node
        self.index = index
        self.remote = remote
        self.initiated = initiated
        self.born = now
        self.heard = False
        """Whether a frame of the other side was opened: it has these keys."""
        self._sealer, self._opener = ChaCha20Poly1305(keys[0]), ChaCha20Poly1305(keys[1])
        self._next = 0
        self._window = ReplayWindow()
        self._settings = settings

    def usable(self, now: float) -> bool:
        """Return whether its keys may still be used."""
        return now - self.born < self._settings.refuse_after and self._next < _MAX_COUNTER

    def tired(self, now: float) -> bool:
        """Return whether the next session should begin when this side sends."""
        limits = self._settings
        after = limits.rekey_after if self.initiated else limits.rekey_after_responder
        return now - self.born >= after or self._next >= limits.rekey_messages

    def seal(self, request: int, frame: bytes) -> bytes:
        """Return the datagram that carries `frame` under the next counter; ask `usable` first."""
        counter = self._next
        self._next = counter + 1
        header = _HEADER.pack(TYPE, self.remote, counter)
        return header + self._sealer.encrypt(_nonce(counter), _REQUEST.pack(request) + frame, header)

    def open(self, data: bytes, now: float) -> Opening | str:
        """Return what a datagram of this index says, or the reason to drop it."""
        if now - self.born >= self._settings.refuse_after:
            return "expired_session"
        if len(data) < OVERHEAD_BYTES:
            return "truncated"
        _, _, counter = _HEADER.unpack_from(data)
        if counter >= _MAX_COUNTER:
            return "bad_counter"
        if not self._window.fresh(counter):
            return "replayed"
        try:
            inner = self._opener.decrypt(_nonce(counter), data[HEADER_BYTES:], data[:HEADER_BYTES])
        except InvalidTag:
            return "bad_seal"
        self.heard = True
        (request,) = _REQUEST.unpack_from(inner)
        return Opening(request, inner[_REQUEST.size :], counter, self._window.mark(counter))


def _nonce(counter: int) -> bytes:
    return (counter << 32).to_bytes(12, "little")  # four zero bytes, then the counter: Noise, 12.3
