"""The identity on disk: made once, private, and refused when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shivya_daemon.identityfile import load_or_create_identity
from shivya_daemon.keyfile import KeyFileError, create_key, read_key


def test_the_same_identity_comes_back_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    first = load_or_create_identity(tmp_path / "state")
    assert load_or_create_identity(tmp_path / "state").node_id == first.node_id
    key = tmp_path / "state" / "identity.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in key.parent.iterdir()] == ["identity.key"]


@pytest.mark.parametrize(
    ("mode", "data", "says"), [(0o644, b"x" * 32, "chmod 600"), (0o600, b"x" * 31, "damaged")]
)
def test_a_bad_key_file_is_refused(tmp_path: Path, mode: int, data: bytes, says: str) -> None:
    key = tmp_path / "identity.key"
    key.write_bytes(data)
    key.chmod(mode)
    with pytest.raises(KeyFileError, match=says):
        load_or_create_identity(tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="state directory"):
        load_or_create_identity(tmp_path / "file" / "below")


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    create_key(path, b"k" * 32)
    assert read_key(path) == b"k" * 32
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_key(path, b"x" * 32)
    assert read_key(path) == b"k" * 32
    assert [p.name for p in tmp_path.iterdir()] == ["mesh.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "mesh.key"
    create_key(path, b"k" * 32)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
        read_key(path)


def test_a_link_a_pipe_and_a_folder_are_no_keys(tmp_path: Path) -> None:
    create_key(tmp_path / "mesh.key", b"k" * 32)
    (tmp_path / "link").symlink_to(tmp_path / "mesh.key")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name, says in (("link", "symbolic link"), ("pipe", "is no file"), ("folder", "is no file")):
        with pytest.raises(KeyFileError, match=says):
            read_key(tmp_path / name)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_has_32_bytes(tmp_path: Path, length: int) -> None:
    path = tmp_path / "mesh.key"
    create_key(path, b"k" * length)
    with pytest.raises(KeyFileError, match="not 32"):
        read_key(path)
