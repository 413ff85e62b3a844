"""How accounts, amounts and operations are written on the command line, and how they are shown.

JSON has amounts in 10^-6 credit, times in milliseconds since 1970, reputations between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from shivya.errors import CommandError, ExitCode
from shivya.tables import table
from shivya_daemon.views.words import plain

if TYPE_CHECKING:
    from shivya_daemon.ledgers.credits import Operation, State
    from shivya_daemon.ledgers.credits.witness import Entry

_MICRO = 1_000_000
_KEY_DIGITS = 64
_SHORT = 8


def amount(text: str) -> int:
    """Return credits, at most six decimals, as 10^-6 credit; raises `ValueError`."""
    try:
        exact = Decimal(text) * _MICRO
    except InvalidOperation:
        raise ValueError(f"no amount: {text}") from None
    if not exact.is_finite() or exact != int(exact) or not 0 <= exact < 2**63:
        raise ValueError(f"no amount: {text}")
    return int(exact)


def credits(amount: int) -> str:
    """Return 10^-6 credit as credits."""
    whole, part = divmod(amount, _MICRO)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")


def key(text: str) -> bytes:
    """Return an account from all its digits."""
    try:
        if len(text) == _KEY_DIGITS:
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise CommandError(
        ExitCode.USAGE, f"{plain(text, 80)!r} is no account; write its {_KEY_DIGITS} hexadecimal digits"
    )


def account(text: str, known: Iterable[bytes], me: bytes) -> bytes:
    """Return the account that `text` names: `me`, all its digits, or its first ones if no other has them."""
    if text == "me":
        return me
    if _SHORT <= len(text) < _KEY_DIGITS:
        return _only(text, known, "account", "shivya credits balance --all")
    return key(text)


def grant(text: str, known: Iterable[bytes], me: bytes) -> tuple[bytes, int]:
    """Return account and amount of ``ACCOUNT=AMOUNT``."""
    name, _, number = text.partition("=")
    try:
        return account(name, known, me), amount(number)
    except ValueError:
        raise CommandError(ExitCode.USAGE, f"write ACCOUNT=AMOUNT, not {plain(text, 100)!r}") from None


def proposal(text: str, state: State) -> bytes:
    """Return the id of the proposal that `text` names by its first digits or all of them."""
    return _only(text, state.proposals, "proposal", "shivya quorum show")


def _only(text: str, known: Iterable[bytes], what: str, remedy: str) -> bytes:
    found = [one for one in known if one.hex().startswith(text.lower())] if len(text) >= _SHORT else []
    if len(found) != 1:
        raise CommandError(
            ExitCode.USAGE,
            f"{plain(text, 80)!r} names {len(found) or 'no'} {what}{'s' * (len(found) > 1)}; "
            f"write {_SHORT} or more of its first digits, see '{remedy}'",
        )
    return found[0]


def threshold(text: str) -> Fraction:
    """Return a share of the roster such as ``2/3``; raises `ValueError`."""
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ValueError(text) from None


def account_row(state: State, key: bytes) -> dict[str, Any]:
    """Return what there is to know of one account."""
    found, reputation = state.accounts.get(key), state.reputation(key)
    if found is None:
        raise CommandError(
            ExitCode.FAILED, f"no account {key.hex()}; somebody who has one opens it: 'shivya credits open'"
        )
    return {
        "account": key.hex(),
        "balance": found.balance,
        "available": found.available,
        "reserved": found.debits_pending,
        "staked": found.staked,
        "promised": found.credits_pending,
        "earned_total": found.credits_posted,
        "spent_total": found.debits_posted,
        "reputation": reputation.aggregate / 10**9,
        "witness": key in state.roster,
    }


def operation_row(operation: Operation, entry: Entry, sequence: int) -> dict[str, Any]:
    """Return an operation as it stands in the history."""
    from shivya_daemon.ledgers.credits.operations import pack

    return {"sequence": sequence, "position": entry.position, "time": entry.now} | pack(operation)


def parties(operation: Operation) -> tuple[bytes, ...]:
    """Return the accounts that an operation names."""
    action = operation.action
    named = (getattr(action, field, None) for field in ("receiver", "account", "settler"))
    return (operation.sender, *filter(None, named))


def proposal_row(state: State, key: bytes) -> dict[str, Any]:
    """Return a proposal and the votes on it."""
    found = state.proposals.get(key)
    assert found is not None
    return {
        "id": key.hex(),
        "decision": found.decision.value,
        "text": found.text,
        "grant": found.amount,
        "receiver": found.receiver.hex(),
        "proposer": found.proposer.hex(),
        "deadline": found.deadline,
        "approvals": [voter.hex() for voter in found.approvals],
        "rejections": [voter.hex() for voter in found.rejections],
        "roster": len(state.roster),
    }


def begun(document: dict[str, Any]) -> str:
    """Say that a ledger was begun."""
    return f"ledger {document['ledger'][:16]} begins with {credits(document['minted'])} credits\n"


def posted(document: dict[str, Any]) -> str:
    """Say that an operation took effect."""
    fee = f", fee {credits(document['fee'])}" if document["fee"] else ""
    return f"done: {document['id']}{fee}\n"


def audited(document: dict[str, Any]) -> str:
    """Say that a ledger is sound."""
    return (
        f"sound: {document['entries']} entries, {document['operations']} operations, "
        f"{credits(document['minted'])} credits\n"
    )


def accounts(document: dict[str, Any]) -> str:
    """Return accounts, one a line, and the pool."""
    rows = [
        (
            row["account"],
            credits(row["balance"]),
            credits(row["available"]),
            credits(row["reserved"]),
            credits(row["staked"]),
            f"{row['reputation']:.3f}",
            "witness" if row["witness"] else "",
        )
        for row in document["accounts"]
    ]
    heads = ("ACCOUNT", "BALANCE", "AVAILABLE", "RESERVED", "STAKED", "REPUTATION", "ROLE")
    pool = f"in the pool {credits(document['pool'])} of {credits(document['minted'])}\n"
    return table(heads, rows) + pool


def operations(rows: Sequence[dict[str, Any]]) -> str:
    """Return operations, one a line."""
    if not rows:
        return "no operations\n"
    cells = [
        (
            str(row["sequence"]),
            _time(row["time"]),
            row["sender"][:_SHORT],
            row["action"]["kind"],
            *_details(row["action"]),
        )
        for row in rows
    ]
    return table(("NUMBER", "TIME", "BY", "WHAT", "TO", "AMOUNT", "NOTE"), cells, left=7)


def _details(action: dict[str, Any]) -> tuple[str, str, str]:
    who = action.get("receiver") or action.get("account") or ""
    number = action.get("amount", action.get("price"))
    note = action.get("memo") or action.get("text") or ""
    what = action.get("reservation") or action.get("proposal") or action.get("spirit") or ""
    return who[:_SHORT], "" if number is None else credits(number), plain(note or what[:_SHORT], 40)


def proposals(rows: Sequence[dict[str, Any]]) -> str:
    """Return proposals, one a line."""
    if not rows:
        return "no proposals\n"
    cells = [
        (
            row["id"][:_SHORT],
            row["decision"],
            f"{len(row['approvals'])} for, {len(row['rejections'])} against, of {row['roster']}",
            _time(row["deadline"]),
            f"{credits(row['grant'])} to {row['receiver'][:_SHORT]}" if row["grant"] else "",
            plain(row["text"], 60),
        )
        for row in rows
    ]
    return table(("PROPOSAL", "DECISION", "VOTES", "UNTIL", "GRANT", "TEXT"), cells, left=6)


def _time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"
