"""Our handshake against the public vectors, against a second implementation, and against forgers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.public import PublicKey
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.handshakepatterns.interactive.XX import XXHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from dissononce.processing.modifiers.psk import PSKPatternModifier

from shivya_daemon.core.secure.handshake import PROLOGUE, Handshake, HandshakeError, Pattern
from shivya_daemon.core.secure.session import Session
from shivya_daemon.core.secure.settings import SecureSettings

PSK = bytes(range(100, 132))
MESSAGES = {Pattern.IK: 2, Pattern.XX: 3}


def private(seed: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(random.Random(seed).randbytes(32))


def ours(pattern: Pattern, initiator: bool, psk: bytes = PSK, **options: Any) -> Handshake:
    remote = private(2).public_key().public_bytes_raw() if initiator and pattern is Pattern.IK else None
    options = {"remote": remote, "ephemeral": random.Random(3 + initiator).randbytes(32), **options}
    static = private(1 if initiator else 2)
    return Handshake(pattern.value, initiator=initiator, static=static, psk=psk, **options)


class Theirs:
    """The same side of the same handshake, by dissononce."""

    def __init__(self, pattern: Pattern, initiator: bool) -> None:
        dh = X25519DH()
        self._state = HandshakeState(SymmetricState(CipherState(ChaChaPolyCipher()), Blake2sHash()), dh)
        base, place = (IKHandshakePattern(), 2) if pattern is Pattern.IK else (XXHandshakePattern(), 3)
        own = private(1 if initiator else 2)
        remote = PublicKey(private(2).public_key().public_bytes_raw())
        self._state.initialize(
            PSKPatternModifier(place).modify(base),
            initiator,
            PROLOGUE,
            s=dh.generate_keypair(PublicKey(own.private_bytes_raw())),
            rs=remote if initiator and pattern is Pattern.IK else None,
            psks=[PSK],
        )
        assert self._state.protocol_name.encode() == pattern.value
        self._initiator = initiator
        self._ciphers: tuple[Any, Any] | None = None

    def write(self, payload: bytes) -> bytes:
        buffer = bytearray()
        self._ciphers = self._state.write_message(payload, buffer) or self._ciphers
        return bytes(buffer)

    def read(self, message: bytes) -> bytes:
        buffer = bytearray()
        self._ciphers = self._state.read_message(message, buffer) or self._ciphers
        return bytes(buffer)

    @property
    def hash(self) -> bytes:
        return bytes(self._state.symmetricstate.get_handshake_hash())

    @property
    def remote(self) -> bytes:
        return bytes(self._state.rs.data)

    def seal(self, counter: int, header: bytes, inner: bytes) -> bytes:
        assert self._ciphers is not None
        cipher = self._ciphers[0 if self._initiator else 1]
        cipher.set_nonce(counter)
        return bytes(cipher.encrypt_with_ad(header, inner))

    def open(self, counter: int, header: bytes, sealed: bytes) -> bytes:
        assert self._ciphers is not None
        cipher = self._ciphers[1 if self._initiator else 0]
        cipher.set_nonce(counter)
        return bytes(cipher.decrypt_with_ad(header, sealed))


def shake(initiator: Any, responder: Any, pattern: Pattern) -> None:
    sides = (initiator, responder)
    for number in range(MESSAGES[pattern]):
        payload = bytes((number,)) * (40 * number)
        assert sides[1 - number % 2].read(sides[number % 2].write(payload)) == payload


def vectors() -> list[Any]:
    path = Path(__file__).resolve().parents[2] / "golden" / "noise_vectors.json"
    return list(json.loads(path.read_text())["vectors"])


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["protocol_name"])
def test_public_vectors(vector: dict[str, Any]) -> None:
    def side(prefix: str) -> Handshake:
        remote = vector.get(f"{prefix}_remote_static")
        return Handshake(
            vector["protocol_name"].encode(),
            initiator=prefix == "init",
            static=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{prefix}_static"])),
            ephemeral=bytes.fromhex(vector[f"{prefix}_ephemeral"]),
            psk=bytes.fromhex(vector[f"{prefix}_psks"][0]) if f"{prefix}_psks" in vector else None,
            remote=bytes.fromhex(remote) if remote else None,
            prologue=bytes.fromhex(vector[f"{prefix}_prologue"]),
        )

    sides = (side("init"), side("resp"))
    count = 3 if "XX" in vector["protocol_name"] else 2
    for number, message in enumerate(vector["messages"]):
        payload, expected = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        sender, receiver = sides[number % 2], sides[1 - number % 2]
        if number < count:
            assert sender.write(payload) == expected
            assert receiver.read(expected) == payload
        else:
            assert sender.keys() == receiver.keys()[::-1]
            nonce = bytes(4) + ((number - count) // 2).to_bytes(8, "little")
            assert ChaCha20Poly1305(sender.keys()[0]).encrypt(nonce, payload, None) == expected
    assert sides[0].hash.hex() == sides[1].hash.hex() == vector["handshake_hash"]


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize("we_begin", [True, False])
def test_another_implementation_agrees(pattern: Pattern, we_begin: bool) -> None:
    we, they = ours(pattern, we_begin), Theirs(pattern, not we_begin)
    shake(*((we, they) if we_begin else (they, we)), pattern)
    assert we.hash == they.hash
    assert they.remote == private(1 if we_begin else 2).public_key().public_bytes_raw()
    assert we.remote == private(2 if we_begin else 1).public_key().public_bytes_raw()

    session = Session(b"n" * 20, 5, 6, we.keys(), initiated=we_begin, now=0.0, settings=SecureSettings())
    for counter in range(3):
        data = session.seal(9, b"to them")
        assert they.open(counter, data[:13], data[13:]) == (9).to_bytes(8, "big") + b"to them"
    for counter in (4, 0, 2**40):  # as late and as far apart as they like
        header = b"\x06" + (5).to_bytes(4, "big") + counter.to_bytes(8, "big")
        data = header + they.seal(counter, header, bytes(8) + b"to us")
        opening = session.open(data, 1.0)
        assert not isinstance(opening, str) and opening.frame == b"to us"


@pytest.mark.parametrize("pattern", Pattern)
def test_forged_and_cut_messages_leave_a_handshake_as_it_was(pattern: Pattern) -> None:
    sides = (ours(pattern, True), ours(pattern, False))
    noise = random.Random(5)
    for number in range(MESSAGES[pattern]):
        sender, receiver = sides[number % 2], sides[1 - number % 2]
        message = sender.write(b"payload")
        flipped = bytearray(message)
        flipped[noise.randrange(len(message))] ^= 1 << noise.randrange(8)
        forgeries = [bytes(flipped), message[:-1], message[:40], b"", noise.randbytes(len(message))]
        for forged in [*forgeries, bytes(len(message)), message + b"x"]:
            with pytest.raises(HandshakeError, match="bad_handshake"):
                receiver.read(forged)
        assert receiver.read(message) == b"payload"
    assert sides[0].keys() == sides[1].keys()[::-1]


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize("difference", [{"psk": bytes(32)}, {"prologue": b"shivya/2"}])
def test_other_keys_and_other_protocols_are_refused(pattern: Pattern, difference: dict[str, Any]) -> None:
    with pytest.raises(HandshakeError, match="bad_handshake"):
        shake(ours(pattern, True), ours(pattern, False, **difference), pattern)


@pytest.mark.parametrize("remote", [bytes(32), b"short"])
def test_what_is_no_key_is_refused_when_it_is_used(remote: bytes) -> None:
    with pytest.raises(HandshakeError, match="bad_handshake"):
        ours(Pattern.IK, True, remote=remote).write(b"")


def test_the_ephemeral_key_comes_from_the_entropy() -> None:
    first = ours(Pattern.XX, True, ephemeral=b"\x01" * 32).write(b"")
    again = ours(Pattern.XX, True, ephemeral=b"\x01" * 32).write(b"")
    other = ours(Pattern.XX, True, ephemeral=b"\x02" * 32).write(b"")
    assert first == again and first[:32] != other[:32]
    public = X25519PrivateKey.from_private_bytes(b"\x01" * 32).public_key().public_bytes_raw()
    assert first[:32] == public
