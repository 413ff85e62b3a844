"""What can be typed after `shivya credits` and `shivya quorum`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from shivya import credits_commands as commands
from shivya import credits_text as text
from shivya.arguments import AddCommand, choose_json, counting

_GRANT = "ACCOUNT=AMOUNT"


def add(verbs: Any, command: AddCommand) -> None:
    """Add both groups of commands to the subparsers `verbs`."""
    _add_credits(verbs.add_parser("credits", help="Keep accounts.", description="Keep accounts."), command)
    decide = "Decide together, as the witnesses of a ledger."
    _add_quorum(verbs.add_parser("quorum", help=decide, description=decide), command)


def _add_credits(group: argparse.ArgumentParser, command: AddCommand) -> None:
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = command(actions, "init", commands.init, example="shivya credits init --supply 1e6 --witness me")
    init.add_argument(
        "--supply", type=_amount, default="1000000", help="credits of this node, if nobody is granted any"
    )
    init.add_argument(
        "--grant", metavar=_GRANT, action="append", default=[], help="credits of an account; may be repeated"
    )
    init.add_argument(
        "--witness", metavar="ACCOUNT", action="append", default=[], help="one who votes; may be repeated"
    )
    init.add_argument(
        "--threshold", type=_threshold, default="2/3", help="share of witnesses that decides (default 2/3)"
    )
    init.add_argument("--stake", type=_amount, default="0", help="credits a witness must lock to vote")

    balance = command(actions, "balance", commands.balance, example="shivya credits balance --all")
    balance.add_argument("account", metavar="ACCOUNT", nargs="?", help="whose (default: this node's)")
    balance.add_argument("--all", action="store_true", help="of all accounts")

    opening = command(
        actions,
        "open",
        commands.open_account,
        example="shivya credits open 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
    )
    opening.add_argument("account", metavar="ACCOUNT", help="all 64 digits of the node's key")

    transfer = command(
        actions, "transfer", commands.transfer, example="shivya credits transfer 3b6a27bc 12.5 --memo June"
    )
    transfer.add_argument("account", metavar="ACCOUNT", help="who is paid: 8 or more of its first digits")
    transfer.add_argument("amount", metavar="AMOUNT", type=_amount, help="credits, at most 6 decimals")
    transfer.add_argument("--memo", default="", help="what for, at most 256 bytes")

    stake = command(actions, "stake", commands.stake, example="shivya credits stake 100")
    stake.add_argument("amount", metavar="AMOUNT", type=_amount, help="credits locked in all; 0 frees them")

    history = command(actions, "history", commands.history, example="shivya credits history --last 50")
    history.add_argument("account", metavar="ACCOUNT", nargs="?", help="only what concerns this account")
    history.add_argument("--last", type=counting, default=20, metavar="N", help="how many (default 20)")

    audit = command(actions, "audit", commands.audit, example="shivya credits audit --json")
    for one in (init, balance, opening, transfer, stake, history, audit):
        _choose_ledger(one)


def _add_quorum(group: argparse.ArgumentParser, command: AddCommand) -> None:
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    propose = command(
        actions,
        "propose",
        commands.propose,
        example="shivya quorum propose 'new rack' --grant 3b6a27bc=100",
    )
    propose.add_argument("text", metavar="TEXT", help="what is to be decided, at most 256 bytes")
    propose.add_argument("--grant", metavar=_GRANT, help="credits that the pool pays on approval")
    propose.add_argument("--days", type=_days, default=7.0, help="time for voting (default 7)")

    vote = command(actions, "vote", commands.vote, example="shivya quorum vote 9f86d081 yes")
    vote.add_argument("proposal", metavar="PROPOSAL", help="8 or more of its first digits")
    vote.add_argument("vote", choices=("yes", "no"))

    show = command(actions, "show", commands.show, example="shivya quorum show --json")
    show.add_argument("proposal", metavar="PROPOSAL", nargs="?", help="8 or more of its first digits")
    for one in (propose, vote, show):
        _choose_ledger(one)


def _choose_ledger(command: argparse.ArgumentParser) -> None:
    command.add_argument("--port", help="port of the node (default 8085)")
    command.add_argument("--state-dir", metavar="DIR", help="directory with its identity and its ledger")
    command.add_argument("--ledger", metavar="FILE", type=Path, help="the ledger, if it is another file")
    command.add_argument(
        "--etcd", metavar="URL,URL", help="members of the etcd that has the ledger (default: $SHIVYA_ETCD)"
    )
    choose_json(command)


def _amount(given: str) -> int:
    try:
        return text.amount(given)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be credits, 0 or more with at most 6 decimals, not {given!r}"
        ) from None


def _threshold(given: str) -> object:
    try:
        return text.threshold(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a share such as 2/3, not {given!r}") from None


def _days(given: str) -> float:
    try:
        if 0 < float(given) <= 30:
            return float(given)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be a number of days, at most 30, not {given!r}")
