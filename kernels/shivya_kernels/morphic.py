"""A register machine for small laws: symbolic expressions as data that a compiled step evaluates (the seeds'
morphic core).

A program is straight-line code in static single assignment: instruction i writes register i and reads only
registers before it, and the last instruction in use gives the result. Programs are padded arrays, so another
law is other numbers, never another compilation; they stack along a leading axis. There is no jump, no memory
and no recursion: a program of n instructions takes n steps, and n is at most `MAX_INSTRUCTIONS`.

The register file is also the tape of reverse differentiation (Griewank, Walther 2008): one sweep backwards
over the same instructions gives the derivative by every constant and every variable, sample by sample. That
sweep is how ``evaluate`` is differentiated (forward and reverse mode) and how ``search`` polishes constants.

Letters: I instructions (padded), K variables, N samples.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32

from shivya_kernels.shapes import as_float

MAX_INSTRUCTIONS = 500
"""The budget: nodes of an expression, and so instructions of a program."""

Expression: TypeAlias = tuple[Any, ...]
"""("add", l, r), ("sub", l, r), ("mul", l, r), ("exp", x), ("const", 2.5) or ("var", 0), nested."""


class BudgetExceeded(ValueError):
    """An expression has more nodes than the budget."""


class MalformedExpression(ValueError):
    """An expression is none of the forms of `Expression`."""


class Opcode(IntEnum):
    """What an instruction does with its operands."""

    CONST = 0
    """Its own entry of `Program.constants`."""
    VAR = 1
    """The variable that its left operand numbers."""
    ADD = 2
    SUB = 3
    MUL = 4
    EXP = 5
    """Of its left operand."""


_ARITY = {"const": 1, "var": 1, "add": 2, "sub": 2, "mul": 2, "exp": 1}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Program:
    """Straight-line code, padded. Stacked programs have a leading axis on every field."""

    code: Int32[Array, "I 3"]
    """Opcode, left and right operand of each instruction; zero where there is none."""
    constants: Float[Array, "I"]
    """The value of each CONST instruction; zero elsewhere."""
    length: Int32[Array, ""]
    """Instructions in use."""


def compile_expression(expression: Expression, capacity: int = MAX_INSTRUCTIONS) -> Program:
    """The program of an expression in post-order, one instruction per node, padded to `capacity`.

    Works off an explicit stack, so depth costs nothing. Raises BudgetExceeded above `capacity` nodes (leaves
    count too, and a shared part as often as it appears) and MalformedExpression for anything but an
    `Expression` with finite constants and variables numbered from 0.
    """
    if not 1 <= capacity <= MAX_INSTRUCTIONS:
        raise BudgetExceeded(f"a program holds 1 to {MAX_INSTRUCTIONS} instructions, not {capacity}")
    code = np.zeros((capacity, 3), np.int32)
    constants = np.zeros(capacity)
    open_nodes: list[tuple[str, Expression, bool]] = [(*_node(expression), False)]
    written: list[int] = []
    seen, used = 1, 0
    while open_nodes:
        name, operands, operands_written = open_nodes.pop()
        if name not in ("const", "var") and not operands_written:
            seen += len(operands)
            if seen > capacity:
                raise BudgetExceeded(
                    f"the expression has more than {capacity} nodes and {capacity} is the budget; simplify it"
                )
            open_nodes.append((name, operands, True))
            open_nodes.extend((*_node(operand), False) for operand in reversed(operands))
            continue
        code[used, 0] = Opcode[name.upper()]
        if name == "const":
            constants[used] = _constant(operands[0])
        elif name == "var":
            code[used, 1] = _variable(operands[0])
        else:
            for place in range(len(operands), 0, -1):
                code[used, place] = written.pop()
        written.append(used)
        used += 1
    return Program(jnp.asarray(code), as_float(constants), jnp.asarray(used, jnp.int32))


def evaluate(program: Program, variables: Float[ArrayLike, "K *samples"]) -> Float[Array, "*samples"]:
    """The program's value; axes of `variables` after the first are samples, evaluated together.

    NaN where the program is not sound (``is_sound``); overflow gives infinity. Differentiable by constants
    and variables, in forward and reverse mode (once in reverse). Bounded: `program.length` steps.
    """
    found: Array = _evaluate(program, as_float(variables))
    return found


@jax.jit
def jacobian(
    program: Program, variables: Float[Array, "K N"]
) -> tuple[Float[Array, "N"], Float[Array, "I N"], Float[Array, "K N"]]:
    """Value, derivative by each constant and derivative by each variable, of every sample.

    One run forwards and one sweep backwards over the registers: the derivatives cost twice the value.
    """
    registers = _run(program, variables)
    opcode, left, _ = program.code.T
    adjoint = _sweep(program, registers)
    by_constant = jnp.where((opcode == Opcode.CONST)[:, None], adjoint, 0.0)
    reads = jnp.where((opcode == Opcode.VAR)[:, None], adjoint, 0.0)
    by_variable = jnp.zeros_like(variables, adjoint.dtype).at[left].add(reads, mode="drop")
    return _result(program, registers, variables.shape[0]), by_constant, by_variable


@jax.jit
def is_sound(program: Program, variables: int | Int32[Array, ""]) -> Bool[Array, ""]:
    """Every instruction in use is known, reads only earlier registers or one of the `variables`, and there is
    at least one. What ``compile_expression`` and ``search`` make is sound; what came from a disk may not be.
    """
    opcode, left, right = program.code.T
    place = jnp.arange(opcode.shape[0])
    known = (opcode >= 0) & (opcode < len(Opcode)) & (left >= 0) & (right >= 0)
    ordered = jnp.where(
        opcode == Opcode.VAR, left < variables, (opcode == Opcode.CONST) | ((left < place) & (right < place))
    )
    fits = (program.length >= 1) & (program.length <= opcode.shape[0])
    sound: Array = fits & (known & ordered | (place >= program.length)).all()
    return sound


@jax.jit
def _evaluate(program: Program, variables: Float[Array, "K *samples"]) -> Float[Array, "*samples"]:
    flat = variables.reshape(variables.shape[0], -1)
    value: Array = _value(program.code, program.length, program.constants, flat)
    return value.reshape(variables.shape[1:])


@jax.custom_jvp
def _value(code: Array, length: Array, constants: Array, variables: Float[Array, "K N"]) -> Float[Array, "N"]:
    program = Program(code, constants, length)
    return _result(program, _run(program, variables), variables.shape[0])


@_value.defjvp
def _value_jvp(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    # Linear in the tangents, with the Jacobian already there: so this serves reverse mode too, which could
    # not pass through a loop whose length is data.
    code, length, constants, variables = primals
    _, _, constant_tangent, variable_tangent = tangents
    value, by_constant, by_variable = jacobian(Program(code, constants, length), variables)
    return value, constant_tangent @ by_constant + (variable_tangent * by_variable).sum(0)


def _run(program: Program, variables: Float[Array, "K N"]) -> Float[Array, "I N"]:
    """All registers after a run; those beyond the length stay zero."""
    dtype = jnp.result_type(program.constants, variables)
    constants, variables = program.constants.astype(dtype), variables.astype(dtype)

    def execute(i: Array, registers: Array) -> Array:
        # Every operation is computed and one selected: that is a single fused loop over the samples, a third
        # of the time of a true branch. The branches not taken carry no derivative (see ``_value_jvp``).
        opcode, left, right = program.code[i]
        x, y = _row(registers, left), _row(registers, right)
        constant = jnp.broadcast_to(constants[i], x.shape)
        value = _select(opcode, constant, _row(variables, left), x + y, x - y, x * y, jnp.exp(x))
        written: Array = lax.dynamic_update_index_in_dim(registers, value, i, 0)
        return written

    empty = jnp.zeros((program.code.shape[0], variables.shape[1]), dtype)
    registers: Array = lax.fori_loop(0, _steps(program), execute, empty)
    return registers


def _sweep(program: Program, registers: Float[Array, "I N"]) -> Float[Array, "I N"]:
    """Derivative of the result by each register, from the last instruction back to the first."""
    steps = _steps(program)

    def differentiate(step: Array, adjoint: Array) -> Array:
        i = steps - 1 - step
        opcode, left, right = program.code[i]
        x, y = _row(registers, left), _row(registers, right)
        own = _row(adjoint, i)
        none = jnp.zeros_like(own)
        to_left = _select(opcode, none, none, own, own, own * y, own * _row(registers, i))
        to_right = _select(opcode, none, none, own, -own, own * x, none)
        adjoint = _add_to_row(adjoint, to_left, left)
        return _add_to_row(adjoint, to_right, right)

    seed = jnp.zeros_like(registers).at[steps - 1].set(1.0)
    adjoint: Array = lax.fori_loop(0, steps, differentiate, seed)
    return adjoint


def _steps(program: Program) -> Int32[Array, ""]:
    """Instructions to execute, whatever the program claims."""
    return jnp.clip(program.length, 0, program.code.shape[0])


def _select(opcode: Int32[Array, ""], *outcomes: Float[Array, "N"]) -> Float[Array, "N"]:
    """The outcome of one opcode, of the outcomes of all in their order."""
    chosen = outcomes[0]
    for number, outcome in enumerate(outcomes[1:], start=1):
        chosen = jnp.where(opcode == number, outcome, chosen)
    return chosen


def _row(matrix: Float[Array, "R N"], index: Int32[Array, ""]) -> Float[Array, "N"]:
    row: Array = lax.dynamic_index_in_dim(matrix, index, keepdims=False)
    return row


def _add_to_row(matrix: Float[Array, "R N"], row: Float[Array, "N"], index: Array) -> Float[Array, "R N"]:
    added: Array = lax.dynamic_update_index_in_dim(matrix, _row(matrix, index) + row, index, 0)
    return added


def _result(program: Program, registers: Float[Array, "I N"], variables: int) -> Float[Array, "N"]:
    return jnp.where(is_sound(program, variables), registers[program.length - 1], jnp.nan)


def _node(expression: object) -> tuple[str, Expression]:
    """Name and operands of one node, without a look inside the operands."""
    # An expression may be too deep to print: errors name its outermost part only.
    if not isinstance(expression, tuple | list) or not expression:
        raise MalformedExpression(f"expected a tuple such as ('var', 0), got {type(expression).__name__}")
    name, *operands = expression
    if not isinstance(name, str) or name not in _ARITY:
        shown = repr(name) if isinstance(name, str) else type(name).__name__
        raise MalformedExpression(f"unknown operation {shown}; known are {', '.join(_ARITY)}")
    if len(operands) != _ARITY[name]:
        raise MalformedExpression(f"'{name}' takes {_ARITY[name]} operand(s), got {len(operands)}")
    return name, tuple(operands)


def _constant(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not np.isfinite(number):
        raise MalformedExpression(f"a constant is a finite number, got {type(value).__name__}")
    return number


def _variable(value: object) -> int:
    try:
        index = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        index = -1
    if not 0 <= index < 2**31:
        raise MalformedExpression("a variable is numbered by a whole number from 0")
    return index
