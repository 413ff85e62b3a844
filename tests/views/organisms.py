"""Organisms that nobody grew, as a snapshot tells them."""

from __future__ import annotations

import math
import random
from typing import Any

from pictures import identifier

from shivya_daemon.spirits.package import built_in

DIGEST = built_in("physarum").digest.hex()


def organism(many: int = 3, tick: int = 1, seed: int = 7, **changes: Any) -> dict[str, Any]:
    """Tubes from the middle to every food, with side arms; the first food is the richest."""
    draw = random.Random(seed)
    cells: list[list[float]] = [[0.0, 0.0, 0.0, 1.0, 0.1 * tick, 0.9]]
    tubes: list[list[float]] = []
    rows: list[list[Any]] = []
    for i in range(many):
        angle = 2 * math.pi * i / many
        end = (math.cos(angle), math.sin(angle), 0.12 * (-1) ** i)
        last = 0
        for step in range(1, 9):
            share = step / 8
            bent = 0.12 * math.sin(math.pi * share * (1 + i))
            x = share * end[0] - bent * end[1]
            y = share * end[1] + bent * end[0]
            cells.append([x, y, share * end[2], 0.25 + 0.5 * share / (1 + i), 0.1 * tick + share, 0.6])
            tubes.append([last, len(cells) - 1, 0.9 / (1 + 0.5 * i), -0.4 / (1 + i), 60.0 + tick])
            last = len(cells) - 1
            for _ in range(3):
                away = [value + draw.uniform(-0.16, 0.16) for value in (x, y, share * end[2])]
                cells.append([*away, draw.uniform(0.01, 0.2), draw.uniform(0, 6), 0.1])
                tubes.append([last, len(cells) - 1, 0.05, draw.uniform(-0.02, 0.02), 3.0])
        rows.append(
            [*end, 1.0 / (1 + i), last, identifier(i + 1), f"edge-{i + 1}", 0.5 / (1 + i), 0.1 * tick + 0.4]
        )
    return {
        "name": "physarum",
        "version": "1.0.0",
        "digest": DIGEST,
        "age": 61.0 + 0.2 * tick,
        "now": 0.2 * tick,
        "settings": {"speed": 1.0, "exploration": 0.3, "decay": 0.1},
        "cells": [[round(value, 4) for value in cell] for cell in cells],
        "tubes": [[a, b, *(round(value, 4) for value in rest)] for a, b, *rest in tubes],
        "foods": rows,
        "panel": {
            "cells": len(cells), "tubes": len(tubes), "nutrient": 12.5, "in_transit": 0.25,
            "efficiency": 0.83, "cost": 1.42, "nodes": many + 1, "mesh_cells": 400,
            "mesh_tubes": 410, "mesh_nutrient": 50.0,
        },
    } | changes  # fmt: skip
