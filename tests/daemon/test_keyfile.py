"""The identity on disk: made once, private, and refused when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from shivya_daemon.keyfile import KeyFileError, load_or_create_identity


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
