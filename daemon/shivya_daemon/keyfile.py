"""The identity key on disk: 32 bytes, readable by its owner only."""

from __future__ import annotations

import os
from pathlib import Path

from shivya_daemon.core.identity import Identity

_KEY_BYTES = 32


class KeyFileError(Exception):
    """The key file cannot be used; the text says why and what to do."""


def load_or_create_identity(directory: Path) -> Identity:
    """Return the identity kept in `directory`, making both on the first start."""
    path = directory / "identity.key"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return _create(path)
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise KeyFileError(f"{path} is readable by others; restrict it with: chmod 600 {path}")
            data = file.read(_KEY_BYTES + 1)
    except OSError as error:
        raise KeyFileError(
            f"cannot use the state directory {directory}: {error.strerror or error}"
        ) from error
    if len(data) != _KEY_BYTES:
        raise KeyFileError(
            f"{path} is damaged ({len(data)} bytes, not {_KEY_BYTES}); restore it or move it away"
        )
    return Identity.from_private_bytes(data)


def _create(path: Path) -> Identity:
    identity = Identity.generate(os.urandom)
    # Written beside and linked into place: a crash leaves a whole key or none, and two starters agree on one.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(identity.private_bytes())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return load_or_create_identity(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return identity
