"""What can be typed after `shivya guard`."""

from __future__ import annotations

from typing import Any

from shivya import guard_commands as commands
from shivya.arguments import AddCommand, choose_daemon, choose_json, not_negative, positive, whole


def add(verbs: Any, command: AddCommand) -> None:
    """Add the group of commands about the guard to the subparsers `verbs`."""
    about = "Show, run or drill the guard."
    actions = verbs.add_parser("guard", help=about, description=about).add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    seen = command(actions, "show", commands.show_guard, example="shivya guard show --json")
    alone = command(
        actions, "run", commands.run, example="shivya guard run --beats 10 --k-flows 4 --p-nodes 5"
    )
    alone.add_argument("--beats", type=_beats, default=10, help="how many, -1 = until stopped (default 10)")
    alone.add_argument("--k-flows", type=positive, default=4.0, help="flows per node (default 4)")
    alone.add_argument("--p-nodes", type=positive, default=5.0, help="nodes (default 5)")
    alone.add_argument(
        "--t-threshold", type=positive, default=0.02, help="set-point of a beat, seconds (default 0.02)"
    )
    alone.add_argument("--anomalies", type=not_negative, default=0.0, help="begin with so many (default 0)")
    alone.add_argument("--seed-formulas", action="store_true", help="judge as the first design did")
    alone.add_argument("--mesh", action="store_true", help="judge what the running node sees")
    drill = command(actions, "inject", commands.inject, example="shivya guard inject 45 --peer edge-2")
    drill.add_argument("anomalies", type=not_negative, help="how many, 1000 at most")
    drill.add_argument("--weight", type=not_negative, help="new weight of the threat model (it has 0.12)")
    drill.add_argument("--peer", metavar="NODE", help="name or id of the peer they count against")
    for each in (seen, alone, drill):
        choose_daemon(each)
        choose_json(each)


def _beats(text: str) -> int:
    return -1 if text == "-1" else whole(text)
