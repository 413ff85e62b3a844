"""What an attacker may try against the secure wire, and what each defence is there for."""

from __future__ import annotations

import random
from typing import Any

import pytest

from shivya_daemon.core.identity import Identity
from shivya_daemon.core.secure import messages
from shivya_daemon.core.secure.credentials import LABEL, Introduction, encode_payload
from shivya_daemon.core.secure.handshake import Handshake, Pattern
from shivya_daemon.core.secure.messages import Message
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.secure.stamps import Stamps

Wire = Any
Party = Any
MESH_KEY = bytes(range(32))
HOSTILE = ("203.0.113.66", 666)


def spoofed(number: int) -> tuple[str, int]:
    return (f"198.51.{number // 250}.{number % 250 + 1}", 1000 + number)


def first_message(party: Party, other: Party, known: bool) -> bytes:
    """The initiation of a party, taken from the wire before it arrives."""
    static = other.identity.static_public if known else None
    party.sessions.connect(other.address, party.wire.now, static=static)
    ((data, _),) = party.sessions.datagrams()
    return bytes(data)


def state(party: Party) -> int:
    """Everything a party remembers of others."""
    sessions = party.sessions
    return len(sessions._indices) + len(sessions._answerer._accepted) + len(sessions._admission._limits)


def test_without_the_mesh_key_nothing_is_answered_and_nothing_remembered(wire: Wire) -> None:
    ben = wire.add()
    for number in range(300):
        stranger = wire.add(mesh_key=None if number % 2 else bytes((number % 256,)) * 32)
        assert ben.hear(first_message(stranger, ben, known=number % 3 == 0), spoofed(number)) == "bad_mac"
    assert state(ben) == 0 and not wire.sent and ben.sessions.next_deadline() is None


@pytest.mark.parametrize("known", [False, True])
def test_a_replayed_initiation_gains_nothing(wire: Wire, known: bool) -> None:
    anna, ben = wire.add(), wire.add()
    anna.connect(ben, known=known)
    wire.run(1.0)
    recorded = [data for source, _, data in wire.sent if source == anna.address]
    before = ben.sessions._peers.get(anna.id).current
    for data in recorded:
        ben.hear(data, HOSTILE)
    wire.run(30.0)
    assert ben.sessions._peers.get(anna.id).current is before
    assert ben.sessions.address(anna.id) == anna.address
    assert len(ben.events) == 1 and not ben.opened
    if known:
        assert ben.drops["replayed_initiation"] == 1
        assert all(to != HOSTILE for _, to, _ in wire.sent)


