"""From a summoning to the end on one node, without a kernel: what is told, shown, refused, and what fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from shivya_daemon.core.events import IncarnationAdopted, PeerJoined, SignalReceived, SpiritTold
from shivya_daemon.core.signals.frame import Directed, Flood, Kind
from shivya_daemon.core.signals.signals import SignalRefused
from shivya_daemon.settings import SpiritSettings
from shivya_daemon.spirits import boundary, host, register
from shivya_daemon.spirits.boundary import Boundary
from shivya_daemon.spirits.lived import Still
from shivya_daemon.spirits.spirits import Spirits

OWN, PEER = b"o" * 20, b"p" * 20
PATIENCE = 60.0  # seconds; a bound against hanging, not a claim


class Node:
    """A node with one link; what it is asked to say is kept."""

    id = OWN
    incarnation = 7
    members = frozenset({PEER})
    links = (PEER,)

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.sent: list[tuple[Kind, str, bytes]] = []
        self.full = False

    def peers(self, now: float) -> tuple[Any, ...]:
        return ()

    def tell_spirit(self, value: bytes) -> None:
        self.told.append(value)

    def signal(self, kind: Kind, name: str, payload: bytes, now: float, *, ttl: int | None = None) -> bytes:
        if self.full:
            raise SignalRefused("rate_limited", "wait a little")
        self.sent.append((kind, name, payload))
        return b""


def spirits(node: Node, folder: Path, **changed: Any) -> Spirits:
    return Spirits(node, SpiritSettings(**changed), folder, time.monotonic, lambda: None)


def during(found: Spirits, act: Callable[[], Any]) -> None:
    """Run the task of `found` while `act` awaits what is to happen."""

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(found.run)
            with anyio.fail_after(PATIENCE):
                await act()
            tasks.cancel_scope.cancel()

    anyio.run(main)


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await anyio.sleep(0.01)


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_load", lambda kernel, seed, settings: Still())


@pytest.mark.usefixtures("no_kernel")
def test_a_life_is_told_shown_and_ended(tmp_path: Path) -> None:
    node = Node()
    found = spirits(node, tmp_path)
    assert found.report(0.0) is None and not node.told

    async def act() -> None:
        answer = found.summon("physarum", {"speed": 2.0})
        assert answer["summoned"]["settings"] == {"speed": 2.0, "exploration": 0.3, "decay": 0.1}
        await until(lambda: found.look()["spirit"])
        shown = found.look()["spirit"]
        assert shown["panel"]["nodes"] == 1 and shown["cells"] == [] and shown["foods"][0][6] == ""
        assert shown["foods"][0][4] == -1 and found.package is not None
        await until(lambda: node.sent)
        kind, name, payload = node.sent[0]
        assert (kind, name) == (Directed(PEER), boundary.TYPE)
        first = boundary.decode(payload)
        assert (first.mine, first.yours, first.sent) == (boundary.epoch(7, 1), 0, 0)
        # The other end answers, twice; other signals and events are left to whom they are for.
        reply = boundary.encode(Boundary(first.organism, 9, first.mine, 1, 500, 0, 0.25, 1.0))
        signal = SignalReceived(Directed(OWN), boundary.TYPE, PEER, reply, 1.0, 1, bytes(16))
        other = SignalReceived(Flood(), boundary.TYPE, PEER, reply, 1.0, 1, bytes(16))
        joined = PeerJoined(PEER, 1)
        assert found.take([signal, joined, signal, other]) == [joined, other]
        await until(lambda: found.look()["spirit"]["books"]["received"] == 5e-7)
        node.incarnation = 12
        assert found.take([IncarnationAdopted(12)]) == [IncarnationAdopted(12)]
        await until(lambda: boundary.decode(node.sent[-1][2]).mine == boundary.epoch(12, 2))
        node.full = True
        await until(lambda: found.look()["drops"].get("rate_limited"))
        assert found.dismiss()["summoned"] is None
        await until(lambda: found.report(0.0) is None)
        assert not found.look()["lives_here"]

    during(found, act)
    versions = [register.decode(value) for value in node.told]
    assert [known.summoned for known, _ in versions][:1] == [True] and not versions[-1][0].summoned
    assert versions[-1][1] is None, "no part is told once it is gone"


@pytest.mark.usefixtures("no_kernel")
def test_what_another_node_summons_lives_here_too_and_is_told_on(tmp_path: Path) -> None:
    node, elsewhere = Node(), Node()
    source = spirits(elsewhere, tmp_path)
    source.summon("physarum", {})
    found = spirits(node, tmp_path)

    async def act() -> None:
        assert found.take([SpiritTold(PEER, b"nonsense"), SpiritTold(PEER, elsewhere.told[-1])]) == []
        await until(lambda: found.look()["lives_here"])
        assert found.look()["drops"] == {"register_truncated": 1}

    during(found, act)
    assert register.decode(node.told[0])[0] == register.decode(elsewhere.told[-1])[0]


def test_what_fails_says_so_and_a_new_summoning_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> object:
        raise RuntimeError("by design")

    monkeypatch.setattr(host, "_load", fail)
    found = spirits(Node(), tmp_path)

    async def act() -> None:
        found.summon("physarum", {})
        await until(lambda: found.look()["why_not"] == "it failed here: by design")
        monkeypatch.setattr(host, "_load", lambda kernel, seed, settings: Still())
        found.summon("physarum", {})
        await until(lambda: found.look()["lives_here"])

    during(found, act)


def test_a_package_that_is_not_here_is_named_with_its_place(tmp_path: Path) -> None:
    node = Node()
    found = spirits(node, tmp_path)
    foreign = register.Register().summon(PEER, "lantern", bytes(32), register.Settings())
    found.take([SpiritTold(PEER, register.encode(foreign, None))])
    answer = found.look()
    assert answer["summoned"]["name"] == "lantern"
    assert answer["why_not"] == f"its package is not installed; put it into {tmp_path}"
    assert node.told, "it is told on all the same"
