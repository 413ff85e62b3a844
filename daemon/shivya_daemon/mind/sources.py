"""What decides, beside JAX's platform, what is traced and compiled: our sources, and the versions of JAX."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import shivya_daemon.mind
import shivya_daemon.verdict
import shivya_kernels


@cache
def sources() -> str:
    """Digest the program and the versions."""
    return _short(hashlib.sha256(f"{version('jax')} {version('jaxlib')} {program()}".encode()))


@cache
def program() -> str:
    """Digest the kernels, the mind and the verdict as they are on disk, whatever the versions."""
    digest = hashlib.sha256(Path(shivya_daemon.verdict.__file__).read_bytes())
    for package in (shivya_kernels, shivya_daemon.mind):
        (root,) = map(Path, package.__path__)
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__} {path.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return _short(digest)


def _short(digest: hashlib._Hash) -> str:
    return digest.hexdigest()[:32]