def test_a_replay_is_known_even_when_the_session_is_gone(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add()
    anna.connect(ben, known=True)
    wire.run(1.0)
    initiation = wire.sent[0][2]
    ben.sessions.close(anna.id)
    assert ben.hear(initiation, anna.address) == "replayed_initiation"


def test_an_initiation_that_overtook_another_wins(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add()
    early = first_message(anna, ben, known=True)
    late = first_message(wire.replace(anna, incarnation=2), ben, known=True)
    assert ben.hear(late, anna.address) is None
    assert ben.hear(early, anna.address) == "replayed_initiation"


def flood(wire: Wire, ben: Party, count: int, known: bool) -> list[bytes]:
    """Genuine initiations of a member, each sent from somewhere else; returns what Ben answers."""
    start = len(wire.sent)
    for number in range(count):
        member = wire.add(SecureSettings())
        ben.hear(first_message(member, ben, known), spoofed(number))
    return [data for _, _, data in wire.sent[start:]]


@pytest.mark.parametrize("known", [False, True])
def test_a_spoofed_flood_fills_no_table_and_turns_into_cookies(wire: Wire, known: bool) -> None:
    limits = SecureSettings(max_half_open=16, max_remembered=20, max_addresses=10)
    ben = wire.add(limits)
    replies = flood(wire, ben, 200, known)
    assert len(ben.sessions._answerer) == 8  # half of the room, then cookies are asked for
    assert len(ben.sessions._admission._limits) <= 10 and len(ben.sessions._answerer._accepted) <= 20
    assert len(replies) == 200 and sum(data[0] == messages.COOKIE for data in replies) == 192
    assert ben.drops == {"cookie_required": 192} and not ben.events
    wire.parties = {ben.address: ben}
    wire.run(6.0)
    assert len(ben.sessions._indices) == 0


def test_only_so_many_identities_are_remembered(wire: Wire) -> None:
    ben = wire.add(SecureSettings(max_remembered=5))
    flood(wire, ben, 12, known=True)
    assert len(ben.sessions._answerer._accepted) == 5


def test_cookies_do_not_widen_a_table(wire: Wire) -> None:
    ben = wire.add(SecureSettings(max_half_open=4))
    for number in range(20):
        data = first_message(wire.add(), ben, known=number % 2 == 0)
        cookie = ben.sessions._admission._baker.cookies(spoofed(number), wire.now)[0]
        assert ben.hear(Stamps(MESH_KEY).stamp(data[:-32], cookie), spoofed(number)) is None
        assert len(ben.sessions._indices) == min(number + 1, 4)


def test_many_initiations_a_second_ask_for_cookies_too(wire: Wire) -> None:
    ben = wire.add(SecureSettings(calm_rate=10.0, calm_burst=5.0))
    assert [data[0] for data in flood(wire, ben, 8, known=False)] == [3] * 5 + [5] * 3


@pytest.mark.parametrize("known", [False, True])
def test_under_load_the_honest_come_in_with_their_cookie(wire: Wire, known: bool) -> None:
    anna, ben = wire.add(), wire.add(SecureSettings(calm_burst=0.0))
    anna.connect(ben, known=known)
    wire.run(2.0)
    assert [data[0] for _, _, data in wire.sent[:2]] == [1 if known else 2, 5]
    assert anna.established()[0].rtt == pytest.approx(0.02)  # of the try that was answered


def test_a_cookie_is_no_use_elsewhere_and_its_host_is_limited(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add(SecureSettings(calm_burst=0.0))
    first = first_message(anna, ben, known=False)
    assert ben.hear(first, anna.address) == "cookie_required"
    anna.hear(wire.sent[-1][2], ben.address)
    wire.run(1.0)
    shown = next(data for source, _, data in wire.sent if source == anna.address)
    assert any(shown[-16:])
    assert ben.hear(shown, HOSTILE) == "cookie_required"
    host = anna.address[0]
    for port in range(1, 60):  # a cookie for every port is easily had
        ben.hear(first, (host, port))
        cookie = ben.sessions._admission._baker.cookies((host, port), wire.now)[0]
        ben.hear(Stamps(MESH_KEY).stamp(first[:-32], cookie), (host, port))
    assert ben.drops["rate_limited"] > 45


def test_one_address_is_limited(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add()
    data = first_message(anna, ben, known=False)
    results = [ben.hear(data, HOSTILE) for _ in range(50)]
    assert results == [None] * 10 + ["rate_limited"] * 40
    assert ben.hear(data, anna.address) is None  # others are not


def test_no_answer_is_larger_than_three_times_what_it_answers(wire: Wire) -> None:
    ratios: list[float] = []
    anna, ben = wire.add(), wire.add(SecureSettings(calm_rate=0.1, calm_burst=2.0))
    for known in (False, True, True):
        data = first_message(anna, ben, known)
        before = len(wire.sent)
        ben.hear(data, HOSTILE)
        ratios.append(sum(len(reply) for _, _, reply in wire.sent[before:]) / len(data))
        anna = wire.add()
    assert len(ratios) == 3 and min(ratios) > 0 and max(ratios) <= 1.02


def test_an_attacker_cannot_speak_for_another(wire: Wire) -> None:
    """Mallory is of the mesh, and gives Anna's introduction, or her own key under Anna's name."""
    anna, ben, mallory = wire.add(), wire.add(), Identity.from_private_bytes(b"m" * 32)
    copied = anna.identity.sign(LABEL + anna.identity.static_public)
    own = mallory.sign(LABEL + mallory.static_public)
    for signature in (copied, own, bytes(64)):
        handshake = Handshake(
            Pattern.IK.value,
            initiator=True,
            static=mallory.static_key,
            ephemeral=random.Random(1).randbytes(32),
            psk=MESH_KEY,
            remote=ben.identity.static_public,
        )
        body = handshake.write(encode_payload(Introduction(anna.identity.public_key, signature, 9, 9)))
        data = Stamps(MESH_KEY).stamp(messages.encode(Message(1, 5, 0, body)), None)
        assert ben.hear(data, HOSTILE) == "bad_identity"
    # The lie was not remembered: Anna's own initiations are not older than it.
    anna.connect(ben, known=True)
    wire.run(1.0)
    assert anna.established() and ben.established()


def test_a_recorded_or_changed_frame_is_not_taken(wire: Wire) -> None:
    anna, ben = wire.pair()
    data = anna.say(ben, b"pay 5")
    wire.run(0.1)
    assert ben.hear(data, HOSTILE) == "replayed"
    fresh = anna.sessions.seal(ben.id, 1, b"pay 5", wire.now)[0]
    for place in (0, 2, 10, 20, len(fresh) - 1):
        changed = fresh[:place] + bytes((fresh[place] ^ 1,)) + fresh[place + 1 :]
        assert isinstance(ben.hear(changed, HOSTILE), str)
    assert ben.hear(fresh[:30], HOSTILE) == "truncated"
    assert ben.sessions.address(anna.id) == anna.address
    assert len(ben.opened) == 1


def test_a_forged_response_does_not_end_a_handshake(wire: Wire) -> None:
    for known in (False, True):
        anna, ben = wire.add(), wire.add()
        data = first_message(anna, ben, known)
        index = messages.decode(data).sender
        for size in (160, 208):
            forged = messages.encode(Message(messages.RESPONSE, 77, index, b"\x09" * size))
            assert anna.hear(Stamps(MESH_KEY).stamp(forged, None), ben.address) == "bad_handshake"
            assert anna.hear(forged + bytes(32), ben.address) == "bad_mac"
        wire.post(anna.address, ben.address, data)
        wire.run(0.1)
        assert anna.established() and ben.established()


def test_a_forged_last_message_does_not_end_a_handshake(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add()
    anna.connect(ben)
    wire.run(0.015)
    (response,) = [data for source, _, data in wire.sent if source == ben.address]
    index = messages.decode(response).sender
    forged = messages.encode(Message(messages.XX_FINAL, 0, index, b"\x09" * 176))
    assert ben.hear(Stamps(MESH_KEY).stamp(forged, None), HOSTILE) == "bad_handshake"
    assert ben.hear(b"\x06" + index.to_bytes(4, "big") + bytes(40), HOSTILE) == "unconfirmed"
    wire.run(0.1)
    assert ben.established()


def test_unsolicited_answers_are_dropped(wire: Wire) -> None:
    anna, ben = wire.add(), wire.add()
    anna.connect(ben, known=True)
    wire.run(1.0)
    response = next(data for _, _, data in wire.sent if data[0] == messages.RESPONSE)
    assert anna.hear(response, ben.address) == "unsolicited"
    assert anna.hear(messages.encode(Message(messages.COOKIE, 0, 5, bytes(48))), HOSTILE) == "unsolicited"
    first_message(anna, wire.add(), known=False)
    index = next(index for index, owner in anna.sessions._indices._owners.items() if hasattr(owner, "tries"))
    assert anna.hear(messages.encode(Message(5, 0, index, bytes(48))), HOSTILE) == "bad_cookie"
    final = messages.encode(Message(messages.XX_FINAL, 0, 99, bytes(176)))
    assert anna.hear(Stamps(MESH_KEY).stamp(final, None), HOSTILE) == "unknown_session"


def test_noise_raises_nothing_and_leaves_nothing(wire: Wire) -> None:
    anna, ben = wire.pair()
    noise = random.Random(4)
    indices = list(ben.sessions._indices._owners)
    wire.sent.clear()
    before = state(ben)
    for number in range(3000):
        head = bytes((noise.choice((1, 2, 3, 4, 5, 6, noise.randrange(256))),))
        head += noise.choice((noise.choice(indices).to_bytes(4, "big"), noise.randbytes(4)))
        size = noise.choice((noise.randrange(300), 240, 196, 208, 48, 244))
        assert isinstance(ben.hear(head + noise.randbytes(size), spoofed(number % 200)), str)
    for end in range(245):
        assert isinstance(ben.hear(first_message(wire.add(), ben, known=True)[:end], HOSTILE), str)
    assert state(ben) == before and not wire.sent
    ben.say(anna, b"unshaken")
    wire.run(0.1)
    assert anna.opened[-1].frame == b"unshaken"


def test_whoever_delays_an_initiation_cannot_take_its_place(wire: Wire) -> None:
    """The first to deliver Anna's initiation, from elsewhere, is answered there but gets no session."""
    anna, ben = wire.add(), wire.add()
    data = first_message(anna, ben, known=True)
    assert ben.hear(data, HOSTILE) is None
    wire.run(0.3)
    assert not ben.events and ben.sessions.seal(anna.id, 1, b"to whom?", wire.now) is None
    wire.run(3.0)  # Anna tries again, with another initiation
    assert ben.established()[0].address == anna.address
