"""What is shown of a spirit: one JSON object for the status, the page and `shivya spirit show`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shivya_daemon.spirits.keeper import Totals
from shivya_daemon.spirits.life import Life
from shivya_daemon.spirits.lived import Drawing
from shivya_daemon.spirits.register import UNIT

_DIGITS = 4


def body(life: Life, totals: Totals, names: Mapping[bytes, str], now: float) -> dict[str, Any]:
    """Return the part: cells, tubes, foods, what crossed each link, and the numbers of the panel."""
    lived = life.round
    exchange = life.exchange
    assert lived is not None, "a part is shown from its first round on"
    accounts, books = exchange.accounts(), lived.books
    foods: list[list[object]] = []
    links: list[dict[str, object]] = []
    for peer, value in sorted(life.values.items()):
        name = names.get(peer, "")
        far = exchange.far(peer, now)
        place = life.where(peer)
        if place is not None:
            nutrient = None if far is None or far.nutrient is None else _short(far.nutrient)
            phase = None if far is None or nutrient is None else _short(far.phase)
            seat = lived.seats.get(place[0], -1)
            foods.append([*map(_short, place[1]), _short(value), seat, peer.hex(), name, nutrient, phase])
        conductance = _short(life.conductance(peer))
        links.append({"id": peer.hex(), "name": name, "conductance": conductance, **_amounts(accounts[peer])})
    part = life.part()
    return {
        "cells": _cells(lived.drawing),
        "tubes": _tubes(lived.drawing),
        "foods": foods,
        "links": links,
        "panel": {
            "cells": part.cells,
            "tubes": part.tubes,
            "nutrient": _short(life.nutrient),
            "in_transit": _short(exchange.in_transit / UNIT),
            "efficiency": _short(lived.efficiency),
            "cost": _short(lived.cost),
            "nodes": totals.nodes,
            "mesh_cells": totals.cells,
            "mesh_tubes": totals.tubes,
            "mesh_nutrient": _short(totals.nutrient),
        },
        "books": {
            "planted": books.planted,
            "intake": books.intake,
            "upkeep": books.upkeep,
            "dissolved": books.dissolved,
            "received": exchange.received / UNIT,
            "sent": exchange.sent / UNIT,
            "lost": exchange.lost / UNIT,
            "nutrient": life.nutrient,
        },
    }


def _amounts(account: Mapping[str, int]) -> dict[str, int]:
    return {key: account[key] for key in ("sent", "acknowledged", "received")}


def _cells(drawing: Drawing) -> list[list[float]]:
    thickest = np.zeros(len(drawing.nutrient))
    for end in (0, 1):
        np.maximum.at(thickest, drawing.ends[:, end], drawing.thickness)
    rows = np.column_stack([drawing.position, drawing.nutrient, drawing.phase, thickest])
    return _plain(rows)


def _tubes(drawing: Drawing) -> list[list[float]]:
    rows = _plain(np.column_stack([drawing.thickness, drawing.flow, drawing.age]))
    return [[*ends, *row] for ends, row in zip(drawing.ends.tolist(), rows, strict=True)]


def _plain(rows: np.ndarray) -> list[list[float]]:
    found: list[list[float]] = (np.round(rows, _DIGITS) + 0.0).tolist()
    return found


def _short(value: float) -> float:
    return round(value, _DIGITS)
