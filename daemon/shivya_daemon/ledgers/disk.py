"""What every ledger on a disk needs: one writer, and names that survive a crash."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def exclusive(path: Path) -> int:
    """Return the descriptor of a file whose lock no other process gets until it is closed.

    Raises `BlockingIOError` where another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
