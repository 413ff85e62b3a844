"""Where a node's control socket and ledger live: one rule for the daemon, the command line and the client.

Standard library only, so that an application that imports the client pays for nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

LEDGER_FOLDER = "ledger"
"""Of the audit ledger, in the state directory."""
SPIRITS_FOLDER = "spirits"
"""Of the packages that were put there, in the state directory."""
_SOCKET_PATH_LIMIT = 100  # bytes; sun_path holds 108 on Linux, 104 on BSD


def socket_path(explicit: Path | None, port: int) -> Path:
    """Control socket of the daemon on a UDP port.

    The first that is set of `explicit` and `$SHIVYA_SOCKET` (files), `$RUNTIME_DIRECTORY` and
    `$XDG_RUNTIME_DIR/shivya` (directories, as `<port>.sock`); else in /tmp/shivya-<uid>.
    Raises `ValueError` for a path that does not fit into a socket address.
    """
    if explicit is not None:
        path = explicit
    elif given := os.environ.get("SHIVYA_SOCKET"):
        path = Path(given)
    elif runtime := os.environ.get("RUNTIME_DIRECTORY"):
        path = Path(runtime) / f"{port}.sock"
    elif xdg := os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(xdg) / "shivya" / f"{port}.sock"
    else:
        path = Path(f"/tmp/shivya-{os.getuid()}") / f"{port}.sock"
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise ValueError(
            f"socket path {path} is longer than {_SOCKET_PATH_LIMIT} bytes; "
            "choose a shorter one with --socket"
        )
    return path
