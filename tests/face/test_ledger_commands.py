"""`shivya ledger`: what it prints, and the code that it exits with."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shivya import ledger_commands
from shivya.errors import CommandError, ExitCode

from shivya_daemon.core.identity import Identity
from shivya_daemon.ledgers.audit import Ledger

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")

DEFAULTS = {"dir": None, "port": None, "json": False, "node": None, "proof": None}
ANNA = Identity.from_private_bytes(bytes(range(32)))
NODE = ANNA.node_id.hex()
Command = Callable[[Namespace], int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the daemon of the usual port keeps it."""
    folder = tmp_path / "state" / "shivya" / "8085" / "ledger"
    with Ledger.open(folder / "ledger.jsonl", ANNA, wall=lambda: 1.7e9) as ledger:
        for number in range(5):
            ledger.record_action("ALERT" if number % 2 else "NOOP", {"number": number})
        ledger.add_entry({"type": "note", "text": "two\nlines \x1b[31m é"})
    return folder


def run(command: Command, **options: Any) -> int:
    return int(command(Namespace(**{**DEFAULTS, **options})))


def refused(command: Command, **options: Any) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(command, **options)
    return caught.value


def damage(folder: Path) -> None:
    path = folder / "ledger.jsonl"
    path.write_text(path.read_text().replace('"number":3', '"number":4'))


@pytest.mark.parametrize("where", ["usual", "folder", "file"])
def test_a_whole_ledger(folder, capsys, where):
    options = {"usual": None, "folder": folder, "file": folder / "ledger.jsonl"}
    assert run(ledger_commands.verify, dir=options[where]) == ExitCode.OK
    with Ledger.open(folder, ANNA) as ledger:
        root = ledger.compute_merkle_root()
    assert capsys.readouterr().out.splitlines() == [
        "entries     0 to 6, all as they were written",
        f"root        {root}",
        f"signed      by node {NODE}, up to 6",
    ]


def test_verification_in_json(folder, capsys):
    assert run(ledger_commands.verify, dir=folder, json=True, node=NODE) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert document == {
        "ok": True,
        "first": 0,
        "length": 7,
        "genesis_hash": lines[0]["hash"],
        "latest_hash": lines[-1]["hash"],
        "root": json.loads((folder / "ledger.jsonl.head").read_text())["root"],
        "node": NODE,
        "signed_length": 7,
        "torn_bytes": 0,
    }


def test_damage_is_a_failure_that_names_the_entry(folder, capsys):
    damage(folder)
    error = refused(ledger_commands.verify, dir=folder)
    assert error.code == ExitCode.FAILED == 1
    assert str(error) == "damaged: ledger.jsonl: entry 4 does not have the hash of its content"
    assert capsys.readouterr().out == ""
    assert run(ledger_commands.verify, dir=folder, json=True) == ExitCode.FAILED
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "first_bad": 4,
        "place": "ledger.jsonl",
        "reason": "does not have the hash of its content",
    }


def test_a_torn_end_is_said_but_is_no_failure(folder, capsys):
    with (folder / "ledger.jsonl").open("a") as file:
        file.write('{"data":')
    assert run(ledger_commands.verify, dir=folder) == ExitCode.OK
    assert "8 bytes of an entry that is not complete" in capsys.readouterr().out


def test_another_signer_than_expected_is_a_failure(folder, tmp_path):
    error = refused(ledger_commands.verify, dir=folder, node="ab" * 20)
    assert (error.code, str(error)) == (1, f"signed by node {NODE}, not by node {'ab' * 20}")
    Ledger.open(tmp_path / "unsigned").close()
    assert str(refused(ledger_commands.verify, dir=tmp_path / "unsigned", node=NODE)).startswith(
        "signed by nobody"
    )


@pytest.mark.parametrize("name", ["verify", "show", "prove"])
def test_no_ledger_is_one_line(tmp_path, name):
    command = getattr(ledger_commands, name)
    error = refused(command, dir=tmp_path / "none", index=0, output=None, last=20, action=None)
    assert error.code == ExitCode.FAILED
    assert str(error).startswith(f"no ledger at {tmp_path}/none; name the folder")


def test_wrong_settings_are_a_usage_error():
    assert refused(ledger_commands.verify, port="x").code == ExitCode.USAGE


def show(capsys: pytest.CaptureFixture[str], **options: Any) -> list[dict[str, Any]]:
    assert run(ledger_commands.show, **{"last": 20, "action": None, "json": True, **options}) == 0
    entries: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return entries


