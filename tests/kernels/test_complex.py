"""Building complexes: order, orientation, triangles, errors, holes, and what traces."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from shivya_kernels.complex import (
    Capacity,
    CapacityExceeded,
    DimensionMismatch,
    SimplicialComplex,
    UnknownVertex,
    component_labels,
    restrict,
)
from shivya_kernels.padding import lengths

BOWTIE = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4)]


@st.composite
def graphs(draw: st.DrawFn, most: int = 9) -> tuple[int, list[tuple[int, int]]]:
    n = draw(st.integers(1, most))
    pairs = list(combinations(range(n), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return n, [(v, u) if draw(st.booleans()) else (u, v) for u, v in chosen]


def test_golden_complexes_have_their_triangles_and_betti_numbers(golden: Path) -> None:
    for name, case in json.loads((golden / "hodge.json").read_text()).items():
        c = SimplicialComplex.from_edges(case["n"], case["edges"])
        assert c.triangles.tolist() == case["triangles"], name
        assert list(c.betti) == case["betti"], name
        assert c.edges.tolist() == case["edges"], name


@given(graphs())
def test_builder_agrees_with_brute_force(graph: tuple[int, list[tuple[int, int]]]) -> None:
    n, edges = graph
    c = SimplicialComplex.from_edges(n, edges)
    joined = {frozenset(edge) for edge in edges}
    cliques = [
        t for t in combinations(range(n), 3) if all(frozenset(p) in joined for p in combinations(t, 2))
    ]
    assert [tuple(t) for t in c.triangles.tolist()] == cliques
    assert [tuple(e) for e in c.edges.tolist()] == edges
    d0 = np.zeros((len(edges), n))
    for i, (u, v) in enumerate(edges):
        d0[i, u], d0[i, v] = -1, 1
    d1 = np.zeros((len(cliques), len(edges)))
    for row, ids, signs in zip(d1, np.asarray(c.triangle_edges), np.asarray(c.triangle_signs), strict=True):
        row[ids] = signs
    assert not (d1 @ d0).any()
    b0 = n - (np.linalg.matrix_rank(d0) if edges else 0)
    b1 = len(edges) - (n - b0) - (np.linalg.matrix_rank(d1) if cliques else 0)
    assert c.betti == (b0, b1)


@given(graphs())
@settings(max_examples=20, deadline=None)
def test_traced_components_agree_with_the_builders(graph: tuple[int, list[tuple[int, int]]]) -> None:
    c = SimplicialComplex.from_edges(*graph, capacity=Capacity(9, 36, 84))
    assert_array_equal(component_labels(c.tail, c.head, c.edge_mask, 9), c.component)


def test_signs_follow_the_boundary_of_the_sorted_triangle() -> None:
    c = SimplicialComplex.from_edges(3, [(1, 0), (1, 2), (2, 0)])
    assert_array_equal(c.triangle_edges, [[1, 2, 0]])
    assert_array_equal(c.triangle_signs, [[1, 1, -1]])


def test_padding_is_gather_safe_and_silent() -> None:
    c = SimplicialComplex.from_edges(5, BOWTIE, Capacity(8, 10, 6))
    assert (c.num_vertices, c.num_edges, c.num_triangles) == (5, 6, 2)
    assert int(c.tail.max()) < 8 and int(c.triangle_edges.max()) < 10
    assert not np.asarray(c.triangle_signs)[2:].any()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((3, [(0, 3)]), UnknownVertex, r"1 edges name vertices outside 0\.\.2, first \(0, 3\)"),
        ((3, [(-1, 0)]), UnknownVertex, "outside"),
        ((3, [(0, 1)], None, [True, False, True]), UnknownVertex, "inactive"),
        ((3, [(1, 1)]), ValueError, "self loop"),
        ((3, [(0, 1), (1, 0)]), ValueError, r"1 duplicate edges .* \(0, 1\)"),
        ((3, [(0, 1, 2)]), DimensionMismatch, r"\[e, 2\]"),
        ((3, [(0, 1), (1,)]), DimensionMismatch, "pairs"),
        ((3, [(0.5, 1.0)]), DimensionMismatch, "integers"),
        ((0, []), DimensionMismatch, "at least one vertex"),
        ((3, [], None, [True]), DimensionMismatch, "3 vertices"),
        ((5, BOWTIE, Capacity(4, 10, 10)), CapacityExceeded, "5 vertices exceed the capacity of 4"),
        ((5, BOWTIE, Capacity(5, 5, 10)), CapacityExceeded, "6 edges exceed the capacity of 5"),
        ((5, BOWTIE, Capacity(5, 6, 1)), CapacityExceeded, "2 triangles exceed the capacity of 1"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(arguments: tuple, error: type[ValueError], text: str) -> None:
    with pytest.raises(error, match=text):
        SimplicialComplex.from_edges(*arguments)


def test_slots_may_have_holes() -> None:
    active = [True, False, False, True, False, True]
    c = SimplicialComplex.from_edges(6, [(0, 3), (3, 5), (0, 5)], Capacity(8, 8, 8), active)
    assert c.num_vertices == 3
    assert c.betti == (1, 0)
    assert c.triangles.tolist() == [[0, 3, 5]]


def test_restricting_equals_building_the_smaller_complex() -> None:
    size = Capacity(6, 8, 4)
    c = SimplicialComplex.from_edges(5, BOWTIE, size)
    kept = np.array([True, True, True, False, True, False])
    small = jax.jit(restrict)(c, jnp.asarray(kept))
    built = SimplicialComplex.from_edges(5, [(0, 1), (1, 2), (0, 2), (2, 4)], size, kept[:5])
    assert small.edges.tolist() == built.edges.tolist()
    assert small.triangles.tolist() == built.triangles.tolist()
    assert_array_equal(small.component[kept], built.component[kept])
    cut = restrict(c, edges=jnp.asarray([True, True, True, False, True, False, True, True]))
    assert (cut.num_edges, cut.num_triangles, cut.betti) == (4, 1, (2, 0))


@given(graphs(), st.data())
@settings(deadline=None)
def test_changing_edges_equals_building_anew(
    graph: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    n, edges = graph
    removed = data.draw(st.lists(st.sampled_from(edges), unique=True)) if edges else []
    stay = [edge for edge in edges if edge not in removed]
    absent = [p for p in combinations(range(n), 2) if p not in stay and p[::-1] not in stay]
    added = data.draw(st.lists(st.sampled_from(absent), unique=True)) if absent else []
    size = Capacity(9, 36, 84)
    changed = SimplicialComplex.from_edges(n, edges, size, [True] * n).with_edges(
        added, [e[::-1] for e in removed]
    )
    built = SimplicialComplex.from_edges(n, stay + added, size)
    for one, other in zip(jax.tree.leaves(changed), jax.tree.leaves(built), strict=True):
        assert_array_equal(one, other)


def test_changing_edges_of_a_restricted_complex() -> None:
    c = SimplicialComplex.from_edges(5, BOWTIE, Capacity(6, 8, 4))
    part = restrict(c, vertices=jnp.array([True, True, True, False, True, False]))
    changed = part.with_edges([(4, 0), (5, 4)], [(1, 0)], [True] * 3 + [False] + [True] * 2)
    assert changed.edges.tolist() == [[1, 2], [0, 2], [2, 4], [4, 0], [5, 4]]
    assert changed.triangles.tolist() == [[0, 2, 4]]
    assert_array_equal(np.asarray(changed.triangle_edges)[0], [2, 3, 1])
    with pytest.raises(UnknownVertex, match="1 edges to remove, but 0 of them exist"):
        part.with_edges(removed=[(2, 3)])
    with pytest.raises(ValueError, match="duplicate"):
        part.with_edges([(2, 1)])


def test_complexes_are_pytrees_that_trace_and_stack() -> None:
    size = Capacity(6, 8, 4)
    pair = [SimplicialComplex.from_edges(n, edges, size) for n, edges in ((5, BOWTIE), (3, [(0, 1)]))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pair)
    assert_array_equal(jax.vmap(lambda c: jnp.sum(c.edge_mask))(stacked), [6, 1])
    assert len(jax.tree.leaves(pair[0])) == 9


def test_unpadded_lengths_are_recognised_and_wrong_ones_refused() -> None:
    c = SimplicialComplex.from_edges(5, BOWTIE, Capacity(8, 10, 6))
    assert lengths(c, edges=[jnp.zeros(10)]) == (8, 10, 6)
    assert lengths(c, edges=[jnp.zeros(6)]) == (5, 6, 2)
    assert lengths(c, vertices=[jnp.zeros(7)]) == (7, 6, 2)
    for length in (5, 11):
        with pytest.raises(DimensionMismatch, match=rf"over edges of length 6 to 10, got shape \[{length}\]"):
            lengths(c, edges=[jnp.zeros(length)])


def test_ten_thousand_vertices_build() -> None:
    side = 100
    grid = [(i * side + j, i * side + j + 1) for i in range(side) for j in range(side - 1)]
    grid += [(i * side + j, (i + 1) * side + j) for i in range(side - 1) for j in range(side)]
    grid += [(i * side + j, (i + 1) * side + j + 1) for i in range(side - 1) for j in range(side - 1)]
    c = SimplicialComplex.from_edges(side * side, grid)
    assert c.num_triangles == 2 * (side - 1) ** 2
    assert c.betti == (1, 0)
