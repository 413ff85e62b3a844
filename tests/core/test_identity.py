"""Identities: the id is bound to the key, and the key survives a file."""

from __future__ import annotations

import hashlib

import pytest

from shivya_daemon.core.identity import Identity, verify

# RFC 8032, 7.1, test 1
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_the_id_is_the_head_of_the_hash_of_the_public_key() -> None:
    identity = Identity.from_private_bytes(SECRET)
    assert identity.public_key == PUBLIC
    assert identity.node_id == hashlib.sha256(PUBLIC).digest()[:20]
    assert identity.private_bytes() == SECRET


def test_generation_uses_the_given_entropy_alone() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return SECRET

    assert Identity.generate(entropy).node_id == Identity.from_private_bytes(SECRET).node_id
    assert asked == [32]


def test_a_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        Identity.from_private_bytes(SECRET[:31])


def test_the_private_key_is_not_shown() -> None:
    assert SECRET.hex() not in repr(Identity.from_private_bytes(SECRET))


def test_signatures_are_those_of_the_rfc_and_verify_only_what_was_signed() -> None:
    identity = Identity.from_private_bytes(SECRET)
    signature = identity.sign(b"")
    assert signature.hex().startswith("e5564300c360ac72")  # RFC 8032, 7.1, test 1
    assert verify(PUBLIC, signature, b"")
    assert not verify(PUBLIC, signature, b"x")
    assert not verify(PUBLIC, signature[:63], b"")
    assert not verify(b"short", signature, b"")


def test_the_session_key_follows_from_the_identity_and_is_another_key() -> None:
    first, again = (Identity.from_private_bytes(SECRET) for _ in range(2))
    assert first.static_public == again.static_public == first.static_key.public_key().public_bytes_raw()
    assert first.static_key.private_bytes_raw() != SECRET
