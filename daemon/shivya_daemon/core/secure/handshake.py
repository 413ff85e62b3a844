"""One Noise handshake (Noise Protocol Framework, revision 34): IKpsk2 or XXpsk3, 25519_ChaChaPoly_BLAKE2s.

The handshake state is that of `noiseprotocol`, which only this module imports. Its transport objects are not
used: they take neither associated data nor an explicit counter, so both keys are taken out after the split.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.backends.default.keypairs import KeyPair25519
from noise.connection import NoiseConnection
from noise.exceptions import NoiseValueError

PROLOGUE = b"shivya/1"
KEY_BYTES = 32
TAG_BYTES = 16


class Pattern(Enum):
    """The handshakes of the secure wire, by their full Noise names."""

    IK = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
    XX = b"Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s"


class HandshakeError(ValueError):
    """A handshake message is refused; `reason` is one of a fixed set of words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Handshake:
    """One side of one handshake; `write` and `read` alternate, the initiator writes first.

    `static` is this side's X25519 key, `ephemeral` 32 fresh secret bytes, `psk` the mesh key (32 bytes; None
    for a name without psk), `remote` the responder's static public key, which the initiator of IK must know.
    """

    __slots__ = ("_noise", "_protocol", "_state")

    def __init__(
        self,
        name: bytes,
        *,
        initiator: bool,
        static: X25519PrivateKey,
        ephemeral: bytes,
        psk: bytes | None,
        remote: bytes | None = None,
        prologue: bytes = PROLOGUE,
    ) -> None:
        noise = NoiseConnection.from_name(name)
        (noise.set_as_initiator if initiator else noise.set_as_responder)()
        noise.set_prologue(prologue)
        if psk is not None:
            noise.set_psks(psk)
        self._protocol: Any = noise.noise_protocol
        public = static.public_key()
        self._protocol.keypairs["s"] = KeyPair25519(static, public, public.public_bytes_raw())
        if remote is not None:
            self._protocol.keypairs["rs"] = _public(remote)
        noise.start_handshake()
        self._noise = noise
        self._state: Any = self._protocol.handshake_state
        # Set after the start: given before it, the library warns of keys that should be fresh.
        self._state.e = KeyPair25519.from_private_bytes(ephemeral)

    def write(self, payload: bytes) -> bytes:
        """Return the next handshake message; raises `HandshakeError` if the other side's keys are no keys."""
        buffer = bytearray()
        try:
            self._state.write_message(payload, buffer)
        except ValueError:
            raise HandshakeError("bad_handshake") from None
        return bytes(buffer)

    def read(self, message: bytes) -> bytes:
        """Return the payload of the other side's message.

        Raises `HandshakeError` for a message that is not its next one, and stays as it was: what anybody can
        send must not end a handshake.
        """
        state, symmetric = self._state, self._state.symmetric_state
        cipher = symmetric.cipher_state
        before = (symmetric.h, symmetric.ck, cipher.k, cipher.n, state.re, state.rs)
        patterns = list(state.message_patterns)
        psks = None if self._protocol.psks is None else list(self._protocol.psks)
        payload = bytearray()
        try:
            state.read_message(message, payload)
        except (InvalidTag, NoiseValueError, ValueError):
            symmetric.h, symmetric.ck, key, nonce, state.re, state.rs = before
            cipher.initialize_key(key)
            cipher.n = nonce
            state.message_patterns, self._protocol.psks = patterns, psks
            raise HandshakeError("bad_handshake") from None
        return bytes(payload)

    @property
    def remote(self) -> bytes:
        """The other side's static public key (32 bytes), once known."""
        public: bytes = self._state.rs.public_bytes
        return public

    @property
    def hash(self) -> bytes:
        """The hash of the whole handshake (32 bytes), once it is finished."""
        digest: bytes = self._protocol.handshake_hash
        return digest

    def keys(self) -> tuple[bytes, bytes]:
        """Return the keys (32 bytes each) to seal and to open with, once it is finished."""
        return self._protocol.cipher_state_encrypt.k, self._protocol.cipher_state_decrypt.k


def _public(raw: bytes) -> KeyPair25519:
    try:
        return KeyPair25519.from_public_bytes(raw)
    except (NoiseValueError, ValueError):
        raise HandshakeError("bad_handshake") from None
