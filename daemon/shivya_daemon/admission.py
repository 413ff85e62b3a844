"""Who may speak with this node: the key that the mesh shares, and the list of ids. Standard library only."""

from __future__ import annotations

from pathlib import Path

from shivya_daemon.keyfile import KeyFileError, read_key
from shivya_daemon.settings import DaemonSettings, SettingsError, parse_node_id

MAX_ALLOWED = 4096
_MAX_BYTES = 1 << 20


def load_mesh_key(settings: DaemonSettings) -> bytes | None:
    """Return the mesh key, None where no file is named; raises `SettingsError` for an unusable file."""
    path = settings.mesh_key_file
    if path is None:
        return None
    try:
        return read_key(path)
    except FileNotFoundError:
        raise SettingsError(
            f"mesh_key_file {path} does not exist; copy it from a node of the mesh, "
            "or begin a mesh with 'shivya init'"
        ) from None
    except KeyFileError as error:
        raise SettingsError(f"mesh_key_file: {error}") from None


def load_allow_list(settings: DaemonSettings) -> frozenset[bytes] | None:
    """Return the ids that may speak with this node, None for all; raises `SettingsError`.

    `allow_file` holds one id a line; what follows a ``#`` is a comment. Both sources add up.
    """
    if settings.allow is None and settings.allow_file is None:
        return None
    allowed = frozenset(settings.allow or ())
    if settings.allow_file is not None:
        allowed |= _read_ids(settings.allow_file)
    if not allowed:
        raise SettingsError(
            "allow names nobody; list node ids, or leave it out to admit all with the mesh key"
        )
    if len(allowed) > MAX_ALLOWED:
        raise SettingsError(f"allow names {len(allowed)} nodes; at most {MAX_ALLOWED} can be listed")
    return allowed


def _read_ids(path: Path) -> frozenset[bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise SettingsError(f"allow_file {path} is larger than {_MAX_BYTES} bytes")
        lines = data.decode().splitlines()
    except OSError as error:
        raise SettingsError(f"allow_file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"allow_file {path} is no text; write one node id a line") from None
    ids = set()
    for number, line in enumerate(lines, 1):
        word = line.partition("#")[0].strip()
        if word:
            try:
                ids.add(parse_node_id(word))
            except SettingsError as error:
                raise SettingsError(f"allow_file {path}, line {number}: {error}") from None
    return frozenset(ids)
