"""How a spirit lives: what one person sets and all nodes follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LIMITS: Mapping[str, tuple[float, float]] = {
    "speed": (0.1, 10.0),
    "exploration": (0.0, 1.0),
    "decay": (0.0, 0.5),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """In thousandths, so that every node has the same numbers; `ValueError` for what is out of bounds."""

    speed: float = 1.0
    """Seconds of its time per second."""
    exploration: float = 0.3
    """Chance per quarter of its seconds that a tip sprouts."""
    decay: float = 0.1
    """How fast tubes without flow wither; 0.1 is a loss of half a new tube's conductance per second."""

    def __post_init__(self) -> None:
        for key, (least, most) in LIMITS.items():
            value = getattr(self, key)
            if not least <= value <= most:
                raise ValueError(f"{key} must be from {least:g} to {most:g}, not {value:g}")
            object.__setattr__(self, key, round(value * 1000) / 1000)

    def to_json(self) -> dict[str, float]:
        """Return the settings by name."""
        return {key: getattr(self, key) for key in LIMITS}


def from_manifest(defaults: Mapping[str, object]) -> Settings:
    """Return the settings of a manifest's defaults; those of no use here are the picture's."""
    found = {}
    for key in LIMITS:
        value = defaults.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found[key] = float(value)
    return Settings(**found)
