"""Snapshots of a mesh that is not there."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

from shivya_daemon.snapshot import CellRow, FlowRow, LinkRow, PeerRow, ResourceRow, SettleRow, Snapshot


def identifier(i: int) -> str:
    return f"{i:02x}" * 20


def picture(nodes: int = 5, tick: int = 1, **changes: Any) -> Snapshot:
    """The first of `nodes` nodes, all linked with all; the first is hot and hands over to the others."""
    names = [f"edge-{i}" for i in range(nodes)]
    queues = [200, *range(1, nodes)]
    cell = CellRow("0/work", "work", 200, 4, 20.0, 25.0, 10.0, 2.5, 3.5, 1.0, 0.5, (0.1, -0.2), "shed")
    return replace(
        Snapshot(
            node_id=identifier(0),
            name=names[0],
            version="0.5.0",
            address="127.0.0.1:8085",
            port=8085,
            uptime_seconds=3723.0,
            law="running",
            tick=tick,
            tick_seconds_p50=0.0008,
            collective_free_energy=-1.25 + 0.2 * math.sin(tick),
            curl_norm=0.5,
            harmonic_norm=0.25,
            peers=tuple(
                PeerRow(
                    identifier(i), names[i], f"127.0.0.1:{9000 + i}", 0.0012 * i, 0.05, ("work",), queues[i],
                    10.0,
                    phase=0.3 * i,
                )
                for i in range(1, nodes)
            ),
            links=tuple(
                LinkRow(identifier(i), names[i], "", 0.0012, 0.05, 0.5 + 0.5 * i, 2.0 * i, bandwidth=1e6)
                for i in range(1, nodes)
            ),
            cells=(cell,),
            flows=tuple(FlowRow(identifier(i), names[i], "work", 10.0 * i) for i in range(1, nodes)),
            settle=tuple(
                SettleRow(
                    names[i], names[j], "work", 2.0 * j, 1.0, 0.5, 0.0, 3.0, 10.0 * j if i == 0 else 0.0,
                    identifier(i), identifier(j), 0.5 + 0.5 * j,
                )
                for i, j in combinations(range(nodes), 2)
            ),
            resources=(ResourceRow("compute", 0.5, 2000.0, 0.75, None),),
            traffic={
                "datagrams_received": 120, "datagrams_sent": 130, "bytes_received": 9000, "bytes_sent": 9900,
                "jobs_sent": 5, "jobs_accepted": 2, "jobs_unaccounted": 1, "peers_left": 1,
            },
            drops={"bad_frame": 2, "replay": 0},
            host={"cpu": 0.25, "memory": 0.5, "network": 1e5},
            guard={
                "action": "ALERT",
                "threat": 0.1,
                "actions": {"NOOP": 7, "ALERT": 2},
                "peers": [
                    {"id": identifier(nodes - 1), "state": "quarantined", "seconds_left": 9.0, "strikes": 1,
                     "threat": 0.9}
                ],
            },
            phase={"theta": 1.0, "order": 0.9},
            ledger={"length": 3, "root": "00"},
        ),
        **changes,
    )  # fmt: skip
