"""The packages on this node, and which of them is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shivya_daemon.spirits.package import BUILT_IN, SUFFIX, BadPackage, Package, built_in, installed, read
from shivya_daemon.spirits.refused import SpiritRefused
from shivya_daemon.spirits.register import Register

FOLDER = "spirits"
"""Of the state directory, with packages."""


class Catalogue:
    """Built in, in the folder, and one that was summoned by its path; files are read when they change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._brought: Package | None = None
        self._seen: object = None
        self._packages: tuple[Package, ...] = ()
        self._refused: tuple[str, ...] = ()

    def packages(self) -> tuple[Package, ...]:
        """Return all there are."""
        self._look()
        return self._packages if self._brought is None else (*self._packages, self._brought)

    def of(self, known: Register) -> Package | None:
        """Return the package here of the spirit that is summoned: the same one, or our own of that name."""
        here = self.packages()
        same = next((package for package in here if package.digest == known.digest), None)
        if same is None and known.name in BUILT_IN:
            return next(package for package in here if package.manifest.name == known.name)
        return same

    def find(self, name: str) -> Package:
        """Return a package by its name, or by the path of its file; raises `SpiritRefused`."""
        for package in self.packages():
            if package.manifest.name == name:
                return package
        path = Path(name)
        if not path.is_absolute():
            raise SpiritRefused(f"no spirit {name[:64]!r} is installed here; see 'shivya spirit list'")
        try:
            package = read(path)
        except BadPackage as error:
            raise SpiritRefused(f"{path.name}: {error}") from None
        except OSError as error:
            raise SpiritRefused(f"{path} cannot be read: {error.strerror or error}") from None
        if any(package.manifest.name == other.manifest.name for other in self._packages):
            raise SpiritRefused(
                f"another spirit {package.manifest.name} is installed here; name it otherwise"
            )
        self._brought = package
        return package

    def rows(self, known: Register) -> list[dict[str, Any]]:
        """Return what each package says of itself."""
        return [_row(package, known) for package in self.packages()]

    @property
    def refused(self) -> tuple[str, ...]:
        """Files of the folder that are no packages, and why."""
        self._look()
        return self._refused

    def _look(self) -> None:
        refused: list[str] = []
        try:
            found = sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []
            stats = [(path.name, path.stat()) for path in found]
            seen = [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
            if seen == self._seen:
                return
            packages = installed(self.folder, lambda path, why: refused.append(f"{path.name}: {why}"))
        except OSError as error:  # the folder cannot be read, or changes just now; our own are there anyway
            seen, packages = [], [built_in(name) for name in BUILT_IN]
            refused = [f"{self.folder}: {error.strerror}"]
        self._seen, self._packages, self._refused = seen, tuple(packages), tuple(refused)


def _row(package: Package, known: Register) -> dict[str, Any]:
    said = package.manifest
    return {
        "name": said.name,
        "version": said.version,
        "author": said.author,
        "licence": said.licence,
        "tags": list(said.tags),
        "tier": said.tier,
        "price": said.price,
        "kernel": said.kernel,
        "built_in": said.name in BUILT_IN,
        "summoned": known.summoned and known.name == said.name,
        "digest": package.digest.hex(),
    }
