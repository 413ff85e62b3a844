"""The log of signals is bounded in what it keeps and in what it counts."""

from __future__ import annotations

from shivya_daemon.core.signals.events import QuorumReached, SignalReceived, Undeliverable
from shivya_daemon.core.signals.frame import ActionPotential, Flood
from shivya_daemon.signal_log import KEPT, MAX_TYPES, OTHERS, SignalLog

A = b"\xaa" * 20


def received(name: str, number: int = 0) -> SignalReceived:
    return SignalReceived(Flood(), name, A, b"\xff", 1.0, 2, number.to_bytes(16))


def name(node: bytes) -> str:
    return "edge-1" if node == A else ""


def test_the_latest_come_first_and_the_oldest_go() -> None:
    log = SignalLog()
    for number in range(KEPT + 10):
        log.take(received("backup", number), float(number))
    document = log.to_json(name, float(KEPT + 10))
    assert [int(row["id"], 16) for row in document["signals"]] == list(range(KEPT + 9, 9, -1))
    assert document["signals"][0] == {
        "id": (KEPT + 9).to_bytes(16).hex(), "type": "backup", "age_seconds": 1.0, "payload": "ff",
        "kind": "flood", "source": A.hex(), "name": "edge-1", "hops": 2, "strength": 1.0,
    }  # fmt: skip
    assert document["counts"] == {"backup": KEPT + 10}


def test_types_that_senders_invent_do_not_grow_the_counts() -> None:
    log = SignalLog()
    for number in range(10 * MAX_TYPES):
        log.take(received(f"type-{number}"), 0.0)
    log.take(received("type-0"), 0.0)
    counts = log.to_json(name, 0.0)["counts"]
    assert len(counts) == MAX_TYPES + 1
    assert (counts["type-0"], counts[OTHERS]) == (2, 9 * MAX_TYPES)


def test_decisions_and_failures_are_told_apart() -> None:
    log = SignalLog()
    log.take(QuorumReached("elect", b"\x01" * 16, b"a", frozenset((A,))), 0.0)
    log.take(Undeliverable(b"\x02" * 16, A), 0.0)
    log.take(SignalReceived(ActionPotential(), "fire", A, b"", 1.0, 1, b"\x03" * 16), 0.0)
    document = log.to_json(name, 0.0)
    assert [row["kind"] for row in document["signals"]] == ["action", "quorum reached"]
    assert document["signals"][1]["contributors"] == [A.hex()]
    assert document["undeliverable"] == 1
