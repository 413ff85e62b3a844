"""The array sizes of the law, known before JAX is imported: they decide what is compiled, and about bits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SIZES: Mapping[str, int] = MappingProxyType(
    {"vertices": 64, "edges": 256, "triangles": 512, "beliefs": 8, "program": 32}
)
"""By field of `shivya_kernels.complex.Capacity`."""
