"""Which package is meant: built in, in the folder, by its path, or not here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shivya_daemon.spirits.catalogue import Catalogue
from shivya_daemon.spirits.package import Package, pack, read
from shivya_daemon.spirits.refused import SpiritRefused
from shivya_daemon.spirits.register import Register
from shivya_daemon.spirits.settings import Settings

A = b"a" * 20


def lantern(folder: Path, name: str = "lantern") -> bytes:
    source = folder / f"source-{name}"
    source.mkdir()
    manifest = {
        "spirit": 1, "name": name, "version": "1.0.0", "author": "Ada Example", "licence": "MIT", "tags": [],
        "tier": "free", "price": 0, "entry": "index.html", "kernel": "none", "settings": {},
        "permissions": {"network": "read", "compute": "minimal", "display": "required"},
    }  # fmt: skip
    (source / "manifest.json").write_text(json.dumps(manifest))
    (source / "index.html").write_text("<!doctype html><title>Lantern</title>")
    return pack(source)


def register(package: Package) -> Register:
    return Register().summon(A, package.manifest.name, package.digest, Settings())


def test_the_folder_is_read_when_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "spirits"
    catalogue = Catalogue(folder)
    assert [package.manifest.name for package in catalogue.packages()] == ["physarum"]
    folder.mkdir()
    (folder / "lantern.spirit").write_bytes(lantern(tmp_path))
    (folder / "other.spirit").write_bytes(b"no zip")
    assert [package.manifest.name for package in catalogue.packages()] == ["physarum", "lantern"]
    assert len(catalogue.refused) == 1 and catalogue.refused[0].startswith("other.spirit: ")
    found = catalogue.find("lantern")
    (row,) = (row for row in catalogue.rows(register(found)) if row["summoned"])
    assert row["name"] == "lantern" and row["kernel"] == "none" and not row["built_in"]


def test_a_path_brings_a_package_and_names_stay_single(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "spirits")
    with pytest.raises(SpiritRefused, match="no spirit 'lantern' is installed here"):
        catalogue.find("lantern")
    with pytest.raises(SpiritRefused, match="cannot be read"):
        catalogue.find(str(tmp_path / "absent.spirit"))
    (tmp_path / "bad.spirit").write_bytes(b"no zip")
    with pytest.raises(SpiritRefused, match=r"bad.spirit: "):
        catalogue.find(str(tmp_path / "bad.spirit"))
    (tmp_path / "mine.spirit").write_bytes(lantern(tmp_path, "physarum"))
    with pytest.raises(SpiritRefused, match="another spirit physarum"):
        catalogue.find(str(tmp_path / "mine.spirit"))
    (tmp_path / "lantern.spirit").write_bytes(lantern(tmp_path))
    found = catalogue.find(str(tmp_path / "lantern.spirit"))
    assert catalogue.of(register(found)) is found


def test_another_version_of_the_built_in_one_lives_as_ours(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    (ours,) = catalogue.packages()
    theirs = Register().summon(A, "physarum", bytes(32), Settings())
    assert catalogue.of(theirs) is ours
    assert catalogue.of(register(read(lantern(tmp_path)))) is None


def test_a_folder_that_cannot_be_read_leaves_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", fail)
    catalogue = Catalogue(tmp_path)
    assert [package.manifest.name for package in catalogue.packages()] == ["physarum"]
    assert "Permission denied" in catalogue.refused[0]
