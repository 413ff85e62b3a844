"""A program read back: as a nested expression, and as the line of algebra that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shivya_kernels.morphic import Expression, Opcode, Program, is_sound

_SUM, _PRODUCT, _ATOM = range(3)
"""How tightly a piece of text binds."""

_SYMBOLS = {Opcode.ADD: " + ", Opcode.SUB: " - ", Opcode.MUL: "*"}


class _Text(NamedTuple):
    content: str
    binding: int


def decompile(program: Program) -> Expression:
    """The expression a program computes: ``compile_expression`` of it gives the same values. Host side.

    A register read twice is one tuple referred to twice. Raises ValueError for a program that is not sound.
    """
    expressions: list[Expression] = []
    for opcode, left, right, constant in _instructions(program):
        name = opcode.name.lower()
        if opcode is Opcode.CONST:
            expressions.append((name, constant))
        elif opcode is Opcode.VAR:
            expressions.append((name, left))
        elif opcode is Opcode.EXP:
            expressions.append((name, expressions[left]))
        else:
            expressions.append((name, expressions[left], expressions[right]))
    return expressions[-1]


def text(program: Program, names: Sequence[str] = ()) -> str:
    """The program as algebra, such as ``0.9*x0 + 0.1``; what is used twice comes first: ``a = ...; a*a``.

    Constants to four digits; variable k is `names[k]`, or xk. Its length is linear in the program's. Host
    side. Raises ValueError for a program that is not sound.
    """
    instructions = _instructions(program)
    uses = _uses(instructions)
    definitions: list[str] = []
    texts: list[_Text] = []
    for i, (opcode, left, right, constant) in enumerate(instructions):
        if opcode is Opcode.CONST:
            found = _Text(f"{constant:.4g}", _ATOM)
        elif opcode is Opcode.VAR:
            found = _Text(names[left] if left < len(names) else f"x{left}", _ATOM)
        elif not uses[i]:
            found = _Text("", _ATOM)
        elif opcode is Opcode.EXP:
            found = _Text(f"exp({texts[left].content})", _ATOM)
        else:
            found = _infix(opcode, texts[left], texts[right])
        if uses[i] > 1 and opcode not in (Opcode.CONST, Opcode.VAR):
            name = _letter(len(definitions))
            definitions.append(f"{name} = {found.content}")
            found = _Text(name, _ATOM)
        texts.append(found)
    return "; ".join([*definitions, texts[-1].content])


def _instructions(program: Program) -> list[tuple[Opcode, int, int, float]]:
    """Opcode, operands and constant of every instruction in use."""
    if not is_sound(program, np.iinfo(np.int32).max):
        raise ValueError("the program reads what is not there: compile it again from its expression")
    length = int(program.length)
    code, constants = np.asarray(program.code)[:length], np.asarray(program.constants)[:length]
    return [
        (Opcode(opcode), left, right, constant)
        for (opcode, left, right), constant in zip(code.tolist(), constants.tolist(), strict=True)
    ]


def _uses(instructions: list[tuple[Opcode, int, int, float]]) -> list[int]:
    """How often the result needs each register; 0 for what does not matter."""
    uses = [0] * len(instructions)
    uses[-1] = 1
    for i in range(len(instructions) - 1, -1, -1):
        opcode, left, right, _ = instructions[i]
        if uses[i] and opcode not in (Opcode.CONST, Opcode.VAR):
            uses[left] += 1
            if opcode is not Opcode.EXP:
                uses[right] += 1
    return uses


def _infix(opcode: Opcode, left: _Text, right: _Text) -> _Text:
    if opcode is Opcode.MUL:
        return _Text(f"{_closed(left, _PRODUCT)}*{_closed(right, _PRODUCT, leading=False)}", _PRODUCT)
    if right.content.startswith("-") and right.binding != _SUM:
        opposite = Opcode.SUB if opcode is Opcode.ADD else Opcode.ADD
        return _Text(f"{left.content}{_SYMBOLS[opposite]}{right.content[1:]}", _SUM)
    least = _SUM if opcode is Opcode.ADD else _PRODUCT
    return _Text(f"{left.content}{_SYMBOLS[opcode]}{_closed(right, least, leading=False)}", _SUM)


def _closed(piece: _Text, least: int, leading: bool = True) -> str:
    """In brackets if it binds less tightly, or would put a minus sign after an operator."""
    bare = piece.binding >= least and (leading or not piece.content.startswith("-"))
    return piece.content if bare else f"({piece.content})"


def _letter(number: int) -> str:
    """a, b, ... z, a1, b1, ..."""
    return chr(ord("a") + number % 26) + (str(number // 26) if number >= 26 else "")
