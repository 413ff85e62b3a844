"""The waiting jobs of many nodes, each queue a doubly linked list over one table of jobs.

All operations take constant time per queue, but for the search of a place by order of birth, which walks from
the middle or the end. The middle of each list is kept up to date, so that it can be handed over at once.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

COUNT, HEAD, MIDDLE, TAIL = range(4)


class Queues(NamedTuple):
    """Lists of waiting jobs; the index J means no job."""

    before: Int32[Array, "J"]
    after: Int32[Array, "J"]
    ends: Int32[Array, "M 4"]
    """Per node the number of jobs, and the first, the middle (at count // 2) and the last of them."""

    @property
    def nothing(self) -> int:
        """The index that means no job."""
        return self.before.shape[0]


def empty(places: int, jobs: int) -> Queues:
    """Queues of nobody."""
    none = jnp.full(jobs, jobs, jnp.int32)
    ends = jnp.tile(jnp.array([0, jobs, jobs, jobs], jnp.int32), (places, 1))
    return Queues(none, none, ends)


def pop(queues: Queues, which: Bool[Array, "M"]) -> tuple[Queues, Int32[Array, "M"]]:
    """Take the first job from each queue that `which` names; none of those may be empty."""
    none = queues.nothing
    count, head, middle, tail = queues.ends.T
    second = jnp.where(count > 1, queues.after.at[head].get(mode="clip"), none)
    odd = count % 2 == 1
    centre = jnp.where(odd, queues.after.at[middle].get(mode="clip"), middle)
    single = count == 1
    changed = jnp.stack(
        [count - 1, second, jnp.where(single, none, centre), jnp.where(single, none, tail)], axis=1
    )
    before = queues.before.at[jnp.where(which, second, none)].set(none, mode="drop")
    ends = jnp.where(which[:, None], changed, queues.ends)
    return queues._replace(before=before, ends=ends), jnp.where(which, head, none)


def locate(
    queues: Queues, ends: Int32[Array, "K 4"], job: Int32[Array, "K"], search: Bool[Array, "K"]
) -> tuple[Int32[Array, "K"], Int32[Array, "K"]]:
    """The job after which each one would be queued, and how many jobs would be ahead of it.

    In order of birth, that is of the index, where `search`; else at the end.
    """
    none = queues.nothing
    count, _, middle, tail = ends.T
    # The older half is reached from the middle, the younger one from the end.
    older = search & (count > 0) & (job < middle)
    here = jnp.where(older, queues.before.at[middle].get(mode="clip"), tail)
    ahead = jnp.where(older, count // 2, count)
    search = search & (count > 0)

    def passed(here: Array) -> Array:
        return search & (here != none) & (here > job)

    def walk(state: tuple[Array, Array]) -> tuple[Array, Array]:
        here, ahead = state
        on = passed(here)
        return jnp.where(on, queues.before.at[here].get(mode="clip"), here), ahead - on.astype(jnp.int32)

    return jax.lax.while_loop(lambda s: passed(s[0]).any(), walk, (here, ahead))


def change(
    queues: Queues,
    node: Int32[Array, "K"],
    ends: Int32[Array, "K 4"],
    job: Int32[Array, "K"],
    insert: Bool[Array, "K"],
    place: tuple[Int32[Array, "K"], Int32[Array, "K"]],
    remove: Bool[Array, "K"],
    middle_out: bool,
) -> tuple[Queues, Int32[Array, "K"]]:
    """Queue `job` at its `place` (from `locate`) where `insert`; take the middle or last one where `remove`.

    Returns the queues and the jobs taken out. No node may appear twice among those changed, none that gives
    may be empty, and `ends` are the nodes' rows.
    """
    none = queues.nothing
    previous, ahead = place
    count, head, middle, tail = ends.T
    even = count % 2 == 0

    # Where one is taken out, `left` and `right` close ranks; where one comes in, it stands between them.
    taken = middle if middle_out else tail
    left = jnp.where(insert, previous, queues.before.at[taken].get(mode="clip"))
    first = insert & (previous == none)
    right = jnp.where(first, head, queues.after.at[jnp.where(insert, previous, taken)].get(mode="clip"))
    active = insert | remove

    onward = jnp.where(active, left, none)
    backward = jnp.where(active, right, none)
    fresh = jnp.where(insert, job, none)
    after = queues.after.at[onward].set(jnp.where(insert, job, right), mode="drop")
    after = after.at[fresh].set(right, mode="drop")
    before = queues.before.at[backward].set(jnp.where(insert, job, left), mode="drop")
    before = before.at[fresh].set(left, mode="drop")

    to_left = before.at[middle].get(mode="clip")
    came = jnp.where(
        ahead <= count // 2,
        jnp.where(even, to_left, middle),
        jnp.where(even, middle, after.at[middle].get(mode="clip")),
    )
    came = jnp.where(count == 0, job, came)
    went = jnp.where(even, left, right) if middle_out else jnp.where(even, to_left, middle)
    went = jnp.where(count == 1, none, went)
    changed = jnp.stack(
        [
            count + jnp.where(insert, 1, -1),
            jnp.where(insert, jnp.where(first, job, head), jnp.where(left == none, right, head)),
            jnp.where(insert, came, went),
            jnp.where(insert, jnp.where(right == none, job, tail), jnp.where(right == none, left, tail)),
        ],
        axis=1,
    )
    places = queues.ends.shape[0]
    ends = queues.ends.at[jnp.where(active, node, places)].set(changed, mode="drop")
    return Queues(before, after, ends), jnp.where(remove, taken, none)
