"""Vectors of a padded complex may be passed unpadded: which lengths go in, which come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from shivya_kernels.complex import DimensionMismatch, SimplicialComplex


class Lengths(NamedTuple):
    """How long results over each kind of cell are to be. Static: part of what a compiled call is keyed by."""

    vertices: int
    edges: int
    triangles: int


def lengths(c: SimplicialComplex, *, vertices: Sequence[Array] = (), edges: Sequence[Array] = ()) -> Lengths:
    """The lengths of the results, from the vectors over vertices and over edges that were passed.

    A result has the length that was passed for its own kind of cell. If any vector came unpadded, the other
    kinds come unpadded too, unless the complex is traced and its counts are unknown: then at capacity.

    Raises DimensionMismatch for a vector longer than the capacity or shorter than what is in use.
    """
    capacity = Lengths(c.vertex_mask.shape[0], c.edge_mask.shape[0], c.triangle_mask.shape[0])
    passed = [("vertices", v.shape, capacity.vertices) for v in vertices]
    passed += [("edges", e.shape, capacity.edges) for e in edges]
    if all(shape == (limit,) for _, shape, limit in passed):
        return capacity
    traced = isinstance(c.vertex_mask, jax.core.Tracer)
    used = capacity if traced else Lengths(*map(_extent, (c.vertex_mask, c.edge_mask, c.triangle_mask)))
    for name, shape, limit in passed:
        least = 0 if traced else getattr(used, name)
        if len(shape) != 1 or not least <= shape[0] <= limit:
            raise DimensionMismatch(
                f"expected a vector over {name} of length {least} to {limit}, got shape {list(shape)}"
            )
    return Lengths(
        vertices[0].shape[0] if vertices else used.vertices,
        edges[0].shape[0] if edges else used.edges,
        used.triangles,
    )


def _extent(mask: Array) -> int:
    """One past the last index in use."""
    return int(np.flatnonzero(np.asarray(mask)).max(initial=-1)) + 1
