"""What decides, beside JAX's platform, what is traced and compiled: our sources, and the versions of JAX."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import shivya_daemon.mind
import shivya_kernels


@cache
def sources() -> str:
    """Digest the kernels and the mind as they are on disk, and the versions."""
    digest = hashlib.sha256(f"{version('jax')} {version('jaxlib')}".encode())
    for package in (shivya_kernels, shivya_daemon.mind):
        (root,) = map(Path, package.__path__)
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__} {path.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]
