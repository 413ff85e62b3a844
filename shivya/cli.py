"""The command line: what can be typed. `shivya.commands` holds what the commands do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from shivya import (
    commands,
    credits_arguments,
    experiment_arguments,
    guard_arguments,
    lease_arguments,
    ledger_arguments,
    mesh_commands,
    spirit_arguments,
)
from shivya.arguments import choose_daemon, choose_json, counting, not_negative, positive, whole
from shivya.errors import CommandError, ExitCode
from shivya.version import __version__
from shivya_daemon.settings import DEFAULT_METRICS_PORT, DEFAULT_PAGE_PORT
from shivya_daemon.views.words import plain

_EXIT_CODES = "exit codes: 0 ok, 1 failed, 2 usage, 3 no daemon answers, 4 refused"


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line on standard error that says where the help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; usage errors, --help and --version raise `SystemExit`."""
    options = parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except CommandError as error:
        return _fail(options.command, error, error.code)
    except BrokenPipeError:
        # The reader left; what is still buffered must not raise again while the interpreter shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        return _fail(options.command, error, ExitCode.FAILED)


def _fail(command: str, error: Exception, code: ExitCode) -> int:
    sys.stderr.write(f"shivya {command}: {plain(' '.join(str(error).split()), limit=1000)}\n")
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(
        prog="shivya",
        description="Consensus-free load sharing for fleets of edge machines.",
        epilog=f"example: shivya daemon --port 8085 --peer 127.0.0.1:8086\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"shivya {__version__}")
    verbs = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_daemon(verbs)
    _add_questions(verbs)
    _add_reports(verbs)
    _add_mesh(verbs)
    guard_arguments.add(verbs, _command)
    lease_arguments.add(verbs, _command)
    ledger_arguments.add(verbs, _command)
    credits_arguments.add(verbs, _command)
    spirit_arguments.add(verbs, _command)
    experiment_arguments.add(verbs, _command)
    _add_shell(verbs)
    return top


def _command(
    verbs: argparse._SubParsersAction[_Parser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    example: str,
    aliases: Sequence[str] = (),
) -> _Parser:
    """Add one command; its description is the docstring of the function that runs it."""
    description = (run.__doc__ or "").split("\n\n")[0]
    added = verbs.add_parser(
        name,
        aliases=aliases,
        help=description,
        description=description,
        epilog=f"example: {example}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=run)
    return added


def _add_daemon(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """Add the command that runs a node; its values stay text, which `shivya.config` reads like variables."""
    daemon = _command(
        verbs,
        "daemon",
        commands.daemon,
        aliases=("start",),
        example="shivya daemon --name edge-1 --port 8085 --peer 127.0.0.1:8086 --service-rate 20",
    )
    daemon.add_argument("--port", help="UDP port, 0 = the system chooses (default 8085)")
    daemon.add_argument("--bind", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)")
    daemon.add_argument("--advertise", metavar="ADDRESS", help="address that peers are told to use")
    daemon.add_argument(
        "--peer", metavar="HOST:PORT", action="append", help="a node to join by; may be repeated"
    )
    daemon.add_argument(
        "--mesh-key-file", metavar="FILE", help="the key that the mesh shares; 'shivya init' makes one"
    )
    daemon.add_argument(
        "--open-wire",
        action="store_true",
        help="frames in clear and unauthenticated, for closed networks and the reference implementation",
    )
    daemon.add_argument(
        "--no-law",
        action="store_true",
        help="shortest expected delay instead of the law: no JAX, little memory, longer tails",
    )
    daemon.add_argument("--name", help="name of this node")
    daemon.add_argument("--state-dir", metavar="DIR", help="folder that outlives the daemon")
    daemon.add_argument("--socket", metavar="PATH", help="control socket of this daemon")
    daemon.add_argument(
        "--service-rate", metavar="RATE", help="jobs per second of the default service (default 10)"
    )
    daemon.add_argument("--links", metavar="N", help="neighbours that it seeks, 2 to 12 (default 6)")
    daemon.add_argument("--record", metavar="FILE", help="write all inputs of the law to a new file (gzip)")
    daemon.add_argument(
        "--params", metavar="FILE", type=Path, help="numbers of the law that 'shivya tune' found"
    )
    daemon.add_argument(
        "--config", metavar="FILE", type=Path, help="settings instead of shivya.toml and the user's"
    )
    daemon.add_argument(
        "--tui",
        action=argparse.BooleanOptionalAction,
        help="live screen (default: on a terminal)",
        default=None,
    )
    daemon.add_argument(
        "--visualize",
        metavar="PORT",
        nargs="?",
        const=str(DEFAULT_PAGE_PORT),
        help="live page on 127.0.0.1 (default port 9002); 'shivya visualize' prints its link",
    )
    daemon.add_argument(
        "--metrics",
        metavar="PORT",
        nargs="?",
        const=str(DEFAULT_METRICS_PORT),
        help="metrics for Prometheus, and /healthz (default port 8000)",
    )
    daemon.add_argument(
        "--metrics-bind", metavar="ADDRESS", help="address of the metrics (default 127.0.0.1)"
    )
    daemon.add_argument(
        "--daemon", action="store_true", help="run in the background; says its process id and its socket"
    )
    daemon.add_argument("--log-format", metavar="{text,json}", help="how log lines look (default text)")


def _add_questions(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """Add the commands that read from the running node."""
    status = _command(
        verbs, "status", commands.status, example="shivya status --json | jq .collective_free_energy"
    )
    peers = _command(verbs, "peers", commands.peers, example="shivya peers --port 8086")
    links = _command(verbs, "links", mesh_commands.links, example="shivya links")
    signals = _command(verbs, "signals", mesh_commands.signals, example="shivya signals --json")
    visualize = _command(verbs, "visualize", mesh_commands.visualize, example="shivya visualize")
    doctor = _command(verbs, "doctor", mesh_commands.doctor, example="shivya doctor --port 8086")
    top = _command(verbs, "top", mesh_commands.top, example="shivya top --port 8086")
    top.add_argument("--once", action="store_true", help="print one frame and end")
    top.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    settle = _command(verbs, "settle", commands.settle, example="shivya settle --json")
    settle.add_argument("--service", default="default", help="kind of job (default: default)")
    choose_daemon(top)
    choose_daemon(visualize)
    for command in (status, peers, links, signals, doctor, settle):
        choose_daemon(command)
        choose_json(command)


def _add_shell(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """Add the commands that tell a shell and a manual what can be typed."""
    completion = _command(
        verbs, "completion", mesh_commands.completion, example='eval "$(shivya completion bash)"'
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell it is for")
    _command(verbs, "man", mesh_commands.manual, example="shivya man | man -l -")


def _add_reports(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """Add the commands by which a shell tells the running node what it measured."""
    report = _command(
        verbs, "report", commands.report, example="shivya report --queue 37 --servers 4 --rate 20"
    )
    report.add_argument("--queue", type=whole, required=True, help="jobs held now, those in service included")
    report.add_argument(
        "--rate", type=positive, help="jobs per second the node can serve (default: estimated)"
    )
    report.add_argument("--servers", type=counting, help="jobs served at the same time (default 1)")
    report.add_argument("--service", default="default", help="kind of job (default: default)")
    report.add_argument("--node", help="name or id of the node meant; refused if it is not the daemon's own")
    choose_daemon(report)

    offload = _command(verbs, "offload", commands.offload, example="shivya offload edge-1 edge-2 12.5")
    offload.add_argument("source", metavar="SRC", help="name or id of the node that hands over")
    offload.add_argument("target", metavar="DST", help="name or id of the node that receives")
    offload.add_argument("rate", metavar="RATE", type=not_negative, help="jobs per second")
    offload.add_argument("--service", default="default", help="kind of job (default: default)")
    choose_daemon(offload)


def _add_mesh(verbs: argparse._SubParsersAction[_Parser]) -> None:
    """Add the commands by which an operator begins a mesh, speaks through it, and ends a node."""
    init = _command(verbs, "init", mesh_commands.init, example="shivya init --dir /etc/shivya")
    init.add_argument(
        "--dir", metavar="DIR", type=Path, help="folder to write into (default: the user's configuration)"
    )
    choose_json(init)

    drain = _command(verbs, "drain", mesh_commands.drain, example="shivya drain --wait 60")
    drain.add_argument(
        "--wait", metavar="SECONDS", type=not_negative, help="longest time for it (default 30)"
    )
    choose_daemon(drain)

    signal = _command(verbs, "signal", mesh_commands.signal_send, example="shivya signal send flood backup")
    actions = signal.add_subparsers(dest="action", metavar="ACTION", required=True)
    send = _command(
        actions,
        "send",
        mesh_commands.signal_send,
        example="shivya signal send directed backup now --target edge-2",
    )
    send.add_argument("kind", choices=("flood", "gradient", "directed", "action"), help="how it spreads")
    send.add_argument("type", metavar="TYPE", help="what it means: a-z A-Z 0-9 . _ -")
    send.add_argument("payload", metavar="PAYLOAD", nargs="?", default="", help="at most 256 bytes")
    send.add_argument("--target", metavar="NODE", help="name or id of the node that a directed one is for")
    send.add_argument("--decay", type=not_negative, help="what is left of a gradient per link (default 0.9)")
    send.add_argument("--refractory", type=not_negative, help="seconds that an action's type then rests")
    send.add_argument("--ttl", type=counting, help="links it may travel (default 8, at most 16)")
    choose_daemon(send)
    choose_json(send)
