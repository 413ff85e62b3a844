"""What `shivya ledger` does: it reads the audit ledger of a node, running or not, and checks proofs."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shivya.commands import show as show_document
from shivya.errors import CommandError, ExitCode
from shivya.tables import table
from shivya_daemon.paths import LEDGER_FOLDER
from shivya_daemon.views.words import number, plain

if TYPE_CHECKING:
    from shivya_daemon.ledgers.audit import Report

_SHORT_HASH = 12


def verify(options: Namespace) -> int:
    """Check every byte of a node's ledger; or, without a ledger, a proof of one entry."""
    if options.proof is not None:
        return _verify_proof(options)
    from shivya_daemon.ledgers.audit import verify

    with _refusals():
        report = verify(_folder(options))
    document = _report(report)
    if report.ok:
        _expect(options.node, document["node"])
    elif not options.json:
        raise CommandError(ExitCode.FAILED, f"damaged: {report.damage}")
    show_document(document, None if options.json else _report_text)
    return ExitCode.OK if report.ok else ExitCode.FAILED


def show(options: Namespace) -> int:
    """Show the latest entries of a node's ledger, checked while they are read."""
    from shivya_daemon.ledgers.audit.errors import LedgerCorrupt
    from shivya_daemon.ledgers.audit.files import Files
    from shivya_daemon.ledgers.audit.reading import Walk, snapshot

    last: deque[dict[str, Any]] = deque(maxlen=options.last)
    damage: LedgerCorrupt | None = None
    with _refusals(), snapshot(Files.at(_folder(options))) as found:
        try:
            for entry in Walk.through(found).all(found):
                if options.action is None or entry.data.get("action") == options.action:
                    last.append({**entry.fields(), "hash": entry.hash})
        except LedgerCorrupt as error:
            damage = error
    show_document(list(last), None if options.json else _entries_text)
    if damage is not None:
        raise CommandError(ExitCode.FAILED, f"damaged, and not read any further: {damage}")
    return ExitCode.OK


def prove(options: Namespace) -> int:
    """Prove an entry to somebody who has no ledger; he checks it with 'shivya ledger verify --proof FILE'."""
    from shivya_daemon.ledgers.audit.proof import prove

    with _refusals():
        proof = prove(_folder(options), options.index)
    text = json.dumps(proof.to_json(), indent=2) + "\n"
    if options.output is None:
        sys.stdout.write(text)
        return ExitCode.OK
    try:
        options.output.write_text(text)
    except OSError as error:
        raise CommandError(ExitCode.FAILED, f"cannot write {options.output}: {error.strerror}") from None
    return ExitCode.OK


def _verify_proof(options: Namespace) -> int:
    from shivya_daemon.ledgers.audit.errors import ProofInvalid
    from shivya_daemon.ledgers.audit.proof import read_proof

    try:
        proof = read_proof(options.proof)
        entry = proof.check()
    except OSError as error:
        raise CommandError(ExitCode.FAILED, f"cannot read {options.proof}: {error.strerror}") from None
    except ProofInvalid as error:
        if not options.json:
            raise CommandError(ExitCode.FAILED, f"{options.proof}: {error}") from None
        show_document({"ok": False, "reason": str(error)}, None)
        return ExitCode.FAILED
    _expect(options.node, proof.node)
    document = {
        "ok": True,
        "entry": {**entry.fields(), "hash": entry.hash},
        "size": proof.checkpoint.size,
        "root": proof.checkpoint.root.hex(),
        "node": proof.node,
    }
    show_document(document, None if options.json else _proof_text)
    return ExitCode.OK


@contextmanager
def _refusals() -> Iterator[None]:
    from shivya_daemon.ledgers.audit.errors import LedgerCorrupt, LedgerError

    try:
        yield
    except LedgerCorrupt as error:
        raise CommandError(ExitCode.FAILED, f"damaged: {error}") from None
    except LedgerError as error:
        raise CommandError(ExitCode.FAILED, str(error)) from None


def _folder(options: Namespace) -> Path:
    """The folder that was named, else that of the node whose port was."""
    if options.dir is not None:
        named: Path = options.dir
        return named
    from shivya import config
    from shivya_daemon.settings import SettingsError, state_directory

    try:
        return state_directory(config.load({"port": options.port})) / LEDGER_FOLDER
    except SettingsError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _expect(wanted: str | None, signer: str | None) -> None:
    if wanted is not None and wanted != signer:
        who = f"node {signer}" if signer else "nobody"
        raise CommandError(ExitCode.FAILED, f"signed by {who}, not by node {wanted}")


def _report(report: Report) -> dict[str, Any]:
    damage, head, tip = report.damage, report.head, report.tip
    if damage is not None:
        return {"ok": False, "first_bad": damage.index, "place": damage.place, "reason": damage.reason}
    return {
        "ok": True,
        "first": report.first,
        "length": tip.size,
        "genesis_hash": tip.genesis_hash,
        "latest_hash": tip.latest_hash,
        "root": tip.tree.root().hex(),
        "node": head.node or None if head is not None else None,
        "signed_length": head.tip.size if head is not None else 0,
        "torn_bytes": report.torn,
    }


def _report_text(document: dict[str, Any]) -> str:
    node, kept = document["node"], f"{document['first']} to {document['length'] - 1}"
    facts = [
        ("entries", f"{kept}, all as they were written"),
        ("root", document["root"]),
        ("signed", f"by node {node}, up to {document['signed_length'] - 1}" if node else "by nobody"),
    ]
    if document["torn_bytes"]:
        facts.append(("torn", f"{document['torn_bytes']} bytes of an entry that is not complete (yet)"))
    return "".join(f"{key:<12}{value}\n" for key, value in facts)


def _proof_text(document: dict[str, Any]) -> str:
    entry = document["entry"]
    facts = [
        ("entry", f"{entry['index']} of a ledger of {document['size']}"),
        ("time", _time(entry["timestamp"])),
        ("data", _brief(entry["data"], 1000)),
        ("root", document["root"]),
        ("signed", f"by node {document['node']}"),
    ]
    return "".join(f"{key:<12}{value}\n" for key, value in facts)


def _entries_text(entries: Sequence[dict[str, Any]]) -> str:
    if not entries:
        return "no such entries\n"
    rows = [
        (
            str(entry["index"]),
            _time(entry["timestamp"]),
            entry["hash"][:_SHORT_HASH],
            plain(entry["data"].get("type", "-"), 16),
            _brief({key: value for key, value in entry["data"].items() if key != "type"}, 100),
        )
        for entry in entries
    ]
    return table(("INDEX", "TIME (UTC)", "HASH", "TYPE", "DATA"), rows, left=5)


def _brief(data: dict[str, Any], limit: int) -> str:
    return plain(json.dumps(data, ensure_ascii=False, separators=(", ", ": ")), limit)


def _time(timestamp: float) -> str:
    try:
        return datetime.fromtimestamp(timestamp, UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
    except (OverflowError, ValueError, OSError):  # no date of our calendar
        return number(timestamp)
