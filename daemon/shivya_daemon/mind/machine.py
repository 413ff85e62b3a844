"""Programs as the kernels hold them, and back."""

from __future__ import annotations

import numpy as np

from shivya_daemon.mind.programs import Instruction, Programs
from shivya_kernels.morphic import Opcode, Program

_AS_BEFORE: Instruction = (int(Opcode.VAR), 0, 0, 0.0)


def stacked(programs: Programs, capacity: int) -> Program:
    """Return the programs stacked [S], padded to `capacity` instructions; ValueError for longer ones."""
    code = np.zeros((len(programs), capacity, 3), np.int32)
    constants = np.zeros((len(programs), capacity))
    length = np.zeros(len(programs), np.int32)
    for sense, program in enumerate(programs):
        rows = program or (_AS_BEFORE,)
        if len(rows) > capacity:
            raise ValueError(f"a law has {len(rows)} instructions and {capacity} is the capacity")
        code[sense, : len(rows)] = [row[:3] for row in rows]
        constants[sense, : len(rows)] = [row[3] for row in rows]
        length[sense] = len(rows)
    return Program(code, constants, length)  # type: ignore[arg-type]  # numpy as it is: jit takes it in one call


def listed(program: Program) -> tuple[Instruction, ...]:
    """Return the instructions in use of one program; none for "as before"."""
    used = int(program.length)
    code, constants = np.asarray(program.code)[:used].tolist(), np.asarray(program.constants)[:used].tolist()
    rows = tuple((*row, constant) for row, constant in zip(code, constants, strict=True))
    return () if rows == (_AS_BEFORE,) else rows
