"""Kernel tests run in float64 unless they ask for less."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest


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
