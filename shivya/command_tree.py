"""The command line as plain values: what completion scripts and the manual are made from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Argument:
    """One flag or positional argument."""

    flags: tuple[str, ...]
    """Empty for a positional argument."""
    metavar: str
    """Of the value; empty when it takes none."""
    help: str
    choices: tuple[str, ...]
    optional: bool
    """Whether the value, or the positional argument itself, may be left out."""
    repeated: bool

    @property
    def is_file(self) -> bool:
        """Whether the value names something in the file system."""
        return any(word in self.metavar for word in ("FILE", "DIR", "PATH", "SCENARIO"))


@dataclass(frozen=True)
class Command:
    """One command, or the whole program."""

    path: tuple[str, ...]
    """The words that choose it, without the name of the program."""
    aliases: tuple[str, ...]
    description: str
    epilog: str
    arguments: tuple[Argument, ...]
    commands: tuple[Command, ...]

    def walk(self) -> Iterator[Command]:
        """Yield this command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read(parser: argparse.ArgumentParser) -> Command:
    """Return the tree of `parser`."""
    return _read(parser, (), ())


def _read(parser: argparse.ArgumentParser, path: tuple[str, ...], aliases: tuple[str, ...]) -> Command:
    arguments: list[Argument] = []
    commands: list[Command] = []
    for action in parser._actions:  # argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):
            names: dict[int, list[str]] = {}
            for name, below in action.choices.items():
                names.setdefault(id(below), []).append(name)
            for name, below in action.choices.items():
                first, *others = names[id(below)]
                if name == first:
                    commands.append(_read(below, (*path, name), tuple(others)))
        elif action.help != argparse.SUPPRESS:
            arguments.append(_argument(action))
    return Command(
        path,
        aliases,
        " ".join((parser.description or "").split()),
        (parser.epilog or "").strip(),
        tuple(arguments),
        tuple(commands),
    )


def _argument(action: argparse.Action) -> Argument:
    takes = action.nargs != 0
    named = action.metavar or (action.dest.upper().replace("_", "-") if takes else "")
    metavar = named if isinstance(named, str) else " ".join(named)
    # The words of a setting are checked with the settings, which may also come from a file.
    listed = metavar[1:-1].split(",") if metavar.startswith("{") else ()
    return Argument(
        flags=tuple(action.option_strings),
        metavar=metavar,
        help=" ".join((action.help or "").replace("%%", "%").split()),
        choices=tuple(map(str, action.choices or listed)) if takes else (),
        optional=action.nargs in ("?", "*"),
        repeated=action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction),
    )
