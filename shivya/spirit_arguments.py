"""What can be typed about spirits: `shivya spirit`."""

from __future__ import annotations

from typing import Any

from shivya import spirit_pack
from shivya.arguments import AddCommand


def add(verbs: Any, command: AddCommand) -> None:
    """Add the commands about spirits to the subparsers `verbs`."""
    about = "Organisms that live on the mesh, and the packages in which they come."
    actions = verbs.add_parser("spirit", help=about, description=about).add_subparsers(
        dest="verb", metavar="ACTION", required=True
    )
    spirit_pack.add(actions, command)
