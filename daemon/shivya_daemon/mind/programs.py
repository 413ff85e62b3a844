"""Laws of the predictor as plain values: they cross threads, a record and a replay without JAX."""

from __future__ import annotations

import math
from typing import TypeAlias

SENSES = ("wait", "utilisation", "cpu", "memory")
"""What the agent of a vertex observes, in the order of the kernels."""

Instruction: TypeAlias = tuple[int, int, int, float]
"""Opcode, left operand, right operand, constant (`shivya_kernels.morphic`)."""

Programs: TypeAlias = tuple[tuple[Instruction, ...], ...]
"""The law of each sense; one without instructions says "as before"."""

AS_BEFORE: Programs = ((),) * len(SENSES)


def parse(document: object) -> Programs:
    """Return the programs that a JSON document holds; raises ValueError where it holds none.

    Whether an instruction makes sense the machine finds out: a program that is not sound foretells nothing.
    """
    if not isinstance(document, list) or len(document) != len(SENSES):
        raise ValueError(f"laws are a list of {len(SENSES)} programs")
    if not all(isinstance(program, list) for program in document):
        raise ValueError("a program is a list of instructions")
    return tuple(tuple(_instruction(row) for row in program) for program in document)


def _instruction(row: object) -> Instruction:
    match row:
        case [int(opcode), int(left), int(right), float(constant)]:
            if all(0 <= number < 2**31 for number in (opcode, left, right)) and math.isfinite(constant):
                return opcode, left, right, constant
    raise ValueError("an instruction is three whole numbers and a finite constant")
