"""Who is admitted: the mesh key and the allow-list, from settings and files; and where a node may listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from shivya_daemon.admission import load_allow_list, load_mesh_key
from shivya_daemon.keyfile import create_key
from shivya_daemon.settings import DaemonSettings, SettingsError

A, B = b"\xaa" * 20, b"\xbb" * 20
KEY = Path("/somewhere/mesh.key")


def test_without_a_file_there_is_no_key_and_no_list() -> None:
    assert load_mesh_key(DaemonSettings()) is None
    assert load_allow_list(DaemonSettings()) is None


def test_the_key_is_read_from_its_file(tmp_path: Path) -> None:
    create_key(tmp_path / "mesh.key", b"k" * 32)
    assert load_mesh_key(DaemonSettings(mesh_key_file=tmp_path / "mesh.key")) == b"k" * 32


def test_a_missing_or_open_key_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    with pytest.raises(SettingsError, match="shivya init"):
        load_mesh_key(DaemonSettings(mesh_key_file=path))
    create_key(path, b"k" * 32)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_mesh_key(DaemonSettings(mesh_key_file=path))


def test_list_and_file_add_up(tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    path.write_text(f"# the fleet\n\n{B.hex()}  # edge-2\n{B.hex().upper()}\n")
    settings = DaemonSettings(allow=frozenset((A,)), allow_file=path)
    assert load_allow_list(settings) == {A, B}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"abc\n", "line 1: 'abc' is no node id"),
        (b"# nobody\n", "names nobody"),
        (b"\xff\n", "no text"),
        (b"#" * (1 << 20) + b"\n\n", "larger than"),
    ],
)
def test_a_bad_list_names_file_and_fault(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "allowed"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=says):
        load_allow_list(DaemonSettings(allow_file=path))
    with pytest.raises(SettingsError, match="cannot be read"):
        load_allow_list(DaemonSettings(allow_file=tmp_path / "absent"))


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.1", "::"])
def test_beyond_this_host_only_with_a_key_or_in_the_open(bind: str) -> None:
    with pytest.raises(SettingsError, match="shivya init"):
        DaemonSettings(bind=bind)
    assert not DaemonSettings(bind=bind, mesh_key_file=KEY).exposed
    assert DaemonSettings(bind=bind, open_wire=True).exposed
    assert not DaemonSettings(open_wire=True).exposed


@pytest.mark.parametrize(
    "admission", [{"mesh_key_file": KEY}, {"allow": frozenset((A,))}, {"allow_file": KEY}], ids=str
)
def test_the_open_wire_admits_everybody_so_nothing_may_promise_otherwise(
    admission: dict[str, object],
) -> None:
    with pytest.raises(SettingsError, match="open_wire"):
        DaemonSettings(open_wire=True, **admission)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["0.0.0.0", "224.0.0.1", "edge-1", "fe80::1%eth0"])
def test_an_address_that_nobody_reaches_cannot_be_advertised(host: str) -> None:
    with pytest.raises(SettingsError, match="advertise"):
        DaemonSettings(advertise=host)
