"""Shivya: a consensus-free load-sharing mesh for edge fleets.

The public names are imported on first use, so that ``import shivya`` costs nothing and never pulls in JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from shivya.version import __version__

if TYPE_CHECKING:
    from shivya import experiments as experiments
    from shivya.client import Client as Client
    from shivya.client import Peer as Peer
    from shivya.leasing import Lease as Lease
    from shivya.leasing import LeaseRefused as LeaseRefused
    from shivya.proxy import EdgeRecommendation as EdgeRecommendation
    from shivya.proxy import WorkloadMeshProxy as WorkloadMeshProxy

_EXPORTS = {
    "Client": "shivya.client",
    "EdgeRecommendation": "shivya.proxy",
    "Lease": "shivya.leasing",
    "LeaseRefused": "shivya.leasing",
    "Peer": "shivya.client",
    "WorkloadMeshProxy": "shivya.proxy",
}

__all__ = [
    "Client",
    "EdgeRecommendation",
    "Lease",
    "LeaseRefused",
    "Peer",
    "WorkloadMeshProxy",
    "__version__",
    "experiments",
]


def __getattr__(name: str) -> Any:
    if name == "experiments":
        return importlib.import_module("shivya.experiments")
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'shivya' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
