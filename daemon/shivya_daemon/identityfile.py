"""The identity of a node on disk: made on the first start, the same ever after."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from shivya_daemon.core.identity import Identity
from shivya_daemon.keyfile import KeyFileError, create_key, read_key


def load_or_create_identity(directory: Path) -> Identity:
    """Return the identity kept in `directory`, making both on the first start; raises `KeyFileError`."""
    path = directory / "identity.key"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return Identity.from_private_bytes(read_key(path))
        with contextlib.suppress(FileExistsError):  # somebody else has just made one: that is it
            create_key(path, Identity.generate(os.urandom).private_bytes())
        return Identity.from_private_bytes(read_key(path))
    except OSError as error:
        raise KeyFileError(
            f"cannot use the state directory {directory}: {error.strerror or error}"
        ) from error
