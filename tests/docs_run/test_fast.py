"""Commands of the pages that need no law, typed as they are shown: see `scripts` and `altered`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripts import SCRIPTS
from terminal import Terminal

from on_terminal import OnTerminal
from shown import BLOCKS, ROOT

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def no_law(terminal: Terminal) -> None:
    """Shortest expected delay is enough here, and starts at once."""
    terminal.type("export SHIVYA_NO_LAW=1")


def test_three_nodes_in_terminals_of_their_own(terminal: Terminal) -> None:
    terminal.play(SCRIPTS["QUICKSTART"])
    terminal.until_linked("8085", "8086", "8087", to=2)


def test_two_nodes_in_the_background(terminal: Terminal) -> None:
    terminal.play(SCRIPTS["README"])
    terminal.until_linked("8085", "8086", to=1)
    terminal.play(SCRIPTS["LOOKING"])


def test_the_demo_that_is_shown(terminal: Terminal) -> None:
    terminal.play(SCRIPTS["PICTURE"])
    terminal.until_linked("8085", "8086", "8087", to=2)
    terminal.play(SCRIPTS["HOT"])
    # Whoever types by hand is slower than the disk; what is killed a moment after it linked may not be.
    terminal.until(lambda: "_JOINED" in terminal.type("shivya ledger show --port 8087"))
    terminal.play(SCRIPTS["DEATH"])


def test_a_mesh_of_several_machines(terminal: Terminal) -> None:
    (terminal.home / "NODE" / ".config" / "shivya").mkdir(parents=True)
    terminal.play(SCRIPTS["MACHINES"])
    assert (terminal.home / ".config" / "shivya" / "mesh.key").stat().st_mode & 0o777 == 0o600
    said = terminal.type("HOME=$HOME/NODE shivya init", "^found +")
    assert str(terminal.home / "NODE" / ".config" / "shivya" / "mesh.key") in said
    terminal.type("shivya daemon --port 8086", "node ")
    terminal.play(SCRIPTS["FAR"])
    terminal.until_linked("8085", to=1)


def test_daemons_of_every_kind(terminal: Terminal) -> None:
    (terminal.home / "params.toml").write_text("[law]\ngap = 0.04\n")
    terminal.type("shivya daemon --open-wire --port 8086", "node ")
    for line, sign in SCRIPTS["DAEMONS"].items():
        terminal.play({line: sign})
        terminal.stop()
    terminal.play(SCRIPTS["METRICS"])


def test_a_daemon_on_a_screen(terminal: Terminal) -> None:
    (line,) = SCRIPTS["ON_A_SCREEN"]
    command = terminal.altered(line).removesuffix(" &")
    terminal.variables["SHIVYA_NO_LAW"] = "1"
    daemon = OnTerminal("/bin/sh", "-c", command, env=terminal.variables)
    try:
        daemon.until(SCRIPTS["ON_A_SCREEN"][line])
        daemon.type("q")
        daemon.until("again stops this node")
        daemon.type("q")
        assert daemon.ends() == 0
    finally:
        daemon.close()


def test_a_daemon_in_the_background(terminal: Terminal) -> None:
    terminal.play(SCRIPTS["BACKGROUND"])
    terminal.play(SCRIPTS["SOCKET"])
    terminal.ask("8085", "REPORT queue=0")
    terminal.play(SCRIPTS["DRAIN"])
    assert not list(terminal.home.rglob("daemon.pid"))


def test_borrowing(terminal: Terminal) -> None:
    terminal.type("export SHIVYA_QUOTA_MAX_LATENCY=30")  # a busy machine answers late
    terminal.play(SCRIPTS["BORROWING"])
    # until it has heard of large
    terminal.until(lambda: terminal.ask("8085", "STATUS")["resources"][0]["fleet_free"] >= 0.99)
    terminal.play(SCRIPTS["LEASES"])


def test_credits(terminal: Terminal) -> None:
    (terminal.home / "backup").mkdir()
    terminal.play(SCRIPTS["CREDITS"])
    terminal.type("cd .local/state/shivya/8085")
    terminal.play(SCRIPTS["CREDITS_COPIED"])
    if terminal.lacking:  # nobody writes, so any copy will do
        terminal.type("cp credits.db* $HOME/backup")
    terminal.play(SCRIPTS["CREDITS_RESTORED"])
    terminal.type("rm credits.db*")
    terminal.play(SCRIPTS["CREDITS_ANEW"])


def test_shells_and_files(terminal: Terminal) -> None:
    lantern = terminal.home / "lantern"
    lantern.mkdir()
    (manifest,) = (block.text for block in BLOCKS if block.page == "spirits.md" and block.language == "json")
    (lantern / "manifest.json").write_text(manifest)
    (lantern / json.loads(manifest)["entry"]).write_text("<p>Light.</p>\n")
    for folder in (".zfunc", ".config/fish/completions", "deploy/man"):
        (terminal.home / folder).mkdir(parents=True)
    terminal.play(SCRIPTS["SHELLS"])
    assert "shivya" in terminal.type("complete -p")
    assert (terminal.home / ".zfunc" / "_shivya").read_text().startswith("#compdef shivya")
    assert "complete -c shivya" in (terminal.home / ".config/fish/completions/shivya.fish").read_text()
    page = Path("deploy") / "man" / "shivya.1"
    assert (terminal.home / page).read_text() == (ROOT / page).read_text()
