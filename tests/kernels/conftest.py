"""Kernel tests run in float64 unless they ask for less; and `neighbourhood`, for them to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def x64() -> Iterator[None]:
    """Float64 for the session's kernel tests, by context: the process's setting is not changed."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs() -> Iterator[None]:
    """Let go of what a file compiled: programs hold memory maps, and a process may have 65,530 of them."""
    yield
    jax.clear_caches()
