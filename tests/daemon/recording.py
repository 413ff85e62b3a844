"""A short record, made as a daemon makes it."""

from __future__ import annotations

import gzip
from pathlib import Path

from shivya_daemon.mind.head import head
from shivya_daemon.mind.law import Law
from shivya_daemon.mind.record import Recorder
from shivya_daemon.settings import LawSettings
from shivya_daemon.world import Link, Vertex, World

OWN, B = b"\x01" * 20, b"\x02" * 20
HOST = (0.1 + 0.2, 1 / 3, 1e5 / 7)


def world(tick: int) -> World:
    own = Vertex(OWN, 3 * tick, 1, 10.0, 1 / 3, 0.0)
    other = Vertex(B, 2, 1, 20.0, 0.0, 0.05, True, 0.1 + tick / 7, 0.05, 1, 0.001)
    return World("default", (own, other), (Link(OWN, B, 0.002, None, tick / 3),), 1.0)


def recording(path: Path, settings: LawSettings, without: int | None = None) -> Path:
    """Eight ticks; no law at the first yet, and no service at the one that `without` names."""
    law = Law(settings, seed=int.from_bytes(OWN[:4]))
    recorder = Recorder(path, head(settings, OWN))
    recorder.tick(0.0, HOST, (world(0),), {})
    for tick in range(1, 8):
        worlds = () if tick == without else (world(tick),)
        recorder.tick(tick / 10, HOST, worlds, law.judge(worlds, *HOST))
    recorder.close()
    return path


def rewritten(source: Path, target: Path, old: str, new: str) -> Path:
    text = gzip.decompress(source.read_bytes()).decode()
    assert old in text
    target.write_bytes(gzip.compress(text.replace(old, new).encode()))
    return target
