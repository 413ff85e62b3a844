"""`shivya completion`: scripts that let bash, zsh and fish complete what can be typed, from the parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from shivya.command_tree import Argument, Command

_HEAD = "# Completion of the shivya command for {shell}, made by 'shivya completion {shell}'."


def bash(tree: Command) -> str:
    """Return a script for bash: words known by the commands before, files where a file is meant."""
    words, files, values = [], [], []
    for command in tree.walk():
        key = " ".join(command.path)
        names = [flag for argument in command.arguments for flag in argument.flags]
        names += [name for below in command.commands for name in (below.path[-1], *below.aliases)]
        names += [choice for a in command.arguments if not a.flags for choice in a.choices]
        words.append(f"    {_quote(key)}) words={_quote(' '.join(names))} ;;")
        for argument in command.arguments:
            for flag in argument.flags:
                if argument.choices:
                    values.append(
                        f"    {_quote(f'{key} {flag}')}) words={_quote(' '.join(argument.choices))} ;;"
                    )
                elif argument.is_file:
                    files.append(f"{key} {flag}")
                elif argument.metavar and not argument.optional:
                    values.append(f"    {_quote(f'{key} {flag}')}) words='' ;;")
        if any(a.is_file for a in command.arguments if not a.flags):
            files.append(f"{key} ")
    paths = [" ".join(command.path) for command in tree.walk() if command.path]
    aliases = [
        f"      {_quote(' '.join((*c.path[:-1], alias)))}) at={_quote(' '.join(c.path))} ;;"
        for c in tree.walk()
        for alias in c.aliases
    ]
    listed = "|".join(_quote(path) for path in paths)
    filed = "|".join(_quote(each) for each in files)
    return "\n".join(
        [
            _HEAD.format(shell="bash"),
            "_shivya() {",
            "  local here=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} at='' next words='' i",
            "  for ((i = 1; i < COMP_CWORD; i++)); do",
            '    next="${at:+$at }${COMP_WORDS[i]}"',
            '    case "$next" in',
            f"      {listed}) at=$next ;;",
            *aliases,
            "    esac",
            "  done",
            '  case "$at" in',
            *words,
            "  esac",
            '  case "$at $before" in',
            *values,
            f"    {filed}) COMPREPLY=(); compopt -o default; return ;;",
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$here"))',
            "  if [[ ${#COMPREPLY[@]} -eq 0 && $here != -* ]]; then",
            '    case "$at " in',
            f"      {filed}) compopt -o default ;;",
            "    esac",
            "  fi",
            "}",
            "complete -F _shivya shivya",
            "",
        ]
    )


def zsh(tree: Command) -> str:
    """Return a script for zsh, with the help of each word."""
    lines = ["#compdef shivya", _HEAD.format(shell="zsh")]
    for command in tree.walk():
        lines += ["", f"{_function(command)}() {{"]
        if command.commands:
            lines += ["  local -a commands", "  commands=("]
            lines += [
                f"    {_quote(f'{name}:{_plain(below.description)}')}"
                for below in command.commands
                for name in (below.path[-1], *below.aliases)
            ]
            lines += ["  )"]
        lines += ['  local context state line curcontext="$curcontext"', "  typeset -A opt_args"]
        lines += ["  _arguments -s -S -C \\"]
        lines += [f"    {spec} \\" for argument in command.arguments for spec in _zsh(argument)]
        if command.commands:
            lines += ["    ':: :{_describe command commands}' '*::: :->below' && return 0"]
            lines += ["  [[ $state == below ]] || return 1"]
            lines += ['  words=($line[1] "${words[@]}")', "  (( CURRENT += 1 ))", "  case $line[1] in"]
            for below in command.commands:
                lines.append(f"    {'|'.join((below.path[-1], *below.aliases))}) {_function(below)} ;;")
            lines += ["  esac"]
        else:
            lines += ["    && return 0"]
        lines += ["}"]
    lines += [
        "",
        'if [ "$funcstack[1]" = "_shivya" ]; then _shivya "$@"; else compdef _shivya shivya; fi',
        "",
    ]
    return "\n".join(lines)


def _zsh(argument: Argument) -> Iterator[str]:
    kind = "_files" if argument.is_file else " "
    action = f"({' '.join(argument.choices)})" if argument.choices else kind
    about = _plain(argument.help).replace("[", "(").replace("]", ")")
    value = f"{'::' if argument.optional else ':'}{_plain(argument.metavar.lower())}:{action}"
    if not argument.flags:
        place = "*" if argument.repeated else ""
        yield _quote(f"{place}{value if not place else value.replace('::', ':')}")
    for flag in argument.flags:
        star = "*" if argument.repeated else ""
        yield _quote(f"{star}{flag}[{about}]{value if argument.metavar else ''}")


def fish(tree: Command) -> str:
    """Return a script for fish, with the help of each word."""
    lines = [
        _HEAD.format(shell="fish"),
        "function __shivya_at",
        "  # Whether the commands typed so far are exactly those given.",
        "  set -l known $argv[1]; set -l wanted $argv[2..]; set -l typed",
        "  for word in (commandline -opc)[2..]",
        '    if string match -q -- "* $word *" " $known "; set -a typed $word; end',
        "  end",
        '  test "$typed" = "$wanted"',
        "end",
        "complete -c shivya -f",
    ]
    known = sorted({name for c in tree.walk() if c.path for name in (c.path[-1], *c.aliases)})
    for command in tree.walk():
        for path in _spellings(command):
            where = _quote(f"__shivya_at {_quote(' '.join(known))} {' '.join(path)}".rstrip())
            begin = f"complete -c shivya -n {where}"
            lines += [
                f"{begin} -a {name} -d {_quote(below.description)}"
                for below in command.commands
                for name in (below.path[-1], *below.aliases)
            ]
            lines += [f"{begin}{_fish(argument)}" for argument in command.arguments]
    return "\n".join([*lines, ""])


def _spellings(command: Command) -> list[tuple[str, ...]]:
    return [command.path, *((*command.path[:-1], alias) for alias in command.aliases)]


def _fish(argument: Argument) -> str:
    parts = [f" -l {f[2:]}" if f.startswith("--") else f" -s {f[1:]}" for f in argument.flags]
    if argument.choices:
        parts.append(f" {'-x ' if argument.flags else ''}-a {_quote(' '.join(argument.choices))}")
    elif argument.is_file:
        parts.append(" -r -F" if argument.flags else " -F")
    elif argument.metavar and argument.flags and not argument.optional:
        parts.append(" -x")
    return "".join(parts) + f" -d {_quote(argument.help)}"


def _function(command: Command) -> str:
    return "_".join(("_shivya", *(word.replace("-", "_") for word in command.path)))


def _plain(text: str) -> str:
    """Return text of which zsh reads nothing as structure."""
    return text.replace("\\", "").replace(":", "\\:").replace('"', "")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: Mapping[str, Callable[[Command], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
