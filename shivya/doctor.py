"""`shivya doctor`: every check, one finding a line, each with what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shivya import config, daemon_checks, host_checks
from shivya.ask import ask
from shivya.errors import CommandError, ExitCode
from shivya.findings import Finding, Level, error, note, ok
from shivya.tables import table
from shivya_daemon.keyfile import KeyFileError, read_key
from shivya_daemon.settings import DaemonSettings, SettingsError, socket_path, state_directory
from shivya_daemon.views.words import number, plain


def run(flags: dict[str, str | None], *, as_json: bool) -> int:
    """Check the daemon that `flags` (port, socket) choose, and the machine; print what was found.

    Returns NO_DAEMON when no daemon answers, else FAILED when a finding is an error.
    """
    found, status = _examine(flags)
    drops = [] if status is None else daemon_checks.drop_rows(status)
    if as_json:
        document = {"findings": [finding.to_json() for finding in found], "drops": drops}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(_text(found, drops))
    if status is None:
        return ExitCode.NO_DAEMON
    return ExitCode.FAILED if any(finding.level is Level.ERROR for finding in found) else ExitCode.OK


def _examine(flags: dict[str, str | None]) -> tuple[list[Finding], dict[str, Any] | None]:
    """Return what was found, and the status of the daemon if one answers."""
    try:
        settings = config.load(flags)
        socket = socket_path(settings.socket, settings.port)
    except SettingsError as fault:
        raise CommandError(ExitCode.USAGE, str(fault)) from None
    found: list[Finding] = []
    status = facts = None
    try:
        status = ask(socket, "STATUS")
        facts = ask(socket, "FACTS")
        found += daemon_checks.check(status, facts)
    except CommandError as fault:
        if fault.code == ExitCode.NO_DAEMON:
            status = None
        found.append(error("daemon", str(fault), "start it, or choose it by its --port or --socket"))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        found.append(error("daemon", f"its answer lacks {fault}", "install one version on both sides"))
    found += _key(settings, facts)
    found += _machine(settings, facts)
    return found, status


def _key(settings: DaemonSettings, facts: dict[str, Any] | None) -> Iterator[Finding]:
    """Check the mesh key that the daemon uses, or would."""
    named = None if facts is None else facts.get("mesh_key_file")
    path = settings.mesh_key_file if facts is None else None if named is None else Path(str(named))
    if path is None:
        if facts is None:
            yield note("key", "no mesh key: a daemon would stay on this host", "make one with 'shivya init'")
        return
    try:
        read_key(path)
    except FileNotFoundError:
        yield error("key", f"{path} does not exist", "copy it from a node of the mesh")
    except (KeyFileError, OSError) as fault:
        yield error("key", str(fault), "no daemon starts with it as it is")
    else:
        yield ok("key", f"{path} is there, and its owner's only")


def _machine(settings: DaemonSettings, facts: dict[str, Any] | None) -> Iterator[Finding]:
    known = facts or {}
    yield from host_checks.clock()
    yield from host_checks.interfaces()
    yield from host_checks.receive_buffer()
    if facts is not None:
        yield from host_checks.kernel_drops(facts.get("pid"), int(facts.get("port", settings.port)))
    state = known.get("state_dir")
    try:
        folder = state_directory(settings) if state is None else Path(str(state))
        yield from host_checks.folder("state", folder, "state directory")
    except SettingsError as fault:
        yield note("state", str(fault))
    cache = known.get("compile_cache")
    if cache is not None:
        yield from host_checks.folder("cache", Path(str(cache)), "compile cache")


def _text(found: list[Finding], drops: list[dict[str, Any]]) -> str:
    width = max(len(finding.check) for finding in found)
    lines = [
        f"{finding.level.name.lower():<8}{finding.check:<{width}}  {plain(finding.text, limit=400)}"
        + (f"; {finding.remedy}" if finding.remedy else "")
        for finding in found
    ]
    parts = ["".join(f"{line}\n" for line in lines)]
    if drops:
        rows = [
            (plain(row["reason"], 40), row["meaning"], str(row["count"]), number(row["per_minute"]))
            for row in drops
        ]
        parts.append(table(("DROPPED", "MEANING", "COUNT", "A MINUTE"), rows, left=2))
    return "\n".join(parts)