def test_show_selects(folder, capsys):
    assert [entry["index"] for entry in show(capsys, dir=folder)] == list(range(7))
    assert [entry["index"] for entry in show(capsys, dir=folder, last=2)] == [5, 6]
    alerts = show(capsys, dir=folder, action="ALERT", last=1)
    assert [(entry["index"], entry["data"]["details"]) for entry in alerts] == [(4, {"number": 3})]
    assert set(alerts[0]) == {"data", "hash", "index", "previous_hash", "timestamp"}
    assert show(capsys, dir=folder, action="QUARANTINE") == []


def test_show_as_a_table_is_safe_to_print(folder, capsys):
    assert run(ledger_commands.show, dir=folder, last=3, action=None) == ExitCode.OK
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["INDEX", "TIME", "(UTC)", "HASH", "TYPE", "DATA"]
    assert lines[1].startswith("4      2023-11-14 22:13:20.000  ")
    assert '"action": "ALERT", "details": {"number": 3}' in lines[1]
    assert "é" in lines[3]
    assert run(ledger_commands.show, dir=folder, last=3, action="NONE") == ExitCode.OK
    assert capsys.readouterr().out == "no such entries\n"


@pytest.mark.parametrize(("timestamp", "shown"), [(1e300, "1e+300"), (-1e15, "-1e+15"), (0.0, "1970-01-01")])
def test_any_time_can_be_shown(tmp_path, capsys, timestamp, shown):
    with Ledger.open(tmp_path / "any", ANNA) as ledger:
        ledger.add_entry({}, timestamp)
    assert run(ledger_commands.show, dir=tmp_path / "any", last=1, action=None) == ExitCode.OK
    assert shown in capsys.readouterr().out


def test_show_stops_at_damage(folder, capsys):
    damage(folder)
    error = refused(ledger_commands.show, dir=folder, last=20, action=None, json=True)
    assert "entry 4" in str(error)
    assert [entry["index"] for entry in json.loads(capsys.readouterr().out)] == [0, 1, 2, 3]


def test_a_proof_is_checked_by_somebody_without_the_ledger(folder, tmp_path, capsys):
    path = tmp_path / "proof.json"
    assert run(ledger_commands.prove, dir=folder, index=4, output=path) == ExitCode.OK
    assert capsys.readouterr().out == ""
    for file in folder.iterdir():
        file.unlink()
    assert run(ledger_commands.verify, proof=path, node=NODE) == ExitCode.OK
    out = capsys.readouterr().out
    assert "entry       4 of a ledger of 7" in out
    assert '"details": {"number": 3}' in out
    assert f"signed      by node {NODE}" in out
    assert run(ledger_commands.verify, proof=path, json=True) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["entry"]["index"], document["node"]) == (True, 4, NODE)

    assert refused(ledger_commands.verify, proof=path, node="ab" * 20).code == ExitCode.FAILED
    path.write_text(path.read_text().replace('\\"number\\":3', '\\"number\\":4'))
    error = refused(ledger_commands.verify, proof=path)
    assert (error.code, str(error)) == (1, f"{path}: the path does not lead from the entry to the root")
    assert run(ledger_commands.verify, proof=path, json=True) == ExitCode.FAILED
    assert json.loads(capsys.readouterr().out)["ok"] is False
    gone = tmp_path / "none.json"
    assert (
        str(refused(ledger_commands.verify, proof=gone)) == f"cannot read {gone}: No such file or directory"
    )


def test_a_proof_goes_to_standard_output(folder, capsys):
    assert run(ledger_commands.prove, dir=folder, index=0, output=None) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["format"] == "shivya ledger proof 1"
    error = refused(ledger_commands.prove, dir=folder, index=0, output=folder)
    assert str(error) == f"cannot write {folder}: Is a directory"
    assert "are 0 to 6, not 7" in str(refused(ledger_commands.prove, dir=folder, index=7, output=None))


def test_verification_loads_no_more_than_it_needs(folder):
    code = (
        "import sys\nfrom argparse import Namespace\nfrom pathlib import Path\n"
        "from shivya import ledger_commands\n"
        "heavy = ('jax', 'numpy', 'anyio', 'rich', 'psutil')\n"
        "assert 'cryptography' not in sys.modules\n"
        "options = Namespace(dir=Path(sys.argv[1]), proof=None, node=None, json=True)\n"
        "assert ledger_commands.verify(options) == 0\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, stdout=subprocess.DEVNULL)
