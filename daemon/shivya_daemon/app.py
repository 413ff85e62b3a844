"""One daemon as a process: what it needs to start, and the exit code with which it ends."""

from __future__ import annotations

import logging
import os
import sys

import anyio

from shivya_daemon import logs
from shivya_daemon.addresses import resolve
from shivya_daemon.admission import load_allow_list, load_mesh_key
from shivya_daemon.control import ControlError
from shivya_daemon.daemon import Daemon
from shivya_daemon.detach import LOG_FILE, Background
from shivya_daemon.identityfile import load_or_create_identity
from shivya_daemon.keyfile import KeyFileError
from shivya_daemon.settings import DaemonSettings, SettingsError, state_directory

_FAILED, _REFUSED = 1, 4


def run(settings: DaemonSettings, background: Background | None = None) -> int:
    """Run a daemon until SIGINT or SIGTERM; return the exit code. `background`: it has been detached."""
    try:
        code = anyio.run(_main, settings, background)
    except* (SettingsError, KeyFileError) as group:
        code = _complain(group)
    except* ControlError as group:
        code = _complain(group, _REFUSED)
    except* OSError as group:
        code = _complain(group)
    # A compilation under way in a thread cannot be interrupted; the interpreter's own exit would wait for it.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _complain(group: BaseExceptionGroup[BaseException], code: int = _FAILED) -> int:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    sys.stderr.write(f"shivya: {error}\n")
    return code


async def _main(settings: DaemonSettings, background: Background | None) -> int:
    directory = state_directory(settings)
    mesh_key, allow = load_mesh_key(settings), load_allow_list(settings)
    identity = load_or_create_identity(directory)
    peers = [address for host, port in settings.peers for address in await resolve(host, port)]
    daemon = Daemon(settings, identity, mesh_key, allow, peers)
    logs.configure(settings.log_format, directory / LOG_FILE if settings.tui or background else None)
    try:
        await daemon.serve(background)
    finally:
        if background is not None:
            background.end()
    return 0
