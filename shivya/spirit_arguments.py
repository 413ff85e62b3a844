"""What can be typed about spirits: `shivya spirit`."""

from __future__ import annotations

from typing import Any

from shivya import spirit_commands as commands
from shivya import spirit_pack
from shivya.arguments import AddCommand, choose_daemon, choose_json, not_negative, positive


def add(verbs: Any, command: AddCommand) -> None:
    """Add the commands about spirits to the subparsers `verbs`."""
    about = "Organisms that live on the mesh, and the packages in which they come."
    actions = verbs.add_parser("spirit", help=about, description=about).add_subparsers(
        dest="verb", metavar="ACTION", required=True
    )
    listing = command(actions, "list", commands.spirits, example="shivya spirit list")
    summon = command(actions, "summon", commands.summon, example="shivya spirit summon physarum --speed 2")
    summon.add_argument("name", metavar="NAME", help="of an installed spirit, or the path of a .spirit file")
    _add_settings(summon)
    dismiss = command(actions, "dismiss", commands.dismiss, example="shivya spirit dismiss")
    tune = command(actions, "set", commands.tune, example="shivya spirit set speed 2")
    tune.add_argument("setting", choices=("speed", "exploration", "decay"), help="which")
    tune.add_argument("value", type=not_negative, help="speed 0.1 to 10, exploration 0 to 1, decay 0 to 0.5")
    show = command(actions, "show", commands.show_spirit, example="shivya spirit show --json")
    for each in (listing, summon, dismiss, tune, show):
        choose_daemon(each)
        choose_json(each)
    spirit_pack.add(actions, command)


def _add_settings(added: Any) -> None:
    added.add_argument("--speed", type=positive, help="seconds of its time per second, 0.1 to 10")
    added.add_argument("--exploration", type=not_negative, help="how eagerly tips sprout, 0 to 1")
    added.add_argument("--decay", type=not_negative, help="how fast idle tubes wither, 0 to 0.5")
