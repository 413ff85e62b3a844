"""What can be typed to lease resources: `shivya allocate`, `shivya leases`, `shivya lease`."""

from __future__ import annotations

from typing import Any

from shivya import lease_commands as commands
from shivya.arguments import AddCommand, choose_daemon, choose_json, counting


def add(verbs: Any, command: AddCommand) -> None:
    """Add the commands about leases to the subparsers `verbs`."""
    allocate = command(
        verbs, "allocate", commands.allocate, example="shivya allocate millicores 2000 --seconds 600"
    )
    allocate.add_argument(
        "resource", metavar="RESOURCE", help="millicores, memory_mb, ...: see docs/allocation.md"
    )
    allocate.add_argument("amount", metavar="AMOUNT", type=counting, help="how much of it, a whole number")
    _add_term(allocate)
    leases = command(verbs, "leases", commands.leases, example="shivya leases --json")

    about = "Renew a lease, or give it back."
    actions = verbs.add_parser("lease", help=about, description=about).add_subparsers(
        dest="verb", metavar="ACTION", required=True
    )
    renew = command(actions, "renew", commands.renew, example="shivya lease renew 3f9a --seconds 600")
    release = command(actions, "release", commands.release, example="shivya lease release 3f9a")
    for each in (renew, release):
        each.add_argument("lease", metavar="LEASE", help="its id, or the first digits of it (at least 4)")
    _add_term(renew)
    for each in (allocate, leases, renew, release):
        choose_daemon(each)
        choose_json(each)


def _add_term(command: Any) -> None:
    command.add_argument(
        "--seconds", metavar="S", type=counting, required=True, help="for how long, from now; at most 2592000"
    )
