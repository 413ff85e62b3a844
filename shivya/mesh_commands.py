"""What an operator's commands do: begin a mesh, look at it, signal through it, examine and end a node."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from shivya.ask import ask
from shivya.commands import show, socket_of
from shivya.errors import CommandError, ExitCode

_POLL = 0.2
_PATIENCE = 15.0
"""Seconds beyond the time it was given, in which a daemon must have stopped."""


def init(options: Namespace) -> int:
    """Make a mesh key and commented settings."""
    from shivya import init

    return init.run(options.dir, as_json=options.json)


def doctor(options: Namespace) -> int:
    """Examine the running node and this machine, and say what to do about what is wrong."""
    from shivya import doctor

    return doctor.run({"port": options.port, "socket": options.socket}, as_json=options.json)


def completion(options: Namespace) -> int:
    """Print a script that lets a shell complete this command line."""
    from shivya.cli import parser
    from shivya.command_tree import read
    from shivya.completion import SHELLS

    sys.stdout.write(SHELLS[options.shell](read(parser())))
    return ExitCode.OK


def manual(_options: Namespace) -> int:
    """Print the manual page of this command line."""
    from shivya.cli import parser
    from shivya.command_tree import read
    from shivya.manual import page

    sys.stdout.write(page(read(parser())))
    return ExitCode.OK


def top(options: Namespace) -> int:
    """Show the live screen of the running node."""
    from shivya import top

    return top.run(socket_of(options), once=options.once, ascii_only=options.ascii)


def visualize(options: Namespace) -> int:
    """Print the link that opens the page of the running node."""
    page = ask(socket_of(options), "FACTS").get("page")
    if not page:
        raise CommandError(ExitCode.FAILED, "this daemon serves no page; start it with --visualize")
    sys.stdout.write(f"{page}\n")
    return ExitCode.OK


def links(options: Namespace) -> int:
    """Show the links of the running node."""
    from shivya.tables import links_text

    document = ask(socket_of(options), "STATUS")
    if options.json:
        show(document.get("links", []), None)
    else:
        show(document, links_text)
    return ExitCode.OK


def signals(options: Namespace) -> int:
    """Show the signals that the running node received last."""
    from shivya.tables import signals_text

    document = ask(socket_of(options), "SIGNALS")
    show(document, signals_text if not options.json else None)
    return ExitCode.OK


def signal_send(options: Namespace) -> int:
    """Send a signal through the mesh."""
    payload = options.payload.encode("utf-8", "surrogateescape")
    answer = ask(
        socket_of(options),
        "SIGNAL",
        kind=options.kind,
        type=options.type,
        payload=payload.hex() or None,
        ttl=options.ttl,
        target=options.target,
        decay=options.decay,
        refractory=options.refractory,
    )
    show(answer, (lambda sent: f"sent {sent['id']}\n") if not options.json else None)
    return ExitCode.OK


def drain(options: Namespace) -> int:
    """Have the running node take no new work, hand over what waits, and stop."""
    path = socket_of(options)
    answer = ask(path, "DRAIN", wait=options.wait)
    try:
        wait = float(answer["wait_seconds"])
    except (KeyError, TypeError, ValueError):
        raise CommandError(ExitCode.FAILED, f"what answers on {path} does not say how it drains") from None
    left = _watch(path, wait, _progress() if sys.stderr.isatty() else None)
    rest = f"; {left} jobs were left to their application" if left else ""
    sys.stdout.write(f"drained: the daemon has stopped{rest}\n")
    return ExitCode.OK


def _watch(path: Path, wait: float, say: Callable[[str], None] | None) -> int:
    """Wait until the daemon is gone; returns how many jobs it held when it last answered."""
    left, end = 0, time.monotonic() + wait
    while time.monotonic() < end + _PATIENCE:
        try:
            document = ask(path, "STATUS")
        except CommandError as error:
            if error.code != ExitCode.NO_DAEMON:
                raise
            if say is not None:
                say("")
            return left
        left = sum(int(cell["queue"]) for cell in document.get("cells", ()))
        if say is not None:
            say(f"draining: {left} jobs held, at most {max(0.0, end - time.monotonic()):.0f} s more")
        time.sleep(_POLL)
    raise CommandError(
        ExitCode.FAILED, f"the daemon on {path} still answers; see its log, or end it with SIGTERM"
    )


def _progress() -> Callable[[str], None]:
    def say(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return say
