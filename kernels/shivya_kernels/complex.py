"""Simplicial complexes (vertices, edges, triangles) padded to a static capacity.

Built on the host with numpy, then a PyTree of device arrays that may be traced, stacked and vmapped.

Sign convention: an edge keeps the caller's orientation tail -> head; a triangle [u < v < w] has the boundary
(v,w) - (u,w) + (u,v), each edge with the sign of its own orientation. Triangles are all 3-cliques.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8, Int32
from numpy.typing import NDArray

from shivya_kernels.cliques import Cliques, boundary_rank, cliques, components
from shivya_kernels.multigrid import Hierarchy

NO_VERTEX = -1
"""The vertex index that means "none" (or "myself", for a next hop)."""

Scalar = TypeVar("Scalar", bound=np.generic)


class DimensionMismatch(ValueError):
    """An array does not have the length that the complex asks for."""


class CapacityExceeded(ValueError):
    """More vertices, edges or triangles than the capacity holds."""


class UnknownVertex(ValueError):
    """An edge names a vertex that does not exist."""


@dataclass(frozen=True)
class Capacity:
    """Static array sizes: what is padded to, and what a compiled program is keyed by."""

    vertices: int
    edges: int
    triangles: int
    beliefs: int = 8
    program: int = 32

    def __post_init__(self) -> None:
        if self.vertices < 1 or min(self.edges, self.triangles, self.beliefs, self.program) < 0:
            raise DimensionMismatch(f"a capacity needs at least one vertex and no negative size, got {self}")
        if self.triangles and not self.edges:
            raise DimensionMismatch(f"a capacity with triangles needs edges, got {self}")


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SimplicialComplex:
    """A complex padded to a capacity. All fields are arrays; counts are read from the masks, on the host."""

    tail: Int32[Array, "E"]
    head: Int32[Array, "E"]
    edge_mask: Bool[Array, "E"]
    triangle_vertices: Int32[Array, "T 3"]
    triangle_edges: Int32[Array, "T 3"]
    triangle_signs: Int8[Array, "T 3"]
    triangle_mask: Bool[Array, "T"]
    vertex_mask: Bool[Array, "V"]
    component: Int32[Array, "V"]
    green: Float[Array, "E E"] | None = None
    """Inverse of the edge Laplacian off its kernel, where `prefactor` has put it."""
    hierarchy: Hierarchy | None = None
    """Coarser graphs that precondition the vertex Laplacian, where `prefactor` has put them."""

    @classmethod
    def from_edges(
        cls,
        num_vertices: int,
        edges: Sequence[tuple[int, int]] | NDArray[np.integer],
        capacity: Capacity | None = None,
        active: Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> SimplicialComplex:
        """Build the clique complex of a graph on the host.

        `edges` [e, 2] keep their order and orientation. `capacity` pads the arrays (None: tight).
        `active` [num_vertices] says which vertices exist (None: all), for slots that stay put when others go.

        Raises UnknownVertex, CapacityExceeded, DimensionMismatch; ValueError for self loops and duplicates.
        """
        pairs = _edge_array(edges)
        mask = _active_array(num_vertices, active)
        _check_edges(pairs, mask)
        return _assemble(num_vertices, pairs, mask, cliques(pairs), capacity)

    def with_edges(
        self,
        added: Sequence[tuple[int, int]] | NDArray[np.integer] = (),
        removed: Sequence[tuple[int, int]] | NDArray[np.integer] = (),
        active: Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> SimplicialComplex:
        """The complex after some edges came and others went, at the same capacity. Host side.

        Equal to `from_edges` on the edges that stay, in their order, followed by `added`; only triangles at
        added edges are searched for. `removed` edges are named in either direction. `active` [capacity] says
        which vertices exist from now on (None: as before). What `prefactor` prepared is dropped.

        Raises as `from_edges`, and UnknownVertex for a removed edge that is not there.
        """
        size = Capacity(len(self.vertex_mask), len(self.edge_mask), len(self.triangle_mask))
        mask = np.asarray(self.vertex_mask) if active is None else _active_array(size.vertices, active)
        old, gone = (
            np.stack([np.asarray(self.tail), np.asarray(self.head)], 1).astype(np.int64),
            _edge_array(removed),
        )
        keys = old.min(axis=1) * size.vertices + old.max(axis=1)
        dropped = np.asarray(self.edge_mask) & np.isin(
            keys, gone.min(axis=1) * size.vertices + gone.max(axis=1)
        )
        if np.count_nonzero(dropped) != len(gone):
            raise UnknownVertex(f"{len(gone)} edges to remove, but {np.count_nonzero(dropped)} of them exist")
        kept = np.asarray(self.edge_mask) & ~dropped
        pairs = np.concatenate([old[kept], _edge_array(added)])
        _check_edges(pairs, mask)
        found = cliques(pairs, int(np.count_nonzero(kept)))
        rows, place = np.asarray(self.triangle_edges), np.cumsum(kept) - 1
        stay = np.flatnonzero(self.triangle_mask)
        stay = stay[kept[rows[stay]].all(axis=1)]
        together = Cliques(
            np.concatenate([np.asarray(self.triangle_vertices)[stay], found.vertices]),
            np.concatenate([place[rows[stay]].astype(np.int32), found.edges]),
            np.concatenate([np.asarray(self.triangle_signs)[stay], found.signs]),
        )
        order = np.lexsort(together.vertices.T[::-1])
        together = Cliques(together.vertices[order], together.edges[order], together.signs[order])
        return _assemble(size.vertices, pairs, mask, together, size)

    @property
    def edges(self) -> NDArray[np.int32]:
        """The edges in use [e, 2] as (tail, head), in the caller's order. Host side."""
        pairs: NDArray[np.int32] = np.stack([np.asarray(self.tail), np.asarray(self.head)], axis=1)
        used: NDArray[np.int32] = pairs[np.asarray(self.edge_mask)]
        return used

    @property
    def triangles(self) -> NDArray[np.int32]:
        """The triangles in use [t, 3], each u < v < w, sorted. Host side."""
        rows: NDArray[np.int32] = np.asarray(self.triangle_vertices)[np.asarray(self.triangle_mask)]
        return rows

    @property
    def num_vertices(self) -> int:
        """How many vertices exist. Host side."""
        return int(np.count_nonzero(np.asarray(self.vertex_mask)))

    @property
    def num_edges(self) -> int:
        """How many edges are in use. Host side."""
        return int(np.count_nonzero(np.asarray(self.edge_mask)))

    @property
    def num_triangles(self) -> int:
        """How many triangles are in use. Host side."""
        return int(np.count_nonzero(np.asarray(self.triangle_mask)))

    @property
    def betti(self) -> tuple[int, int]:
        """(b0, b1): connected components, and independent cycles that no triangles fill. Host side."""
        labels = np.asarray(self.component)[np.asarray(self.vertex_mask)]
        b0 = len(np.unique(labels))
        kept = np.asarray(self.triangle_mask)
        rank = boundary_rank(np.asarray(self.triangle_edges)[kept], np.asarray(self.triangle_signs)[kept])
        return b0, self.num_edges - self.num_vertices + b0 - rank


