"""What was traced is kept on disk: the same function, and every doubt about a file ends in tracing anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shivya_daemon.mind import traced as module
from shivya_daemon.mind.traced import blank, lean, traced


class Sums(NamedTuple):
    total: Any
    parts: tuple[Any, Any]


LIKE = Sums(0.0, (0.0, 0.0))


class Kernel:
    """Counts how often Python runs it, which is when it is traced."""

    def __init__(self) -> None:
        self.runs = 0

    def sums(self, x: dict[str, Any], key: Any) -> Sums:
        self.runs += 1
        noise = jax.random.uniform(key, x["b"].shape)
        return Sums(x["a"].sum() + x["b"].sum(), (x["a"] * 2, x["b"] + noise))


def arguments(size: int = 3) -> tuple[dict[str, Any], Any]:
    return {"a": jnp.arange(2), "b": jnp.linspace(0.0, 1.0, size)}, jax.random.key(5)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., tuple[int, Sums]]:
    """What the start of a process is: traced if need be, compiled, called. Gives how often it was traced."""

    def started(
        size: int = 3, like: Any = LIKE, folder: Path | None = tmp_path / "cache"
    ) -> tuple[int, Sums]:
        kernel, given = Kernel(), arguments(size)
        called = jax.jit(traced(folder, kernel.sums, like, *given))(*given)
        return kernel.runs, called

    return started


def same(one: Sums, other: Sums) -> bool:
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def test_the_second_start_traces_nothing_and_computes_the_same(start: Any, tmp_path: Path) -> None:
    runs, first = start()
    assert runs == 1 and same(first, jax.jit(Kernel().sums)(*arguments()))
    runs, second = start()
    assert runs == 0 and same(first, second)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".stablehlo"]


def test_other_shapes_and_other_kernels_are_traced_apart(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start()[0] == 1
    assert start(size=4)[0] == 1
    monkeypatch.setattr(module, "sources", lambda: "another version of the kernels")
    assert start()[0] == 1
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert start()[0] == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda path: path.write_bytes(b"")], ids=["cut", "flip", "empty"]
)
def test_a_damaged_file_is_written_anew(start: Any, tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    first = start()[1]
    (path,) = (tmp_path / "cache").iterdir()
    damage(path)
    runs, found = start()
    assert runs == 1 and same(first, found)
    assert start()[0] == 0


def test_without_a_place_to_keep_it_everything_else_works(start: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (None, tmp_path / "file"):
        for _ in range(2):
            runs, found = start(folder=folder)
            assert runs == 1 and same(found, Kernel().sums(*arguments()))


def test_what_returns_something_else_than_was_said_is_refused(start: Any) -> None:
    with pytest.raises(TypeError, match="sums returns"):
        start(like=(0.0, 0.0))


def test_the_structure_of_records_is_known_from_their_annotations() -> None:
    from shivya_kernels.flow import Placement
    from shivya_kernels.info import Info

    info = blank(Info)
    assert isinstance(info.placement, Placement)
    assert len(jax.tree.leaves(info)) == len(Info.__dataclass_fields__) - 1 + len(Placement._fields)


def options_of_lean(monkeypatch: pytest.MonkeyPatch, refuse: bool) -> list[Any]:
    """The options of each compilation that `lean` asks for; an XLA may refuse those that it does not know."""
    asked: list[Any] = []
    lowered = jax.jit(lambda x: 2 * x).lower(1.0)
    compile_ = lowered.compile

    def compile_with(options: dict[str, Any] | None = None) -> Any:
        asked.append(options)
        return compile_({"xla_has_no_such_option": False} if refuse and options else options)

    monkeypatch.setattr(lowered, "compile", compile_with)
    assert lean(lowered)(3.0) == 6.0
    return asked


def test_this_xla_has_the_generator_that_takes_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a first start would outgrow its container again, and nothing but its memory would tell."""
    assert options_of_lean(monkeypatch, refuse=False) == [{"xla_cpu_use_fusion_emitters": False}]


def test_an_xla_without_it_compiles_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of_lean(monkeypatch, refuse=True)[1:] == [None]
