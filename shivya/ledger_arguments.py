"""What can be typed after `shivya ledger`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shivya import ledger_commands as commands
from shivya.arguments import AddCommand, choose_json, counting, whole


def add(verbs: Any, command: AddCommand) -> None:
    """Add the group of commands that read a node's audit ledger to the subparsers `verbs`."""
    about = "Check, show and prove what a node has written down."
    actions = verbs.add_parser("ledger", help=about, description=about).add_subparsers(
        dest="verb", metavar="ACTION", required=True
    )
    verify = command(actions, "verify", commands.verify, example="shivya ledger verify --json")
    verify.add_argument("dir", metavar="DIR", nargs="?", type=Path, help="folder (default: the daemon's)")
    verify.add_argument("--proof", metavar="FILE", type=Path, help="check a proof instead of a ledger")
    verify.add_argument("--node", metavar="ID", help="fail unless this node has signed")
    show = command(actions, "show", commands.show, example="shivya ledger show --last 50 --action ALERT")
    show.add_argument("--last", type=counting, default=20, metavar="N", help="how many (default 20)")
    show.add_argument("--action", metavar="A", help="only entries of this action, such as ALERT")
    prove = command(actions, "prove", commands.prove, example="shivya ledger prove 81234 -o proof.json")
    prove.add_argument("index", metavar="INDEX", type=whole, help="number of the entry")
    prove.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there instead of printing")
    for each in (show, prove):
        each.add_argument("--dir", metavar="DIR", type=Path, help="folder (default: the daemon's)")
    for each in (verify, show, prove):
        each.add_argument("--port", help="port of the daemon whose ledger it is (default 8085)")
    for each in (verify, show):
        choose_json(each)
