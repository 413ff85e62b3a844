"""Completion scripts and the manual page: made from the parser, whole, and tried in a real shell."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from shivya.cli import main, parser
from shivya.command_tree import Command, read
from shivya.completion import SHELLS
from shivya.manual import page

from on_terminal import OnTerminal

ROOT = Path(__file__).resolve().parent.parent.parent
TREE = read(parser())


def words(command: Command) -> set[str]:
    flags = {flag for argument in command.arguments for flag in argument.flags}
    return flags | {name for below in command.commands for name in (below.path[-1], *below.aliases)}


def test_the_tree_has_every_command() -> None:
    paths = {" ".join(command.path) for command in TREE.walk()}
    assert {"", "daemon", "top", "signal send", "ledger verify", "guard run", "completion"} <= paths
    daemon = next(command for command in TREE.walk() if command.path == ("daemon",))
    assert daemon.aliases == ("start",)
    assert {"--daemon", "--visualize", "--tui", "--no-tui"} <= words(daemon)
    assert next(a for a in daemon.arguments if "--visualize" in a.flags).optional
    assert next(a for a in daemon.arguments if "--config" in a.flags).is_file
    assert not next(a for a in daemon.arguments if "--open-wire" in a.flags).metavar


@pytest.mark.parametrize("shell", SHELLS)
def test_every_word_is_in_every_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in TREE.walk():
        for word in words(command):
            spelled = f"-l {word[2:]}" if shell == "fish" and word.startswith("--") else word.lstrip("-")
            assert spelled in script, f"{command.path} {word}"


@pytest.mark.parametrize(
    ("shell", "check"),
    [("bash", ("bash", "-n")), ("zsh", ("zsh", "-n")), ("fish", ("fish", "--no-execute"))],
)
def test_shells_can_read_their_scripts(shell: str, check: tuple[str, ...], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here: apt-get install {shell}")
    (tmp_path / "script").write_text(SHELLS[shell](TREE))
    subprocess.run([*check, str(tmp_path / "script")], check=True, timeout=60)


BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
compopt() { echo "files"; }
_shivya
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("st", {"start", "status"}),
        ("daemon --me", {"--mesh-key-file", "--metrics", "--metrics-bind"}),
        ("start --vis", {"--visualize"}),
        ("--", {"--help", "--version"}),
        ("completion ", {"-h", "--help", "bash", "zsh", "fish"}),
        ("signal send fl", {"flood"}),
        ("signal --port 8085 sen", {"send"}),
        ("ledger ver", {"verify"}),
        ("top --once --a", {"--ascii"}),
        ("daemon --log-format ", {"text", "json"}),
        ("daemon --config ", {"files", ""}),
        ("replay ./rec", {"files", ""}),
        ("report --queue ", {""}),
        ("nonsense", {""}),
    ],
)
def test_bash_completes(line: str, expected: set[str], tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash here: apt-get install bash")
    (tmp_path / "script").write_text(SHELLS["bash"](TREE))
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", str(tmp_path / "script"), "shivya", *line.split(" ")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(done.stdout.split("\n")[:-1]) == expected
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("st", {"start", "status"}),
        ("daemon --me", {"--mesh-key-file", "--metrics", "--metrics-bind"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("signal send fl", {"flood"}),
        ("ledger ver", {"verify"}),
        ("top --once --a", {"--ascii"}),
        ("daemon --log-format ", {"text", "json"}),
        ("report --queue ", set()),
    ],
)
def test_fish_completes(line: str, expected: set[str], tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here: apt-get install fish")
    (tmp_path / "script").write_text(SHELLS["fish"](TREE))
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {tmp_path}/script; complete -C 'shivya {line}'"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert {row.partition("\t")[0] for row in done.stdout.splitlines()} == expected
    assert done.stderr == ""


@pytest.fixture
def zsh(tmp_path: Path) -> Iterator[OnTerminal]:
    """A zsh that has just asked for a line, and knows our completions."""
    if shutil.which("zsh") is None:
        pytest.skip("no zsh here: apt-get install zsh")
    (tmp_path / "_shivya").write_text(SHELLS["zsh"](TREE))
    shell = OnTerminal(shutil.which("zsh") or "", "-f", columns=200)
    shell.type("shivya() { print -r -- typed: $@ }\n")
    shell.type(f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -D -u; PS1='rea''dy> '\n")
    shell.until("ready> ")
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("sim", "typed: simulate"),
        ("daemon --me", "address of the metrics (default 127.0.0.1)"),
        ("completion ", "fish"),
        ("signal send fl", "typed: signal send flood"),
        ("top --once --a", "typed: top --once --ascii"),
        ("daemon --log-format ", "json"),
        ("al", "typed: allocate"),
    ],
)
def test_zsh_completes(line: str, shown: str, zsh: OnTerminal) -> None:
    zsh.type(f"shivya {line}\t\n")
    zsh.until(shown)


def test_the_manual_is_the_one_committed(capsys: pytest.CaptureFixture[str]) -> None:
    """After a change of the command line: shivya man > deploy/man/shivya.1"""
    assert main(["man"]) == 0
    assert capsys.readouterr().out == (ROOT / "deploy" / "man" / "shivya.1").read_text()


def test_the_manual_names_every_command_and_flag() -> None:
    text = page(TREE).replace("\\-", "-")
    for command in TREE.walk():
        if command.path:
            assert f".SS shivya {' '.join(command.path)}" in text
        for word in words(command):
            assert word in text


def test_roff_has_nothing_to_say_against_the_manual() -> None:
    if shutil.which("groff") is None:
        pytest.skip("no groff here: apt-get install groff")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-wall", str(ROOT / "deploy" / "man" / "shivya.1")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert "Run a node until it is told to stop." in done.stdout
