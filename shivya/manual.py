"""`shivya man`: the manual page shivya(1), made from the parser of the command line."""

from __future__ import annotations

from shivya.command_tree import Argument, Command
from shivya.version import __version__

_FILES = (
    ("shivya.toml", "settings, in the working directory; before them come flags and SHIVYA_* variables"),
    (
        "~/.config/shivya/config.toml",
        "settings of the user; 'shivya init' writes them, with every key explained",
    ),
    ("~/.config/shivya/mesh.key", "the key of the mesh, readable by its owner only"),
    ("~/.local/state/shivya/PORT", "identity, ledger and log of a daemon; $STATE_DIRECTORY instead, if set"),
    ("$XDG_RUNTIME_DIR/shivya/PORT.sock", "control socket; in $RUNTIME_DIRECTORY, if that is set"),
)
_EXITS = (
    ("0", "all is well"),
    ("1", "it failed"),
    ("2", "it was asked wrongly"),
    ("3", "no daemon answers"),
    ("4", "it was refused"),
)


def page(tree: Command) -> str:
    """Return the manual page in the man macros of roff."""
    lines = [
        '.\\" Made by "shivya man" from the parser of the command line.',
        f'.TH SHIVYA 1 "" "shivya {_text(__version__)}" "User Commands"',
        ".SH NAME",
        "shivya \\- load sharing for fleets of edge machines, without a coordinator",
        ".SH SYNOPSIS",
        ".B shivya",
        ".I COMMAND",
        "[\\fIoptions\\fR]",
        ".SH DESCRIPTION",
        _text(tree.description),
        ".SH OPTIONS",
        *(line for argument in tree.arguments for line in _option(argument)),
        ".SH COMMANDS",
    ]
    for command in tree.walk():
        if command.path:
            lines += _command(command)
    for title, rows in (("FILES", _FILES), ("EXIT STATUS", _EXITS)):
        lines.append(f".SH {title}")
        for term, text in rows:
            lines += [".TP", f".B {_text(term)}", _text(text)]
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        ".B SHIVYA_*",
        "Every key of the settings in capitals: SHIVYA_PORT, SHIVYA_LAW_GAP.",
        ".TP",
        ".B NO_COLOR",
        "If it is set, nothing is coloured.",
    ]
    return "\n".join(lines) + "\n"


def _command(command: Command) -> list[str]:
    names = ", ".join(("shivya " + " ".join(command.path), *command.aliases))
    lines = [f".SS {_text(names)}", _text(_sentence(command.description))]
    example = command.epilog.split("\n", 1)[0].removeprefix("example: ")
    for argument in command.arguments:
        if argument.flags != ("-h", "--help"):
            lines += _option(argument)
    if command.epilog.startswith("example: "):
        lines += [".PP", "Example:", ".EX", _text(example), ".EE"]
    return lines


def _option(argument: Argument) -> list[str]:
    value = "{" + ",".join(argument.choices) + "}" if argument.choices else argument.metavar
    value = f"\\fI{_text(value)}\\fR" if value else ""
    if argument.flags:
        head = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in argument.flags)
        head += (f" [{value}]" if argument.optional else f" {value}") if value else ""
    else:
        head = value
    return [".TP", head, _text(_sentence(argument.help))]


def _sentence(text: str) -> str:
    """Return a text that begins and ends as a sentence does; flags keep their letters."""
    return text if not text or text.endswith(".") else f"{text}."


def _text(text: str) -> str:
    """Return text that roff prints as it is."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("~", "\\(ti")
    return f"\\&{safe}" if safe.startswith((".", "\\(aq")) else safe
