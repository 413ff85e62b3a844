"""Every command of every page is typed by a test of this folder, or is in the table of those that are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from altered import ALTERED, altered
from scripts import SCRIPTS
from unrun import BENCHMARK, UNRUN

from shown import BLOCKS, COMMANDS, LANGUAGES, PAGES, ROOT, Shown

RUN = [line for script in SCRIPTS.values() for line in script]
TYPED = {altered(line) for line in RUN}
KNOWN = [line.split() for line in (*RUN, *UNRUN)]


def mentioned(shown: Shown) -> bool:
    """Whether running text only names a command that is known, by some of its words in their order."""

    def within(words: list[str]) -> bool:
        rest = iter(words)
        return all(word in rest for word in shown.text.split())

    return not shown.in_block and any(map(within, KNOWN))


def accounted_for(shown: Shown) -> bool:
    benchmark = re.fullmatch(BENCHMARK, shown.text)
    if benchmark:
        script = ROOT / benchmark[1]
        options = re.findall(r"--\w+", benchmark[2])
        return script.is_file() and all(f'"{option}"' in script.read_text() for option in options)
    return altered(shown.text) in TYPED or shown.text in UNRUN or mentioned(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_run(page: Path) -> None:
    """Or it is in the table of those that are not. A new one goes to `scripts`, with a sign of success."""
    shown = [command for command in COMMANDS if command.page == page.name]
    assert [command for command in shown if not accounted_for(command)] == []


def test_a_new_command_is_noticed() -> None:
    for text in ("shivya links --json", "shivya top --port 9999", "rm -rf /"):
        assert altered(text) not in TYPED and text not in UNRUN
        assert not mentioned(Shown("new.md", 1, text, True)) and not mentioned(
            Shown("new.md", 1, text, False)
        )
    assert mentioned(Shown("new.md", 1, "shivya lease renew", False))
    known, unknown = (f"python benchmarks/bench_whatif.py {option} 4" for option in ("--runs", "--walks"))
    assert accounted_for(Shown("new.md", 1, known, False))
    assert not accounted_for(Shown("new.md", 1, unknown, False))


def test_nothing_is_run_that_no_page_shows() -> None:
    shown = {command.text for command in COMMANDS}
    assert [line for line in (*RUN, *UNRUN) if line not in shown] == []
    assert len(RUN) == len(set(RUN)) and not set(RUN) & set(UNRUN)


def test_nothing_is_altered_that_no_page_shows() -> None:
    lines = {command.text for command in COMMANDS}
    for shown, typed, why in ALTERED:
        assert any(re.search(shown, line) for line in lines), (shown, why)
        lines = {re.sub(shown, typed, line) for line in lines}


def test_every_script_is_played() -> None:
    played = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "docs_run").glob("test_*.py")
    )
    assert [name for name in SCRIPTS if f'"{name}"' not in played] == []


def test_every_block_says_what_it_is() -> None:
    """A command in a block that is not marked `sh` would go unnoticed."""
    assert {block.language for block in BLOCKS} <= LANGUAGES
    first = re.compile(r"^(\$ )?(shivya|make|curl|docker|kubectl|sudo|systemctl) ", re.MULTILINE)
    assert [block for block in BLOCKS if block.language == "text" and first.search(block.text)] == []


def test_output_that_a_page_shows_has_the_shape_of_what_is_written() -> None:
    for page, sign in (
        ("whatif.md", SCRIPTS["WHATIF"]["shivya whatif --fail edge-3"]),
        ("README.md", SCRIPTS["DEMO"]["shivya demo --seconds 20 --kill"]),
    ):
        outputs = [block.text for block in BLOCKS if (block.page, block.language) == (page, "text")]
        assert any(re.search(sign, output, re.MULTILINE) for output in outputs), page
