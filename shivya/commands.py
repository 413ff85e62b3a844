"""What the commands do. Each takes the parsed options and returns an exit code; heavy imports stay inside."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shivya.ask import ask
from shivya.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from shivya_daemon.detach import Background
    from shivya_daemon.settings import DaemonSettings

_DAEMON_FLAGS = (
    "port",
    "bind",
    "advertise",
    "name",
    "state_dir",
    "socket",
    "mesh_key_file",
    "service_rate",
    "links",
    "record",
    "log_format",
    "visualize",
    "metrics",
    "metrics_bind",
)
_SHORT_ID = 8


def daemon(options: Namespace) -> int:
    """Run a node until it is told to stop."""
    from shivya import config
    from shivya_daemon.settings import SettingsError
    from shivya_daemon.views.keys import drawable

    flags: dict[str, str | None] = {key: getattr(options, key) for key in _DAEMON_FLAGS}
    flags["peers"] = ",".join(options.peer) if options.peer else None
    for switch in ("open_wire", "no_law"):
        flags[switch] = "true" if getattr(options, switch) else None
    flags["tui"] = None if options.tui is None else str(options.tui)
    if options.daemon:
        if options.tui:
            raise CommandError(ExitCode.USAGE, "--daemon has no terminal; leave out --tui, see 'shivya top'")
        flags["tui"] = "false"
    screen = drawable(sys.stdout)
    try:
        settings = config.load(flags, config_file=options.config, params_file=options.params, tui=screen)
        if options.daemon:
            from shivya_daemon import detach

            return detach.start(settings, _run)
        return _run(settings, None)
    except SettingsError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _run(settings: DaemonSettings, background: Background | None) -> int:
    from shivya_daemon.app import run

    return run(settings, background)


def replay(options: Namespace) -> int:
    """Run a record through the law again and compare."""
    from shivya_daemon.mind.record import Mismatch, RecordError
    from shivya_daemon.mind.replay import replay

    try:
        found = replay(options.file)
    except Mismatch as error:
        raise CommandError(ExitCode.REFUSED, str(error)) from None
    except RecordError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    document = {"ticks": found.ticks, "judged": found.judged, "different": list(found.different)}
    show(document, _replay_text if not options.json else None)
    return ExitCode.FAILED if found.different else ExitCode.OK


def _replay_text(document: dict[str, Any]) -> str:
    count, different = document["judged"], document["different"]
    same = "all the same, bit for bit" if not different else f"first different at tick {different[0]}"
    return f"{document['ticks']} ticks, {count} of them judged: {same}\n"


def status(options: Namespace) -> int:
    """Show the state of the running node."""
    from shivya.tables import status_text

    document = ask(socket_of(options), "STATUS")
    show(document, status_text if not options.json else None)
    return ExitCode.OK


def peers(options: Namespace) -> int:
    """Show the peers of the running node."""
    from shivya.tables import peers_text

    document = ask(socket_of(options), "STATUS")
    if options.json:
        show(document.get("peers", []), None)
    else:
        show(document, peers_text)
    return ExitCode.OK


def report(options: Namespace) -> int:
    """Report a queue to the running node."""
    path = socket_of(options)
    if options.node is not None:
        _check_own(ask(path, "STATUS"), options.node)
    ask(
        path,
        "REPORT",
        service=options.service,
        queue=options.queue,
        servers=options.servers,
        rate=options.rate,
    )
    sys.stdout.write(f"reported queue {options.queue} for service {options.service}\n")
    return ExitCode.OK


def offload(options: Namespace) -> int:
    """Report a measured offload along a link of the running node."""
    ask(
        socket_of(options),
        "OFFLOAD",
        service=options.service,
        **{"from": options.source, "to": options.target, "rate": options.rate},
    )
    sys.stdout.write(f"reported {options.rate:g} jobs/s from {options.source} to {options.target}\n")
    return ExitCode.OK


def settle(options: Namespace) -> int:
    """Show the flows that the running node recommends on the mesh it knows."""
    from shivya.tables import settle_text

    document = ask(socket_of(options), "SETTLE", service=options.service)
    show(document, settle_text if not options.json else None)
    return ExitCode.OK


def reconcile(options: Namespace) -> int:
    """Decompose the flows of a mesh given as JSON, and recommend better ones."""
    from shivya import reconcile

    return reconcile.run(options.file, as_json=options.json)


def demo(options: Namespace) -> int:
    """Run a mesh of real daemons on this machine, with a hotspot, without and with load sharing."""
    from shivya import demo

    return demo.run(
        nodes=options.nodes,
        seconds=options.seconds,
        seed=options.seed,
        kill=options.kill,
        as_json=options.json,
    )


def socket_of(options: Namespace) -> Path:
    """Return the control socket of the daemon that the options choose."""
    from shivya import config
    from shivya_daemon.settings import SettingsError, socket_path

    try:
        settings = config.load({"port": options.port, "socket": options.socket})
        return socket_path(settings.socket, settings.port)
    except SettingsError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _check_own(document: dict[str, Any], node: str) -> None:
    own_id, own_name = str(document.get("node_id")), str(document.get("name"))
    if node in (own_id, own_name) or (len(node) >= _SHORT_ID and own_id.startswith(node)):
        return
    raise CommandError(
        ExitCode.REFUSED,
        f"reports belong to the node they are about: run it there, or choose that node's daemon "
        f"with --port or --socket; {node} is not {own_name}",
    )


def show(document: Any, text: Callable[[Any], str] | None) -> None:
    """Print `document` as `text` makes it, or as JSON when `text` is None."""
    if text is None:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    try:
        sys.stdout.write(text(document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommandError(
            ExitCode.FAILED,
            f"the daemon is of another version and its answer lacks {error}; see it with --json",
        ) from None
