"""What the pages show: their fenced blocks, and the commands in blocks and in running text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")])

LANGUAGES = {"sh", "text", "python", "toml", "json", "go"}
"""What a block is marked with. Every line of one marked `sh` is a command."""
_PROGRAMS = (
    *("shivya", "make", "python", "python3", "pip", "pytest", "kill", "curl", "ssh", "scp", "cp", "sudo"),
    *("eval", r"\.(?= \S*/)", "systemctl", "systemd-analyze", "docker", "podman", "kubectl", "etcdctl"),
    *("man", "nc", "socat", "sqlite3", "jq", "apt", "apt-get", "git", "uv"),
)
"""With one of them and a word after it, what stands in back quotes in running text is a command."""


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str


class Shown(NamedTuple):
    """A command where a page shows it."""

    page: str
    line: int
    text: str
    in_block: bool


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page.name, text.count("\n", 0, found.start()) + 1, found[1], found[2])


BLOCKS = [block for page in PAGES for block in blocks(page)]


def command(line: str) -> str:
    """A line as it is typed: without the comment behind it, and without needless blanks."""
    return " ".join(re.sub(r"(^|\s)#\s.*", "", line).split())


def _in_blocks() -> Iterator[Shown]:
    for block in BLOCKS:
        if block.language == "sh":
            for number, line in enumerate(block.text.splitlines(), 1):
                if typed := command(line):
                    yield Shown(block.page, block.line + number, typed, True)


def _in_text() -> Iterator[Shown]:
    begins = re.compile(rf"([A-Z_]+=\S+ )*(\S*/)?({'|'.join(_PROGRAMS)}) \S")
    for page in PAGES:
        text = re.sub(
            r"^```.*?^```$",
            lambda block: "\n" * block[0].count("\n"),
            page.read_text(encoding="utf-8"),
            flags=re.MULTILINE | re.DOTALL,
        )
        for found in re.finditer(r"`([^`]+)`", text):
            typed = command(found[1].replace(r"\|", "|"))
            if begins.match(typed):
                yield Shown(page.name, text.count("\n", 0, found.start()) + 1, typed, False)


COMMANDS = [*_in_blocks(), *_in_text()]
