"""New programs from old: mutation and crossover of straight-line code, as array operations.

Linear genetic programming (Brameier, Banzhaf 2007): an instruction reads only registers before it, so code
cut at the same place in two parents and joined is again a program, and every random instruction is valid
where it stands. Instructions that the result does not need are taken out after every variation, so a program
is as long as what it computes.

Everything is pure and has fixed shapes: `jax.vmap` over keys and parents makes a generation.
Letters: I instructions (padded).
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray

from shivya_kernels.morphic import Opcode, Program

_MOVES = (0.15, 0.2, 0.35, 0.1, 0.15, 0.05)
"""How often constants move, an instruction is redrawn, a term is added, the program is cut short, two
programs are crossed, two programs are averaged."""

_SPREAD = 0.25
"""Standard deviation by which a constant of size 1 is moved (the seeds')."""


def vary(key: PRNGKeyArray, parent: Program, donor: Program, variables: int) -> Program:
    """A variation of `parent`, with material of `donor` where it is a crossover; of `variables` variables.

    Parents are sound and share a capacity; the child is sound too. Where a move does not fit into the
    capacity the parent's constants are moved instead.
    """
    # Few draws, shared by the moves: of them one is made, and every draw costs time to compile.
    dice, deviate = jax.random.split(key)
    chance = jax.random.uniform(dice, (6,), parent.constants.dtype)
    noise = jax.random.normal(deviate, parent.constants.shape, parent.constants.dtype)
    moved = _move_constants(noise, parent)
    children = (
        moved,
        _redraw_instruction(chance[1:], noise, parent, variables),
        _add_term(chance[1:], noise, parent, moved, variables),
        _cut_short(chance[1], parent),
        _cross(chance[1], parent, donor),
        _average(parent, donor, moved),
    )
    move = _weighted(chance[0], _MOVES)
    chosen: Program = jax.tree.map(lambda *found: jnp.stack(found)[move], *children)
    return compact(chosen)


def compact(program: Program) -> Program:
    """The same law without the instructions its result does not depend on."""
    size = program.code.shape[0]
    opcode, left, right = program.code.T
    unary, binary = opcode == Opcode.EXP, (opcode >= Opcode.ADD) & (opcode <= Opcode.MUL)

    def mark(step: Array, needed: Array) -> Array:
        i = size - 1 - step
        reads = (needed[i] & (unary[i] | binary[i])) & (jnp.arange(size) == left[i])
        marked: Array = needed | reads | ((needed[i] & binary[i]) & (jnp.arange(size) == right[i]))
        return marked

    needed: Bool[Array, "I"] = lax.fori_loop(0, size, mark, jnp.arange(size) == program.length - 1)
    place = jnp.cumsum(needed, dtype=jnp.int32) - 1
    left = jnp.where(unary | binary, place[left], jnp.where(opcode == Opcode.VAR, left, 0))
    code = jnp.stack([opcode, left, jnp.where(binary, place[right], 0)], axis=1)
    target = jnp.where(needed, place, size)
    constants = jnp.where(opcode == Opcode.CONST, program.constants, 0.0)
    return Program(
        jnp.zeros_like(code).at[target].set(code, mode="drop"),
        jnp.zeros_like(program.constants).at[target].set(constants, mode="drop"),
        place[-1] + 1,
    )


def _move_constants(noise: Float[Array, "I"], program: Program) -> Program:
    scale = _SPREAD * (1.0 + jnp.abs(program.constants))
    moved = jnp.where(program.code[:, 0] == Opcode.CONST, program.constants + scale * noise, 0.0)
    return replace(program, constants=moved)


def _redraw_instruction(
    chance: Float[Array, "5"], noise: Float[Array, "I"], program: Program, variables: int
) -> Program:
    """One instruction drawn afresh, or with a chance of one half only its operands or its constant."""
    i = _among(chance[0], program.length)
    drawn = _among(chance[1], len(Opcode))
    opcode = jnp.where(chance[2] < 0.5, program.code[i, 0], drawn)
    opcode = jnp.where((i == 0) & (opcode > Opcode.VAR), Opcode.VAR, opcode)
    reach = jnp.where(opcode == Opcode.VAR, variables, jnp.maximum(i, 1))
    code = program.code.at[i].set(jnp.stack([opcode, _among(chance[3], reach), _among(chance[4], reach)]))
    return replace(program, code=code, constants=program.constants.at[i].set(noise[0]))


def _add_term(
    chance: Float[Array, "5"], noise: Float[Array, "I"], program: Program, otherwise: Program, variables: int
) -> Program:
    """The result plus, minus or times a new term: c, x, c x, or c exp(c x)."""
    base = program.length
    opcode = Opcode.ADD + _among(chance[0], 3)
    x = _among(chance[1], variables)
    result = base - 1
    join = jnp.stack([opcode, result, base])
    const, var = _row(Opcode.CONST, 0 * x, 0 * x), _row(Opcode.VAR, x, 0 * x)
    nothing = jnp.zeros_like(const)

    times = _row(Opcode.MUL, base, base + 1)
    close = jnp.stack([opcode, result, base + 2])
    tails = jnp.stack(
        [
            jnp.stack([const, join, *[nothing] * 5]),
            jnp.stack([var, join, *[nothing] * 5]),
            jnp.stack([const, var, times, close, *[nothing] * 3]),
            jnp.stack(
                [
                    const,
                    var,
                    times,
                    _row(Opcode.EXP, base + 2, 0 * base),
                    const,
                    _row(Opcode.MUL, base + 3, base + 4),
                    jnp.stack([opcode, result, base + 5]),
                ]
            ),
        ]
    )
    chosen = _weighted(chance[2], (0.2, 0.2, 0.5, 0.1))
    count = jnp.asarray([2, 2, 4, 7], jnp.int32)[chosen]
    return _append(program, tails[chosen], 0.5 * noise, count, otherwise)


def _cut_short(chance: Float[Array, ""], program: Program) -> Program:
    """An earlier register becomes the result."""
    return replace(program, length=1 + _among(chance, program.length))


def _cross(chance: Float[Array, ""], one: Program, other: Program) -> Program:
    """The beginning of one program and the rest of the other, cut at the same place."""
    cut = _among(chance, jnp.minimum(one.length, other.length) + 1)
    first = jnp.arange(one.code.shape[0]) < cut
    return Program(
        jnp.where(first[:, None], one.code, other.code),
        jnp.where(first, one.constants, other.constants),
        other.length,
    )


def _average(one: Program, other: Program, otherwise: Program) -> Program:
    """Half the sum of both results."""
    opcode, left, right = other.code.T
    reads, pairs = opcode >= Opcode.ADD, (opcode >= Opcode.ADD) & (opcode <= Opcode.MUL)
    left, right = jnp.where(reads, left + one.length, left), jnp.where(pairs, right + one.length, right)
    shifted = jnp.stack([opcode, left, right], axis=1)
    end = one.length + other.length
    tail = jnp.stack(
        [
            _row(Opcode.ADD, one.length - 1, end - 1),
            _row(Opcode.CONST, 0 * end, 0 * end),
            _row(Opcode.MUL, end, end + 1),
        ]
    )
    both = _append(one, shifted, other.constants, other.length, otherwise)
    half = jnp.asarray([0.0, 0.5, 0.0], one.constants.dtype)
    whole = _append(both, tail, half, jnp.asarray(3, jnp.int32), otherwise)
    fits = end + 3 <= one.code.shape[0]
    return _where(fits, whole, otherwise)


def _append(
    program: Program,
    code: Int32[Array, "M 3"],
    constants: Float[Array, "M"],
    count: Int32[Array, ""],
    otherwise: Program,
) -> Program:
    """The program followed by the first `count` of these instructions, or `otherwise` if they do not fit."""
    size = program.code.shape[0]
    offset = jnp.arange(size) - program.length
    new = (offset >= 0) & (offset < count)
    source = jnp.clip(offset, 0, code.shape[0] - 1)
    longer = Program(
        jnp.where(new[:, None], code[source], program.code),
        jnp.where(new, constants[source], program.constants),
        program.length + count,
    )
    fits = program.length + count <= size
    return _where(fits, longer, otherwise)


def _among(chance: Float[Array, ""], count: ArrayLike) -> Int32[Array, ""]:
    """A number from 0 to below `count`, from a uniform draw."""
    return jnp.minimum(chance * count, jnp.asarray(count) - 1).astype(jnp.int32)


def _weighted(chance: Float[Array, ""], shares: tuple[float, ...]) -> Int32[Array, ""]:
    """The place in `shares`, which add up to one, that a uniform draw falls on."""
    bounds = jnp.cumsum(jnp.asarray(shares[:-1], chance.dtype))
    return (chance >= bounds).sum(dtype=jnp.int32)


def _row(opcode: Opcode, left: Int32[Array, ""], right: Int32[Array, ""]) -> Int32[Array, "3"]:
    return jnp.stack([jnp.full_like(left, opcode), left, right])


def _where(condition: Bool[Array, ""], one: Program, other: Program) -> Program:
    chosen: Program = jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
    return chosen
