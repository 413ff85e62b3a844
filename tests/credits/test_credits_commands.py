"""`shivya credits` and `shivya quorum`, from the words that are typed to what is printed."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from ledger_shell import Shell, leave_settings
from shivya.credits_text import amount, credits, operations
from shivya.errors import ExitCode


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_settings(tmp_path, monkeypatch)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys, ["--ledger", "credits.db"])


def account_of(shell: Shell, node: str) -> str:
    """A node's key; its identity is made where a ledger is begun, and one that is not kept will do."""
    shell_of_its_own = Shell(shell.capsys, ["--ledger", f"{node}.db"])
    shell_of_its_own.run(node, "credits", "init")
    return str(shell_of_its_own.json(node, "credits", "balance")["accounts"][0]["account"])


def test_a_ledger_from_its_first_credit_to_its_audit(shell: Shell) -> None:
    ben = account_of(shell, "ben")
    assert "begins with 1000 credits" in shell.run("anna", "credits", "init", "--supply", "1000")
    assert "refused, no_account" in shell.fails(ExitCode.REFUSED, "anna", "credits", "transfer", ben, "1")
    shell.run("anna", "credits", "open", ben)
    said = shell.run("anna", "credits", "transfer", ben[:8], "12.5", "--memo", "rent\x1b[2J")
    assert re.fullmatch(r"done: [0-9a-f]{32}, fee 0\.0125\n", said)
    refused = shell.fails(ExitCode.REFUSED, "ben", "credits", "transfer", ben, "1")
    assert refused == "refused, self: payer and payee are the same account"
    assert shell.run("ben", "credits", "balance").splitlines()[1].split()[:3] == [ben, "12.5", "12.5"]
    found = shell.json("anna", "credits", "balance", "--all")
    assert sum(row["balance"] for row in found["accounts"]) + found["pool"] == found["minted"] == 10**9
    rows = shell.json("anna", "credits", "history", ben[:12])
    assert [row["action"]["kind"] for row in rows] == ["open", "transfer"]
    assert [row["sequence"] for row in rows] == [1, 2]
    assert len(shell.json("anna", "credits", "history", "--last", "1")) == 1
    text = shell.run("anna", "credits", "history")
    assert "rent?[2J" in text and "\x1b" not in text and ben[:8] in text
    assert shell.json("anna", "credits", "audit")["operations"] == 2
    assert shell.run("anna", "credits", "audit").startswith("sound: 2 entries, 2 operations, 1000 credits")


def test_damage_fails_the_audit_and_says_where(shell: Shell) -> None:
    ben = account_of(shell, "ben")
    shell.run("anna", "credits", "init")
    shell.run("anna", "credits", "open", ben)
    with sqlite3.connect("credits.db") as file:
        file.execute("UPDATE log SET entry = replace(entry, 'open', 'opem')")
    file.close()
    assert "entry 1 of the log is damaged" in shell.fails(ExitCode.FAILED, "anna", "credits", "audit")


def test_witnesses_decide(shell: Shell) -> None:
    ben = account_of(shell, "ben")
    shell.run(
        "anna", "credits", "init", "--grant", "me=1000", "--grant", f"{ben}=1000", "--witness", "me",
        "--witness", ben, "--threshold", "1", "--stake", "10",
    )  # fmt: skip
    assert "unstaked" in shell.fails(ExitCode.REFUSED, "anna", "quorum", "propose", "?")
    for node in ("anna", "ben"):
        shell.run(node, "credits", "stake", "10")
    shell.run("anna", "credits", "transfer", ben, "500")
    assert shell.run("anna", "quorum", "show") == "no proposals\n"
    asked = shell.json(
        "anna", "quorum", "propose", "for the rack", "--grant", f"{ben[:8]}=0.25", "--days", "1"
    )
    shell.run("ben", "quorum", "vote", asked["id"][:8], "yes")
    assert "1 for, 0 against, of 2" in shell.run("anna", "quorum", "show")
    shell.run("anna", "quorum", "vote", asked["id"], "yes")
    (row,) = shell.json("ben", "quorum", "show", asked["id"][:10])
    assert row["decision"] == "approved" and len(row["approvals"]) == 2 and row["grant"] == 250_000
    assert shell.json("ben", "credits", "balance")["accounts"][0]["balance"] == 1_500_250_000
    assert "decided" in shell.fails(ExitCode.REFUSED, "anna", "quorum", "vote", asked["id"], "no")
    assert "names no proposal" in shell.fails(ExitCode.USAGE, "anna", "quorum", "vote", "00000000", "no")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("credits", "balance", "xyz"), ExitCode.USAGE, "is no account"),
        (("credits", "balance", "00000000"), ExitCode.USAGE, "names no account"),
        (("credits", "balance", "0" * 64), ExitCode.FAILED, "shivya credits open"),
        (("credits", "init", "--grant", "me"), ExitCode.USAGE, "write ACCOUNT=AMOUNT"),
        (("credits", "init", "--grant", "me=x"), ExitCode.USAGE, "write ACCOUNT=AMOUNT"),
        (("credits", "init", "--threshold", "3/2"), ExitCode.USAGE, "no genesis: the threshold"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    shell: Shell, words: tuple[str, ...], code: ExitCode, says: str
) -> None:
    shell.run("anna", "credits", "init")
    assert says in shell.fails(code, "anna", *words)


def test_without_a_ledger_or_an_identity(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="shivya credits init"):
        shell.run("anna", "credits", "history")
    shell.run("anna", "credits", "init")
    assert "no identity" in shell.fails(ExitCode.FAILED, "nobody", "credits", "balance")
    with pytest.raises(FileExistsError):
        shell.run("anna", "credits", "init")


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "0.0000001", "1e30"])
def test_amounts_are_exact(text: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        amount(text)
    for good, micro in (("0", 0), ("12.5", 12_500_000), ("0.000001", 1), ("1e3", 10**9)):
        assert amount(good) == micro
        assert amount(credits(micro)) == micro
    assert operations([]) == "no operations\n"


@pytest.mark.parametrize(
    "words",
    [
        ("transfer", "me", "-1"),
        ("transfer", "me", "0.0000001"),
        ("init", "--threshold", "1/0"),
        ("history", "--last", "0"),
    ],
)
def test_bad_words_are_usage_errors(shell: Shell, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        shell.run("anna", "credits", *words)
    assert caught.value.code == ExitCode.USAGE
