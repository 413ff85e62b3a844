"""The register machine: what it computes, what it refuses, how it differentiates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shivya_kernels import formula, morphic
from shivya_kernels.morphic import BudgetExceeded, MalformedExpression, Opcode, Program

CAPACITY = 32
VARIABLES = 3

MEANING: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "exp": np.exp,
}

# Compiled code takes numbers below the least normal one for zero; products of these stay above it.
numbers = st.floats(-2, 2).map(lambda x: round(x, 3))
leaves = st.one_of(
    st.tuples(st.just("const"), numbers),
    st.tuples(st.just("var"), st.integers(0, VARIABLES - 1)),
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["add", "sub", "mul"]), inner, inner), st.tuples(st.just("exp"), inner)
    ),
    max_leaves=8,
).filter(lambda expression: count(expression) <= CAPACITY)


def count(expression: Any) -> int:
    return 1 if expression[0] in ("const", "var") else 1 + sum(map(count, expression[1:]))


def meaning(expression: Any, x: np.ndarray) -> np.ndarray:
    name, *operands = expression
    if name == "const":
        return np.full(x.shape[1:], operands[0])
    if name == "var":
        return x[operands[0]]
    with np.errstate(over="ignore", invalid="ignore"):
        return MEANING[name](*(meaning(operand, x) for operand in operands))


def chain(nodes: int) -> Any:
    expression: Any = ("var", 0)
    for _ in range(nodes - 1):
        expression = ("exp", expression)
    return expression


def rows(*instructions: tuple[int, int, int], constants: tuple[float, ...] = ()) -> Program:
    code = np.zeros((CAPACITY, 3), np.int32)
    code[: len(instructions)] = np.reshape(instructions, (-1, 3))
    values = np.zeros(CAPACITY)
    values[: len(constants)] = constants
    return Program(jnp.asarray(code), jnp.asarray(values), jnp.asarray(len(instructions), jnp.int32))


LAW = ("add", ("mul", ("var", 0), ("const", 2.5)), ("exp", ("sub", ("var", 1), ("const", 0.5))))
X = np.array([[0.3, -1.0, 2.0], [1.0, 0.2, -0.7], [0.0, 1.0, 2.0]])


@given(expressions, st.lists(numbers, min_size=6, max_size=6))
@settings(max_examples=150, deadline=None)
def test_the_machine_computes_the_expression(expression: Any, values: list[float]) -> None:
    x = np.array(values).reshape(VARIABLES, 2)
    program = morphic.compile_expression(expression, CAPACITY)
    assert program.length == count(expression)
    np.testing.assert_allclose(morphic.evaluate(program, x), meaning(expression, x), rtol=1e-12)


@given(expressions)
@settings(max_examples=60, deadline=None)
def test_decompiling_gives_the_expression_back(expression: Any) -> None:
    assert formula.decompile(morphic.compile_expression(expression, CAPACITY)) == expression


@given(expressions)
@settings(max_examples=60, deadline=None)
def test_the_text_is_algebra_of_the_same_value(expression: Any) -> None:
    program = morphic.compile_expression(expression, CAPACITY)
    names = {"x0": X[0], "x1": X[1], "x2": X[2], "exp": np.exp}
    # Constants are shown to four digits: compare with the program whose constants are rounded so.
    rounded = np.array([float(f"{c:.4g}") for c in np.asarray(program.constants)])
    expected = morphic.evaluate(Program(program.code, jnp.asarray(rounded), program.length), X)
    with np.errstate(over="ignore", invalid="ignore"):
        found = eval(formula.text(program), {"__builtins__": {}}, names)
    np.testing.assert_allclose(np.broadcast_to(found, (3,)), expected, rtol=1e-9, atol=1e-12)


def test_the_budget_counts_every_node_and_depth_costs_nothing() -> None:
    assert morphic.MAX_INSTRUCTIONS == 500
    assert morphic.compile_expression(chain(500)).length == 500
    for nodes in (501, 1200, 100_000):
        with pytest.raises(BudgetExceeded, match="500"):
            morphic.compile_expression(chain(nodes))
    wide: Any = ("var", 0)
    for _ in range(200):
        wide = ("add", wide, wide)
    with pytest.raises(BudgetExceeded, match="32"):
        morphic.compile_expression(wide, CAPACITY)
    with pytest.raises(BudgetExceeded, match="500"):
        morphic.compile_expression(("var", 0), 501)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("var", "expected a tuple"),
        ((), "expected a tuple"),
        (("div", ("var", 0), ("var", 1)), "'div'"),
        (("add", ("var", 0)), "2 operand"),
        (("exp", ("var", 0), ("var", 1)), "1 operand"),
        (("const", float("nan")), "finite"),
        (("const", "one"), "finite"),
        (("var", -1), "from 0"),
        (("var", 0.5), "from 0"),
        (("add", ("var", 0), 3.0), "float"),
    ],
)
def test_what_is_no_expression_is_refused_by_name(expression: Any, told: str) -> None:
    with pytest.raises(MalformedExpression, match=told):
        morphic.compile_expression(expression)


@pytest.mark.parametrize(
    "program",
    [
        rows((Opcode.VAR, VARIABLES, 0)),
        rows((Opcode.VAR, -1, 0)),
        rows((6, 0, 0)),
        rows((Opcode.EXP, 0, 0)),
        rows((Opcode.VAR, 0, 0), (Opcode.ADD, 0, 1)),
        rows(),
        Program(jnp.zeros((4, 3), jnp.int32), jnp.zeros(4), jnp.asarray(5, jnp.int32)),
        Program(jnp.zeros((4, 3), jnp.int32), jnp.zeros(4), jnp.asarray(-(2**31), jnp.int32)),
    ],
    ids=["variable", "negative", "opcode", "self", "later", "empty", "too long", "negative length"],
)
def test_a_program_that_is_not_sound_gives_nan(program: Program) -> None:
    assert not morphic.is_sound(program, VARIABLES)
    assert np.isnan(np.asarray(morphic.evaluate(program, X))).all()


def test_overflow_is_infinite_and_raises_nothing() -> None:
    assert np.isinf(morphic.evaluate(morphic.compile_expression(chain(8)), [3.0]))


def test_vmap_over_samples_and_over_programs() -> None:
    laws = [LAW, ("var", 2), ("exp", ("const", 0.1))]
    programs = [morphic.compile_expression(law) for law in laws]
    expected = np.stack([meaning(law, X) for law in laws])
    together = morphic.evaluate(programs[0], X)
    np.testing.assert_allclose(together, expected[0], rtol=1e-14)
    np.testing.assert_allclose(
        jax.vmap(lambda x: morphic.evaluate(programs[0], x))(X.T), together, rtol=1e-14
    )
    stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *programs)
    found = jax.vmap(jax.vmap(morphic.evaluate, (None, 1)), (0, None))(stacked, X)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    grid = morphic.evaluate(programs[0], X.reshape(3, 3, 1))
    assert grid.shape == (3, 1)


@given(expressions.filter(lambda expression: count(expression) > 2))
@settings(max_examples=40, deadline=None)
def test_derivatives_are_those_of_the_complex_step(expression: Any) -> None:
    x = np.array([0.3, -0.4, 0.2])
    program = morphic.compile_expression(expression, CAPACITY)
    if not np.isfinite(morphic.evaluate(program, x)):
        return
    by_variable = [np.imag(meaning(expression, x + 1e-30j * unit)) / 1e-30 for unit in np.eye(3)]
    np.testing.assert_allclose(jax.grad(morphic.evaluate, 1)(program, x), by_variable, rtol=1e-9, atol=1e-12)

    def of_constants(constants: jax.Array) -> jax.Array:
        return morphic.evaluate(Program(program.code, constants, program.length), x)

    reverse = np.asarray(jax.grad(of_constants)(program.constants))
    forward = np.asarray(jax.jacfwd(of_constants)(program.constants))
    np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-300)
    assert not reverse[np.asarray(program.code)[:, 0] != Opcode.CONST].any()


def test_gradient_by_constants_agrees_with_finite_differences() -> None:
    program = morphic.compile_expression(LAW, CAPACITY)

    def loss(constants: jax.Array) -> jax.Array:
        return (morphic.evaluate(Program(program.code, constants, program.length), X) ** 2).sum()

    found = np.asarray(jax.grad(loss)(program.constants))
    for i in (1, 4):
        nudge = np.zeros(CAPACITY)
        nudge[i] = 1e-6
        slope = (loss(program.constants + nudge) - loss(program.constants - nudge)) / 2e-6
        np.testing.assert_allclose(found[i], slope, rtol=1e-7)
    curvature = jax.jacfwd(jax.grad(loss))(program.constants)
    np.testing.assert_allclose(curvature[1, 1], 2.0 * (X[0] ** 2).sum(), rtol=1e-12)


def test_a_branch_not_taken_leaves_no_nan_in_the_gradient() -> None:
    # exp(800) overflows in the selection of every instruction whose left operand is 800.
    program = morphic.compile_expression(("mul", ("var", 0), ("const", 2.0)), CAPACITY)
    np.testing.assert_array_equal(jax.grad(morphic.evaluate, 1)(program, jnp.array([800.0])), [2.0])
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), program)
    found = jax.vmap(jax.grad(morphic.evaluate, 1), (0, None))(stacked, jnp.array([800.0]))
    np.testing.assert_array_equal(found, [[2.0], [2.0]])


def test_float32_stays_float32_and_padding_changes_nothing() -> None:
    program = morphic.compile_expression(LAW, CAPACITY)
    narrow = Program(program.code, program.constants.astype(jnp.float32), program.length)
    found = morphic.evaluate(narrow, X.astype(np.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, meaning(LAW, X), rtol=1e-6)
    tight = morphic.compile_expression(LAW, count(LAW))
    np.testing.assert_array_equal(morphic.evaluate(tight, X), morphic.evaluate(program, X))


def test_another_law_compiles_nothing() -> None:
    morphic.evaluate(morphic.compile_expression(LAW, CAPACITY), X).block_until_ready()
    before = morphic._evaluate._cache_size()
    for law in (("var", 1), ("exp", LAW)):
        morphic.evaluate(morphic.compile_expression(law, CAPACITY), X)
    assert morphic._evaluate._cache_size() == before


def test_what_is_read_twice_is_written_once() -> None:
    squares = rows((Opcode.VAR, 0, 0), *((Opcode.MUL, i, i) for i in range(20)))
    assert formula.text(squares, ("q",)).startswith("a = q*q; b = a*a; ")
    assert len(formula.text(squares)) < 400
    with pytest.raises(ValueError, match="compile it again"):
        formula.text(rows((Opcode.EXP, 3, 0)))
