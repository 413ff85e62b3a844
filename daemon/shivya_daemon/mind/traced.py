"""Kernels as they were traced, kept on disk beside what was compiled of them.

What is compiled is loaded from JAX's cache ever after, but to trace and lower the step for it took half of
a daemon's first tick. What is kept is the StableHLO of `jax.export`, named by a digest of all that it depends
on: our sources, the versions of JAX, its platform, and the arrays that it is called with.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import jax
from jax import export

from shivya_daemon.mind.sources import sources

T = TypeVar("T")
_DIGEST_SIZE = hashlib.sha256().digest_size


def kept_in() -> Path | None:
    """Return the folder where JAX keeps what it compiles, if it was told of one."""
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return Path(folder) if folder else None


def traced(folder: Path | None, function: Callable[..., T], like: T, *arguments: Any) -> Callable[..., T]:
    """Return a kernel as a call into what was once traced of it, for `jax.jit` to compile.

    `arguments` and `like`, what it returns, are PyTrees: of the first shapes and types count, of the second
    the structure alone; TypeError where that is another. A file in `folder` that is missing, damaged or
    cannot be written costs the time of tracing, and nothing else; without a folder, that is every time.
    """
    leaves, inside = jax.tree.flatten(arguments)
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]  # type: ignore[no-untyped-call]
    structure: Any = jax.tree.structure(like)

    def flat(*leaves: Any) -> list[Any]:
        found = function(*jax.tree.unflatten(inside, leaves))
        if structure != (other := jax.tree.structure(found)):
            raise TypeError(f"{function.__name__} returns {other}, not {structure}")
        return jax.tree.leaves(found)

    path = folder and folder / _name(function, inside, shapes, structure)
    data = _read(path) if path else None
    if data is None:
        data = bytes(export.export(jax.jit(flat))(*shapes).serialize())
        if path:
            _write(path, data)
    known = export.deserialize(bytearray(data))

    def call(*arguments: Any) -> T:
        leaves = known.call(*jax.tree.leaves(arguments))  # type: ignore[no-untyped-call]
        found: T = jax.tree.unflatten(structure, leaves)
        return found

    return call


def ahead(function: Callable[..., Any], like: Any, *arguments: Any) -> Callable[..., Any]:
    """Return a kernel compiled for arguments of these shapes and types; see `traced`, which keeps it."""
    return lean(jax.jit(traced(kept_in(), function, like, *arguments)).lower(*arguments))


def lean(lowered: jax.stages.Lowered) -> Callable[..., Any]:
    """Compile with XLA's older generator of loops, where this XLA still has it.

    It takes half of the memory and of the time, for a step that is a twentieth slower (docs/design.md). What
    else is wrong is raised by the second try.
    """
    try:
        compiled: Callable[..., Any] = lowered.compile({"xla_cpu_use_fusion_emitters": False})
    except jax.errors.JaxRuntimeError:
        return lowered.compile()
    return compiled


def blank(kind: type[T]) -> T:
    """Return a dataclass or named tuple of arrays, and of such, with zeros for arrays: for its structure."""
    return kind(
        **{name: blank(hint) if _nested(hint) else 0.0 for name, hint in get_type_hints(kind).items()}
    )


def _nested(hint: Any) -> bool:
    return isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields"))


def _name(function: Callable[..., Any], *signature: object) -> str:
    about = (sources(), jax.default_backend(), function.__module__, *map(str, signature))
    return f"{function.__qualname__}-{hashlib.sha256(repr(about).encode()).hexdigest()[:32]}.stablehlo"


def _read(path: Path) -> bytes | None:
    """Return what was kept, if it is whole."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    digest, data = whole[:_DIGEST_SIZE], whole[_DIGEST_SIZE:]
    return data if hashlib.sha256(data).digest() == digest else None


def _write(path: Path, data: bytes) -> None:
    """Keep it for the next start, if there is a place for it: whole, or not at all."""
    draft = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(hashlib.sha256(data).digest() + data)
        draft.replace(path)
