"""A desk that a control socket can speak to, without a node behind it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shivya_daemon.services import ServiceBook

B = b"\xbb" * 20


class Desk:
    """A desk whose neighbour `b` is idle and wants three jobs a tick."""

    def __init__(self) -> None:
        self.book = ServiceBook(20.0)
        self.tick = 1

    def status(self) -> dict[str, Any]:
        return {"name": "a", "node_id": "aa" * 20}

    def settle(self, service: str) -> list[dict[str, Any]]:
        return [{"from": "a", "to": "b", "service": service, "recommended": 1.5}]

    def peer_id(self, name_or_id: str) -> bytes | None:
        return B if name_or_id in ("b", B.hex()) else None

    def table(self, service: str) -> dict[str, Any]:
        view = self.book.view(service, time.monotonic())
        neighbour = {
            "id": B.hex(),
            "name": "b",
            "address": "127.0.0.1:7001",
            "potential": 0.05,
            "slope": 0.02,
            "service_rate": 40.0,
            "queue": 0,
            "servers": 1,
            "hop": 0.001,
            "age": 0.05,
            "out": view.out.get(B, 0),
            "flow": 3,
        }
        return {
            "service": service,
            "tick": self.tick,
            "gap": 0.05,
            "hop_limit": 8,
            "stale_after": 1.0,
            "service_rate": view.service_rate,
            "servers": view.servers,
            "neighbours": [neighbour],
        }


@pytest.fixture
def desk() -> Desk:
    return Desk()
