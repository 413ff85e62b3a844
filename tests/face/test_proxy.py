from __future__ import annotations

import math
import subprocess
import sys

import jax
import pytest
from shivya import EdgeRecommendation, WorkloadMeshProxy
from shivya.proxy import DuplicateNode, UnknownEdge, UnknownNode


def triangle() -> WorkloadMeshProxy:
    proxy = WorkloadMeshProxy(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    for node, queue in (("a", 200), ("b", 20), ("c", 5)):
        proxy.record_queue_len(node, queue)
    return proxy


def test_queues_of_a_triangle_give_the_balancing_flow():
    rows = triangle().settle()
    assert [(r.source, r.target) for r in rows] == [("a", "b"), ("b", "c"), ("a", "c")]
    assert [r.rate for r in rows] == pytest.approx([60, 5, 65], abs=1e-9)


def test_rate_is_positive_from_source_to_target_whatever_way_the_edge_was_named():
    proxy = WorkloadMeshProxy(["a", "b"], [("a", "b")])
    proxy.record_queue_len("b", 10)
    proxy.record_offload("a", "b", 4.0)
    assert proxy.settle() == [
        EdgeRecommendation(
            "b", "a", rate=5.0, reported=-4.0, gradient=-4.0, curl=0.0, harmonic=0.0, balancing=5.0
        )
    ]


def test_offload_is_recorded_in_either_direction_and_the_last_call_holds():
    proxy = triangle()
    proxy.record_offload("a", "b", 1.0)
    proxy.record_offload("b", "a", 3.0)
    assert proxy.settle()[0].reported == -3.0


def test_norms_of_what_circulates():
    proxy = triangle()
    assert proxy.last_curl_norm is None
    assert proxy.last_harmonic_norm is None
    for source, target, rate in (("a", "b", 12), ("b", "c", 3), ("a", "c", 7)):
        proxy.record_offload(source, target, rate)
    rows = proxy.settle()
    assert proxy.last_curl_norm == pytest.approx(8 / math.sqrt(3))
    assert proxy.last_harmonic_norm == pytest.approx(0, abs=1e-9)
    assert [r.gradient for r in rows] == pytest.approx([28 / 3, 1 / 3, 29 / 3])


def test_capacity_sets_the_share():
    proxy = WorkloadMeshProxy(["a", "b"], [("a", "b")])
    proxy.record_queue_len("a", 9)
    proxy.record_capacity("b", 2)
    assert proxy.settle()[0].rate == pytest.approx(6)


def test_a_second_settle_compiles_nothing():
    proxy = triangle()
    first = proxy.settle()
    proxy.record_queue_len("b", 40)
    with jax.no_tracing():
        second = proxy.settle()
    assert first != second


def test_a_mesh_without_edges_recommends_nothing():
    assert WorkloadMeshProxy(["a"], []).settle() == []


def test_names_that_are_wrong_say_which():
    proxy = triangle()
    with pytest.raises(UnknownNode, match=r"^unknown node `x`$"):
        proxy.record_queue_len("x", 1)
    with pytest.raises(UnknownNode, match=r"^unknown node `x`$"):
        proxy.record_offload("a", "x", 1)
    with pytest.raises(UnknownEdge, match=r"^no offload edge between `a` and `a`$"):
        proxy.record_offload("a", "a", 1)
    with pytest.raises(UnknownNode, match="`z`"):
        WorkloadMeshProxy(["a"], [("a", "z")])
    with pytest.raises(DuplicateNode, match=r"^duplicate node `a`$"):
        WorkloadMeshProxy(["a", "a"], [])
    with pytest.raises(ValueError, match="at least one node"):
        WorkloadMeshProxy([], [])
    with pytest.raises(ValueError, match="itself"):
        WorkloadMeshProxy(["a"], [("a", "a")])
    with pytest.raises(ValueError, match="duplicate edge between `b` and `a`"):
        WorkloadMeshProxy(["a", "b"], [("a", "b"), ("b", "a")])


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_values_that_cannot_be_are_refused_and_leave_the_mesh_as_it_was(value):
    proxy = triangle()
    before = proxy.settle()
    with pytest.raises(ValueError, match="queue of `a`"):
        proxy.record_queue_len("a", value)
    with pytest.raises(ValueError, match="capacity of `a`"):
        proxy.record_capacity("a", value)
    if value != -1.0:
        with pytest.raises(ValueError, match="offload from `a` to `b`"):
            proxy.record_offload("a", "b", value)
    assert proxy.settle() == before


def test_recording_does_not_import_jax():
    program = (
        "import sys, shivya; p = shivya.WorkloadMeshProxy(['a', 'b'], [('a', 'b')]);"
        "p.record_queue_len('a', 3);"
        "assert not {'jax', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
