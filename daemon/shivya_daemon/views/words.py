"""The words in which every view tells a person the same things. Standard library only: it costs nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def health(law: str, status: Sequence[str]) -> str:
    """Return the state of a node in one word: `ok`, `starting`, `degraded` or `failed`.

    `law` and `status` are the fields of a `Snapshot`; any remedy in `status` means degraded.
    """
    if law in ("failed", "starting"):
        return law
    return "degraded" if status else "ok"


def plain(text: object, limit: int = 200) -> str:
    """Return `text` on one line, safe to print: control and other unprintable characters become ``?``.

    Names of peers are chosen by their owners; a terminal must not obey them.
    """
    shown = "".join(c if c.isprintable() else "?" for c in str(text)[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def duration(seconds: float | None) -> str:
    """Return a time in seconds as people say it: ``0.4 ms``, ``1.5 s``, ``3m20s``, ``2h05m``, ``3d04h``."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if abs(seconds) < 0.0995:
        return f"{seconds * 1e3:.{1 if abs(seconds) < 0.00995 else 0}f} ms"
    if seconds < 59.5:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 24 else f"{hours // 24}d{hours % 24:02d}h"


def number(value: float | None) -> str:
    """Return a number in at most three decimals and without a needless fraction; ``-`` for None.

    Below 1e-9 is 0: what rounding leaves of an exact zero tells a person nothing.
    """
    if value is None:
        return "-"
    text = (
        f"{value:.3g}"
        if 1e-9 < abs(value) < 0.001 or abs(value) >= 1e9
        else f"{value:.3f}".rstrip("0").rstrip(".")
    )
    return "0" if text == "-0" else text


def finite(value: Any) -> Any:
    """Return a document as JSON has it: None, that is null, for a number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def credit(units: object) -> str:
    """Return an amount in 10^-6 credit as credits."""
    if not isinstance(units, int):
        return "-"
    return f"{units // 1_000_000}.{units % 1_000_000:06}".rstrip("0").rstrip(".")


def purse(credits: Mapping[str, object]) -> str:
    """Return how a node stands with the ledger of credits, in a line."""
    if credits.get("age_seconds") is None:
        return "the ledger has not answered yet"
    if not credits.get("open"):
        return "this node has no account; have one opened with 'shivya credits open'"
    words = f"{credit(credits.get('balance'))}, of that {credit(credits.get('available'))} to spend"
    if credits.get("pending_credits"):
        words += f", {credit(credits.get('pending_credits'))} reserved for it"
    return words + (", ledger out of reach" if credits.get("trouble") else "")
