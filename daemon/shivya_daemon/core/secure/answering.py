"""The responder's side: handshakes answered, whose initiators have yet to prove that they receive."""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from shivya_daemon.core.secure.credentials import Credentials, Introduction
from shivya_daemon.core.secure.handshake import Handshake, HandshakeError, Pattern
from shivya_daemon.core.secure.indices import Indices
from shivya_daemon.core.secure.messages import IK_INITIATION, RESPONSE, Message, encode
from shivya_daemon.core.secure.peers import Proven
from shivya_daemon.core.secure.session import Opening, Session
from shivya_daemon.core.secure.settings import SecureSettings
from shivya_daemon.core.settings import Address


class Waiting(Struct):
    """A handshake that was answered: of XX its last message is missing, then the first transport frame."""

    index: int
    remote: int
    begun_at: float
    handshake: Handshake
    introduction: Introduction | None = None
    session: Session | None = None


class Answerer:
    """At most `max_half_open` answered handshakes; the oldest makes room."""

    def __init__(self, credentials: Credentials, indices: Indices[object], settings: SecureSettings) -> None:
        self._credentials = credentials
        self._indices = indices
        self._settings = settings
        self._waiting: OrderedDict[int, Waiting] = OrderedDict()
        self._accepted: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    @property
    def crowded(self) -> bool:
        """Whether so many handshakes wait that cookies should be asked for."""
        return 2 * len(self._waiting) >= self._settings.max_half_open

    def initiation(self, message: Message, now: float) -> bytes:
        """Return the response to a first message, to be stamped; raises `HandshakeError`."""
        pattern = Pattern.IK if message.kind == IK_INITIATION else Pattern.XX
        handshake = self._credentials.begin(pattern, initiator=False)
        payload = handshake.read(message.body)
        met = self._meet(payload, handshake) if pattern is Pattern.IK else None
        body = handshake.write(self._credentials.introduce())
        waiting = Waiting(self._indices.draw(), message.sender, now, handshake)
        if met is not None:
            self._known(waiting, *met, now)
        if len(self._waiting) >= self._settings.max_half_open:
            self.forget(next(iter(self._waiting.values())))
        self._waiting[waiting.index] = waiting
        self._indices.put(waiting.index, waiting)
        return encode(Message(RESPONSE, waiting.index, message.sender, body))

    def final(self, waiting: Waiting, message: Message, now: float) -> None:
        """Take the last message of XX; one that was taken before may come again. Raises `HandshakeError`."""
        if waiting.session is None:
            payload = waiting.handshake.read(message.body)
            try:
                node, introduction = self._credentials.meet(payload)
                self._credentials.prove(introduction, waiting.handshake.remote)
            except HandshakeError:
                self.forget(waiting)
                raise
            self._remember(node, introduction)
            self._known(waiting, node, introduction, now)

    def confirm(
        self, waiting: Waiting, data: bytes, address: Address, now: float
    ) -> tuple[Proven, Opening] | str:
        """Take the first transport frame, which proves the initiator's address, or say why it is dropped."""
        session, introduction = waiting.session, waiting.introduction
        if session is None or introduction is None:
            return "unconfirmed"
        opening = session.open(data, now)
        if isinstance(opening, str):
            return opening
        del self._waiting[waiting.index]
        # With a later counter, the first frame was lost, and the time measured would be that of a repetition.
        rtt = now - waiting.begun_at if opening.counter == 0 else None
        return Proven(session, introduction, waiting.handshake.remote, address, rtt), opening

    def forget(self, waiting: Waiting) -> None:
        """End a handshake."""
        del self._waiting[waiting.index]
        self._indices.free(waiting.index)

    def handle_timer(self, now: float) -> None:
        """Forget the initiators that never proved themselves."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            self.forget(next(iter(self._waiting.values())))

    def next_deadline(self) -> float | None:
        """Return when the oldest handshake has waited too long."""
        oldest = next(iter(self._waiting.values()), None)
        return None if oldest is None else oldest.begun_at + self._settings.waiting_lifetime

    def __len__(self) -> int:
        return len(self._waiting)

    def _meet(self, payload: bytes, handshake: Handshake) -> tuple[bytes, Introduction]:
        """Judge the introduction in a first message of IK, which anybody could have kept and sent again."""
        node, introduction = self._credentials.meet(payload)
        at = (introduction.incarnation, introduction.counter)
        if at <= self._accepted.get(node, (-1, -1)):
            raise HandshakeError("replayed_initiation")
        self._credentials.prove(introduction, handshake.remote)
        self._remember(node, introduction)
        return node, introduction

    def _remember(self, node: bytes, introduction: Introduction) -> None:
        at = (introduction.incarnation, introduction.counter)
        self._accepted[node] = max(at, self._accepted.get(node, at))
        self._accepted.move_to_end(node)
        if len(self._accepted) > self._settings.max_remembered:
            self._accepted.popitem(last=False)

    def _known(self, waiting: Waiting, node: bytes, introduction: Introduction, now: float) -> None:
        waiting.introduction = introduction
        waiting.session = Session(
            node,
            waiting.index,
            waiting.remote,
            waiting.handshake.keys(),
            initiated=False,
            now=now,
            settings=self._settings,
        )
