"""`shivya init`: files that work as they are, and nothing overwritten."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from shivya import config
from shivya.cli import main

from shivya_daemon.settings import CapabilitySettings

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


def test_the_key_is_private_and_the_settings_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "etc" / "shivya"
    assert main(["init", "--dir", str(folder)]) == 0
    key = folder / "mesh.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32
    settings = config.load({}, config_file=folder / "shivya.toml")
    assert settings.mesh_key_file == key
    out = capsys.readouterr().out
    assert str(key) in out and f"--config {folder / 'shivya.toml'}" in out
    assert key.read_bytes().hex() not in out


def test_by_default_a_daemon_finds_what_was_made(tmp_path: Path) -> None:
    assert main(["init"]) == 0
    assert config.load({}).mesh_key_file == tmp_path / "config" / "shivya" / "mesh.key"


def test_every_setting_in_the_comments_is_one(tmp_path: Path) -> None:
    assert main(["init", "--dir", str(tmp_path / "new")]) == 0
    lines = (tmp_path / "new" / "shivya.toml").read_text().splitlines()
    bare = [line.removeprefix("# ") for line in lines]
    text = "\n".join(line for line in bare if re.match(r"\w+ = |\[", line))
    document = tomllib.loads(text)
    assert {"peers", "advertise", "name", "allow", "allow_file", "law"} <= set(document)
    assert {"compute", "storage", "gateway", "tags", "witness", "seeks"} == set(document["capabilities"])
    (tmp_path / "new" / "all.toml").write_text(text)
    settings = config.load({}, config_file=tmp_path / "new" / "all.toml")
    assert settings.law.hop_limit == 8
    assert len(settings.peers) == 2
    assert (settings.capabilities.cores, settings.capabilities.gateway) == (4, ("mqtt", "modbus"))
    assert settings.seeks == CapabilitySettings(gateway=("opc-ua",), capacity_mb=64000)


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--dir", str(tmp_path)]) == 0
    before = (tmp_path / "mesh.key").read_bytes(), (tmp_path / "shivya.toml").read_text()
    assert main(["init", "--dir", str(tmp_path)]) == 4
    assert "not overwritten" in capsys.readouterr().err
    assert before == ((tmp_path / "mesh.key").read_bytes(), (tmp_path / "shivya.toml").read_text())


def test_a_key_copied_from_another_node_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "mesh.key"
    key.write_bytes(b"k" * 32)
    assert main(["init", "--dir", str(tmp_path)]) == 4
    assert "chmod 600" in capsys.readouterr().err
    assert not (tmp_path / "shivya.toml").exists()
    key.chmod(0o600)
    assert main(["init", "--dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "settings": str(tmp_path / "shivya.toml"),
        "mesh_key_file": str(key),
        "mesh_key_created": False,
    }
    assert key.read_bytes() == b"k" * 32


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", "--dir", str(tmp_path / "file" / "below")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
