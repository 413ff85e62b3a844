"""The linked queues against plain lists, operation by operation."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from shivya_kernels.fleet import queues

PLACES, JOBS, LANES = 5, 60, 3


@pytest.mark.parametrize("by_birth", [True, False])
def test_queues_do_what_lists_do(by_birth: bool) -> None:
    """Pop the first; insert by birth or at the end; take the middle or the last; in any order."""
    rng = np.random.default_rng(7)
    state = queues.empty(PLACES, JOBS)
    lists: list[list[int]] = [[] for _ in range(PLACES)]
    free = rng.permutation(JOBS).tolist()
    pop, locate = jax.jit(queues.pop), jax.jit(queues.locate)
    change = jax.jit(queues.change, static_argnums=7)
    for _ in range(600):
        if rng.random() < 0.25:
            which = np.array([bool(q) and rng.random() < 0.4 for q in lists])
            state, jobs = pop(state, which)
            for i, (q, job) in enumerate(zip(lists, jobs.tolist(), strict=True)):
                assert job == (q[0] if which[i] else JOBS)
                free += [q.pop(0)] if which[i] else []
            continue
        nodes = rng.permutation(PLACES)[:LANES].astype(np.int32)
        job = np.full(LANES, JOBS, np.int32)
        insert, remove = np.zeros((2, LANES), bool)
        for k, i in enumerate(nodes):
            insert[k] = bool(free) and rng.random() < 0.5
            remove[k] = not insert[k] and bool(lists[i]) and rng.random() < 0.6
            job[k] = free.pop() if insert[k] else JOBS
        ends = state.ends[nodes]
        place = locate(state, ends, job, insert & by_birth)
        state, taken = change(state, nodes, ends, job, insert, place, remove, by_birth)
        for k, i in enumerate(nodes):
            q = lists[i]
            if insert[k]:
                ahead = sum(other < job[k] for other in q) if by_birth else len(q)
                assert int(place[1][k]) == ahead
                q.insert(ahead, int(job[k]))
            if remove[k]:
                expected = q.pop(len(q) // 2 if by_birth else -1)
                assert int(taken[k]) == expected
                free.append(expected)
        for row, q in zip(np.asarray(state.ends), lists, strict=True):
            assert row.tolist() == [len(q), *([q[0], q[len(q) // 2], q[-1]] if q else [JOBS] * 3)]
