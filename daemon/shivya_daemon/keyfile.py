"""Secrets in files that only their owner can read. Standard library only.

Two keys of 32 bytes are kept this way, the node's identity (`identityfile`) and the mesh key (`admission`),
and the password of an etcd.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

KEY_BYTES = 32
_LONGEST = 1024


class KeyFileError(Exception):
    """A file cannot be used as a secret; the text says why and what to do."""


def read_key(path: Path) -> bytes:
    """Return the key in `path`.

    Raises `FileNotFoundError` if there is no such file, and `KeyFileError` for a symbolic link or anything
    else that is no file, for one that others may read or write, and for another length.
    """
    data = _read(path, KEY_BYTES + 1)
    if len(data) != KEY_BYTES:
        found = f"more than {KEY_BYTES}" if len(data) > KEY_BYTES else len(data)
        raise KeyFileError(f"{path} is damaged ({found} bytes, not {KEY_BYTES}); restore it or move it away")
    return data


def read_password(path: Path) -> str:
    """Return the first line of `path`; raises as `read_key` does."""
    lines = _read(path, _LONGEST + 1).decode(errors="replace").splitlines()
    if not lines or not lines[0] or len(lines[0]) > _LONGEST:
        raise KeyFileError(f"{path} has no password in its first line, of at most {_LONGEST} characters")
    return lines[0]


def _read(path: Path, most: int) -> bytes:
    try:
        # A pipe would make the open wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if path.is_symlink():
            raise KeyFileError(f"{path} is a symbolic link; name the file itself") from None
        raise KeyFileError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise KeyFileError(f"{path} is no file; name the file that holds the key")
        if mode & 0o077:
            raise KeyFileError(f"{path} is readable by others; restrict it with: chmod 600 {path}")
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def create_key(path: Path, key: bytes) -> None:
    """Write a key into a new file; raises `FileExistsError` if there is one, else `OSError`.

    It is written beside and linked into place: a crash leaves a whole key or none, and of two that create it
    at the same time one fails.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
