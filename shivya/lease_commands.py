"""What the commands about leases do."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from shivya.ask import ask
from shivya.commands import show, socket_of
from shivya.errors import CommandError, ExitCode
from shivya.leasing import follow, lease_of
from shivya.tables import table
from shivya_daemon.views.words import credit, duration, plain

_PATIENCE = 30.0
"""Seconds in which every node that could be asked has answered or been given up."""


def allocate(options: Namespace) -> int:
    """Lease some of a resource: here if it fits, else of the node with most to spare."""
    row = follow(
        socket_of(options),
        "ALLOCATE",
        _PATIENCE,
        lambda row: row.get("state") != "asking",
        resource=options.resource,
        amount=options.amount,
        seconds=options.seconds,
    )
    if row.get("state") != "held":
        raise CommandError(
            ExitCode.REFUSED, str(row.get("reason") or "no node has answered yet; see 'shivya leases'")
        )
    show(row, _line if not options.json else None)
    return ExitCode.OK


def leases(options: Namespace) -> int:
    """Show what the running node lends, to whom, and what it holds."""
    show(ask(socket_of(options), "LEASES"), _text if not options.json else None)
    return ExitCode.OK


def renew(options: Namespace) -> int:
    """Let a lease end later, or sooner: in so many seconds from now."""
    row = follow(
        socket_of(options),
        "RENEW",
        _PATIENCE,
        lambda row: not row.get("renewing") or row.get("state") != "held",
        lease=options.lease,
        seconds=options.seconds,
    )
    if row.get("state") != "held":
        raise CommandError(ExitCode.REFUSED, f"the lease is over: {row.get('reason')}")
    if row.get("reason"):  # it goes on to the end of its term
        raise CommandError(ExitCode.REFUSED, str(row["reason"]))
    show(row, _line if not options.json else None)
    return ExitCode.OK


def release(options: Namespace) -> int:
    """Give a lease back."""
    row = lease_of(ask(socket_of(options), "RELEASE", lease=options.lease))
    show(row, (lambda row: f"released {row['id']}\n") if not options.json else None)
    return ExitCode.OK


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['id']}  {row['amount']} {plain(row['resource'])} at {plain(row['name'] or row['provider'])} "
        f"for {duration(row['seconds_left'])}, price {credit(row['price'])}\n"
    )


def _text(report: dict[str, Any]) -> str:
    quota = [
        (plain(row["resource"]), str(row["capacity"]), str(row["taken"]), str(row["capacity"] - row["taken"]))
        for row in report.get("quota", ())
    ]
    held = [
        (
            plain(row["id"], 32)[:8],
            plain(row["state"]),
            plain(row["name"] or row["provider"] or "-", 32),
            f"{row['amount']} {plain(row['resource'])}",
            duration(row["seconds_left"]),
            credit(row["price"]),
            plain(row["reason"], 100),
        )
        for row in report.get("held", ())
    ]
    granted = [
        (
            plain(row["id"], 32)[:8],
            plain(row["name"] or row["holder"], 40),
            f"{row['amount']} {plain(row['resource'])}",
            duration(row["seconds_left"]),
            credit(row["price"]),
        )
        for row in report.get("granted", ())
    ]
    none = "lends nothing; say what in [quota] of shivya.toml\n"
    parts = [table(("QUOTA", "CAPACITY", "TAKEN", "FREE"), quota) if quota else none]
    heads = ("HELD", "STATE", "AT", "WHAT", "LEFT", "PRICE", "WHY")
    parts.append(table(heads, held, left=len(heads)) if held else "holds no lease\n")
    lent = ("LENT", "TO", "WHAT", "LEFT", "PRICE")
    parts.append(table(lent, granted, left=len(lent)) if granted else "no lease granted\n")
    return "\n".join(parts)
