"""The known graph: who lists whom as a link neighbour, as far as this node was told.

A claim may be stale or false, so an edge counts only if both of its ends list it, where both are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

Graph = Mapping[bytes, Collection[bytes]]
"""Node to its link neighbours."""


def neighbours(graph: Graph, node: bytes) -> Iterator[bytes]:
    """Yield the neighbours of `node` that list it too, or of whom nothing is known."""
    for other in graph.get(node, ()):
        listed = graph.get(other)
        if listed is None or node in listed:
            yield other


def reachable(graph: Graph, own: bytes, links: Iterable[bytes]) -> set[bytes]:
    """Return the nodes that paths from `own` reach; its own edges are `links`, whatever the graph says."""
    found = {own, *links}
    waiting = list(found - {own})
    while waiting:
        for other in neighbours(graph, waiting.pop()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def detour(graph: Graph, own: bytes, links: Iterable[bytes], peer: bytes) -> bool:
    """Return whether `peer` is reached over `links`, the edges of `own` without any to it.

    Searches from both ends, the smaller frontier first, so that a short way round is found in a few steps.
    """
    near, far = set(links), {peer}
    seen_near, seen_far = near | {own}, far | {own}
    while near and far:
        if not (near.isdisjoint(seen_far) and far.isdisjoint(seen_near)):
            return True
        if len(near) <= len(far):
            near = {other for node in near for other in neighbours(graph, node)} - seen_near
            seen_near |= near
        else:
            far = {other for node in far for other in neighbours(graph, node)} - seen_far
            seen_far |= far
    return False
