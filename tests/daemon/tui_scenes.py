"""Snapshots that every test of the screen shares: three nodes, one hot, and what can be in the way."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from shivya_daemon.snapshot import CellRow, FlowRow, LinkRow, PeerRow, Snapshot

ENERGIES = tuple(round(60.0 + 5.0 * math.sin(i / 9.0), 3) for i in range(100))


def identifier(i: int) -> str:
    return f"{i:02x}" * 20


def cell(i: int) -> CellRow:
    return CellRow(
        id=str(i),
        service=f"work-{i}",
        queue=200 + i,
        servers=4,
        service_rate=20.0,
        arrival_rate=25.0,
        waiting_seconds=10.0,
        potential_seconds=2.5,
        free_energy=3.5,
        activator=1.0,
        inhibitor=1.0,
        belief=(math.log1p(10.0), 0.9, 0.25, 0.5, 0.0, 0.0, 0.0, 0.0),
        action="shed",
        dimensions=5,
        predictor={"laws": {"wait": "0.9 last"}},
    )


def snapshot(peers: int = 3, cells: int = 2, flows: int = 2, /, **changes: Any) -> Snapshot:
    base = Snapshot(
        node_id=identifier(171),
        name="edge-0",
        version="0.5.0",
        address="127.0.0.1:8085",
        port=8085,
        uptime_seconds=3723.0,
        law="running",
        tick=1234,
        tick_seconds_p50=0.0008,
        collective_free_energy=-1.25,
        curl_norm=0.5,
        harmonic_norm=0.25,
        peers=tuple(
            PeerRow(
                identifier(i),
                f"edge-{i}",
                f"127.0.0.1:{i}",
                0.0012,
                0.05,
                queue=i,
                service_rate=10.0,
                phase=0.5 * i,
            )
            for i in range(1, peers + 1)
        ),
        links=tuple(
            LinkRow(
                identifier(i), f"edge-{i}", f"127.0.0.1:{i}", 0.0012, 0.05, conductance=1.5, reported=0.75
            )
            for i in range(1, min(peers, 2) + 1)
        ),
        cells=tuple(map(cell, range(cells))),
        flows=tuple(FlowRow(identifier(i), f"edge-{i}", "work-0", 60.0 + i) for i in range(1, flows + 1)),
        traffic={"datagrams_received": 1200, "jobs_sent": 5},
        drops={"bad_frame": 2, "replay": 0},
        host={"cpu": 0.25, "memory": 0.5, "network": 1e5},
        guard={
            "action": "APPLY_BALANCE",
            "threat": 0.65,
            "urgency": 0.1,
            "stability": 1.0,
            "gain": 0.0,
            "anomalies": 1.5,
            "weights": {"R": 0.25, "B": 0.25, "E": 0.15, "O": 0.35},
            "actions": {"NOOP": 218, "APPLY_BALANCE": 21},
            "vetoes": {},
            "kinds": {"surprise": 1.5},
            "peers": [
                {
                    "id": identifier(3),
                    "name": "edge-3",
                    "state": "quarantined",
                    "seconds_left": 12.0,
                    "anomalies": 44.0,
                }
            ],
        },
        phase={"theta": 0.25, "order": 0.961},
        ledger={"length": 7, "root": "00", "lost": 0},
    )
    return replace(base, **changes)