def component_labels(
    tail: Int[Array, "E"], head: Int[Array, "E"], edge_mask: Bool[Array, "E"], num_vertices: int
) -> Int32[Array, "V"]:
    """The smallest vertex index of each vertex's component, over the masked edges. Traceable.

    Minimum labels hooked along edges with pointer jumping (Shiloach and Vishkin 1982): O(log V) rounds on
    most graphs, in place of the host's union-find when masks change inside a compiled call.
    """

    def relax(state: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, _ = state
        low = jnp.where(edge_mask, jnp.minimum(labels[tail], labels[head]), num_vertices)
        better = labels.at[tail].min(low).at[head].min(low)
        better = better[better]
        return better, jnp.any(better != labels)

    start = jnp.arange(num_vertices, dtype=jnp.int32)
    labels, _ = jax.lax.while_loop(lambda state: state[1], relax, (start, jnp.array(True)))
    return labels


def restrict(
    c: SimplicialComplex, vertices: Bool[Array, "V"] | None = None, edges: Bool[Array, "E"] | None = None
) -> SimplicialComplex:
    """The subcomplex on the vertices and edges kept: masks and components change, shapes do not. Traceable.

    An edge stays when it is kept and both its ends stay, a triangle when its three edges stay. What
    `prefactor` prepared does not hold for a subcomplex and is dropped.
    """
    vertex_mask = c.vertex_mask if vertices is None else c.vertex_mask & vertices
    edge_mask = c.edge_mask & vertex_mask[c.tail] & vertex_mask[c.head]
    edge_mask = edge_mask if edges is None else edge_mask & edges
    triangle_mask = c.triangle_mask
    if c.triangle_mask.shape[0]:
        triangle_mask = triangle_mask & edge_mask[c.triangle_edges].all(axis=1)
    return replace(
        c,
        edge_mask=edge_mask,
        triangle_signs=jnp.where(triangle_mask[:, None], c.triangle_signs, 0).astype(jnp.int8),
        triangle_mask=triangle_mask,
        vertex_mask=vertex_mask,
        component=component_labels(c.tail, c.head, edge_mask, c.vertex_mask.shape[0]),
        green=None,
        hierarchy=None,
    )


def _edge_array(edges: Sequence[tuple[int, int]] | NDArray[np.integer]) -> NDArray[np.int64]:
    try:
        pairs = np.asarray(edges)
    except ValueError as error:
        raise DimensionMismatch(
            "edges must be pairs of vertex indices, got rows of different length"
        ) from error
    if pairs.size == 0:
        return np.zeros((0, 2), np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise DimensionMismatch(f"edges must be integers [e, 2], got {pairs.dtype} {list(pairs.shape)}")
    return pairs.astype(np.int64)


def _active_array(num_vertices: int, active: Sequence[bool] | NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if num_vertices < 1:
        raise DimensionMismatch(f"a complex needs at least one vertex, got {num_vertices}")
    mask = np.ones(num_vertices, np.bool_) if active is None else np.array(active, np.bool_)
    if mask.shape != (num_vertices,):
        raise DimensionMismatch(
            f"active has shape {list(mask.shape)}, the complex has {num_vertices} vertices"
        )
    return mask


def _check_edges(pairs: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
    n = len(mask)
    outside = pairs[((pairs < 0) | (pairs >= n)).any(axis=1)]
    if len(outside):
        raise UnknownVertex(
            f"{len(outside)} edges name vertices outside 0..{n - 1}, first {tuple(outside[0].tolist())}"
        )
    absent = pairs[~mask[pairs].all(axis=1)]
    if len(absent):
        raise UnknownVertex(f"{len(absent)} edges name inactive vertices, first {tuple(absent[0].tolist())}")
    loops = pairs[pairs[:, 0] == pairs[:, 1]]
    if len(loops):
        raise ValueError(
            f"{len(loops)} self loops, first at vertex {loops[0, 0]}; an edge joins two vertices"
        )
    keys = pairs.min(axis=1) * n + pairs.max(axis=1)
    ordered = np.sort(keys)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        u, v = divmod(int(repeated[0]), n)
        raise ValueError(
            f"{len(repeated)} duplicate edges (either direction counts), first ({u}, {v}); merge them"
        )


def _check_capacity(size: Capacity, vertices: int, edges: int, triangles: int) -> None:
    for name, count, limit in (
        ("vertices", vertices, size.vertices),
        ("edges", edges, size.edges),
        ("triangles", triangles, size.triangles),
    ):
        if count > limit:
            raise CapacityExceeded(f"{count} {name} exceed the capacity of {limit}; raise Capacity.{name}")


def _assemble(
    num_vertices: int,
    pairs: NDArray[np.int64],
    mask: NDArray[np.bool_],
    found: Cliques,
    capacity: Capacity | None,
) -> SimplicialComplex:
    """Check the counts against the capacity, pad, and move to the device."""
    size = capacity or Capacity(num_vertices, len(pairs), len(found.vertices))
    _check_capacity(size, num_vertices, len(pairs), len(found.vertices))
    fields = (
        _pad(pairs[:, 0].astype(np.int32), size.edges),
        _pad(pairs[:, 1].astype(np.int32), size.edges),
        np.arange(size.edges) < len(pairs),
        _pad(found.vertices, size.triangles),
        _pad(found.edges, size.triangles),
        _pad(found.signs, size.triangles),
        np.arange(size.triangles) < len(found.vertices),
        _pad(mask, size.vertices),
        components(size.vertices, pairs),
    )
    return SimplicialComplex(*jax.device_put(fields))


def _pad(rows: NDArray[Scalar], length: int) -> NDArray[Scalar]:
    padded = np.zeros((length, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return padded
