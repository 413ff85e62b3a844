"""The initiator's side: handshakes under way, tried again until answered, and confirmed until heard."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from msgspec import Struct

from shivya_daemon.core.secure.cookie import Jar
from shivya_daemon.core.secure.credentials import Credentials
from shivya_daemon.core.secure.handshake import Handshake, HandshakeError, Pattern
from shivya_daemon.core.secure.indices import Indices
from shivya_daemon.core.secure.messages import (
    IK_INITIATION,
    PADDING_BYTES,
    XX_FINAL,
    XX_INITIATION,
    Message,
    encode,
)
from shivya_daemon.core.secure.peers import Proven
from shivya_daemon.core.secure.session import ASKED, Session
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.secure.stamps import Stamps, mac1_of
from shivya_daemon.core.settings import Address


class Dial(Struct):
    """A handshake that this node began; each try has an ephemeral key and an index of its own."""

    address: Address
    node: bytes | None
    """Who must answer; None: whoever is there."""
    static: bytes | None
    asked: bool
    """Whether the host waits for its outcome."""
    renewal: bool
    """Whether it is for a peer that has a session."""
    begun_at: float
    tries: int = 0
    sent_at: float = 0.0
    due: float = 0.0
    index: int = 0
    mac1: bytes = b""
    handshake: Handshake | None = None
    pattern: Pattern = Pattern.XX


class _Confirmation(Struct):
    """What is sent under a new session until its responder is heard."""

    session: Session
    address: Address
    final: bytes
    """The third message of XX, or nothing."""
    due: float
    tries: int = 1


class Dialer:
    """Dials by address and wanted node; `send` takes what they send."""

    def __init__(
        self,
        credentials: Credentials,
        stamps: Stamps,
        indices: Indices[object],
        entropy: Callable[[int], bytes],
        settings: SecureSettings,
        send: Callable[[bytes, Address], None],
    ) -> None:
        self._credentials = credentials
        self._stamps = stamps
        self._indices = indices
        self._entropy = entropy
        self._settings = settings
        self._send = send
        self._jar = Jar(settings.cookie_lifetime, settings.max_addresses)
        self._dials: dict[tuple[Address, bytes | None], Dial] = {}
        self._confirmations: dict[int, _Confirmation] = {}
        self._due: list[tuple[float, int]] = []  # heap of (time, index); entries of the past are skipped

    def dial(
        self, address: Address, node: bytes | None, static: bytes | None, now: float, *, renewal: bool
    ) -> bool:
        """Begin a handshake unless the same is under way; False if there are too many.

        Renewals always have room: there are no more of them than peers.
        """
        key = (address, node)
        known = self._dials.get(key)
        if known is not None:
            known.renewal, known.asked = known.renewal or renewal, known.asked or not renewal
            known.static = known.static or static
            return True
        if not renewal and len(self._dials) >= self._settings.max_half_open:
            return False
        dial = self._dials[key] = Dial(address, node, static, not renewal, renewal, now)
        self._try(dial, now)
        return True

    def answer(self, dial: Dial, message: Message, now: float) -> Proven:
        """Finish a handshake with its response, and send what proves this side.

        Raises `HandshakeError`; unless its reason is `bad_handshake`, the right keys gave a wrong answer.
        """
        handshake = dial.handshake
        if handshake is None:
            raise HandshakeError("bad_handshake")
        payload = handshake.read(message.body)
        node, introduction = self._credentials.meet(payload)
        if dial.node is not None and node != dial.node:
            raise HandshakeError("wrong_identity")
        static = handshake.remote
        self._credentials.prove(introduction, static)
        final = b""
        if dial.pattern is Pattern.XX:
            body = handshake.write(self._credentials.introduce())
            final = self._stamp(Message(XX_FINAL, 0, message.sender, body), dial.address, now)
        self.forget(dial)
        session = Session(
            node,
            dial.index,
            message.sender,
            handshake.keys(),
            initiated=True,
            now=now,
            settings=self._settings,
        )
        confirmation = _Confirmation(session, dial.address, final, 0.0)
        self._confirmations[session.index] = confirmation
        self._confirm(confirmation, now)
        return Proven(session, introduction, static, dial.address, now - dial.sent_at)

    def cookie(self, dial: Dial, message: Message, now: float) -> bool:
        """Keep a cookie for the next try; False if it does not answer the last one."""
        cookie = self._stamps.open(message.body, dial.mac1)
        if cookie is None:
            return False
        self._jar.put(dial.address, cookie, now)
        return True

    def heard(self, session: Session) -> None:
        """Note that the responder of a session has its keys."""
        self._confirmations.pop(session.index, None)

    def forget(self, dial: Dial) -> None:
        """End a handshake."""
        del self._dials[dial.address, dial.node]
        if dial.index:
            self._indices.free(dial.index)

    def cancel_renewal(self, address: Address, node: bytes) -> None:
        """End a handshake that was begun for a peer's sake, unless the host asked for it too."""
        dial = self._dials.get((address, node))
        if dial is not None and not dial.asked:
            self.forget(dial)

    def handle_timer(self, now: float) -> tuple[list[Dial], list[Session]]:
        """Send again what is due; returns handshakes nobody answered, and sessions nobody spoke under."""
        failed: list[Dial] = []
        unconfirmed: list[Session] = []
        while self._due and self._due[0][0] <= now:
            due, index = heapq.heappop(self._due)
            confirmation = self._confirmations.get(index)
            if confirmation is not None and confirmation.due == due:
                if not self._confirm_again(confirmation, now):
                    unconfirmed.append(confirmation.session)
                continue
            dial = self._indices.get(index)
            if not isinstance(dial, Dial) or dial.due != due:
                continue
            if dial.tries >= self._settings.attempts:
                self.forget(dial)
                failed.append(dial)
            else:
                self._try(dial, now)
        return failed, unconfirmed

    def next_deadline(self) -> float | None:
        """Return when something may be due."""
        return self._due[0][0] if self._due else None

    def __len__(self) -> int:
        return len(self._dials)

    def _try(self, dial: Dial, now: float) -> None:
        """Send a new first message; IK for the first half of the tries, where the static key is known."""
        if dial.index:
            self._indices.free(dial.index)
        dial.index = self._indices.draw()
        self._indices.put(dial.index, dial)
        if dial.static is not None and 2 * dial.tries < self._settings.attempts:
            try:
                kind, body = self._begin_ik(dial, dial.static)
            except HandshakeError:  # what was said to be a key is none
                dial.static = None
                kind, body = self._begin_xx(dial)
        else:
            kind, body = self._begin_xx(dial)
        data = self._stamp(Message(kind, dial.index, 0, body), dial.address, now)
        dial.mac1 = mac1_of(data)
        dial.sent_at = now
        dial.due = now + self._pause(dial.tries)
        dial.tries += 1
        heapq.heappush(self._due, (dial.due, dial.index))
        self._send(data, dial.address)

    def _begin_ik(self, dial: Dial, static: bytes) -> tuple[int, bytes]:
        dial.pattern = Pattern.IK
        dial.handshake = self._credentials.begin(Pattern.IK, initiator=True, remote=static)
        return IK_INITIATION, dial.handshake.write(self._credentials.introduce())

    def _begin_xx(self, dial: Dial) -> tuple[int, bytes]:
        dial.pattern = Pattern.XX
        dial.handshake = self._credentials.begin(Pattern.XX, initiator=True)
        return XX_INITIATION, dial.handshake.write(bytes(PADDING_BYTES))

    def _confirm_again(self, confirmation: _Confirmation, now: float) -> bool:
        """Repeat a confirmation; False, and it is forgotten, after the last time."""
        session = confirmation.session
        gone = self._indices.get(session.index) is not session
        if gone or confirmation.tries >= self._settings.attempts or not session.usable(now):
            del self._confirmations[session.index]
            return gone
        confirmation.tries += 1
        self._confirm(confirmation, now)
        return True

    def _confirm(self, confirmation: _Confirmation, now: float) -> None:
        if confirmation.final:
            self._send(confirmation.final, confirmation.address)
        self._send(confirmation.session.seal(ASKED, b""), confirmation.address)
        confirmation.due = now + self._pause(confirmation.tries - 1)
        heapq.heappush(self._due, (confirmation.due, confirmation.session.index))

    def _stamp(self, message: Message, address: Address, now: float) -> bytes:
        return self._stamps.stamp(encode(message), self._jar.get(address, now))

    def _pause(self, tries: int) -> float:
        """Return the pause after so many tries before, up to a fifth more or less."""
        limits = self._settings
        jitter = 0.8 + 0.4 * int.from_bytes(self._entropy(2), "big") / 65536
        return float(min(limits.retry_interval * 2 ** (tries // 3), limits.retry_interval_max) * jitter)
