"""What must hold of the links at run time; a violation is a finding, never an exception."""

from __future__ import annotations

from msgspec import Struct

from shivya_daemon.core.links.book import Book
from shivya_daemon.core.links.graph import reachable


class Violation(Struct, frozen=True):
    """One invariant that does not hold.

    `rule`: "degree_below" or "degree_above"; "asymmetric" (the peer publishes its links, and this is not
    among them); "disconnected" (no path of the known graph leads to a candidate). The first
    and the last only while nothing is being done about it.
    """

    rule: str
    node: bytes | None = None
    """The peer in question; an example where there are several."""


def check(book: Book, healing: bool, now: float) -> tuple[Violation, ...]:
    """Return the violations as far as this node knows; walks the known graph once, so not for every tick."""
    found = []
    degree = len(book.established)
    if degree < book.least and not healing:
        found.append(Violation("degree_below"))
    if degree > book.settings.max_links:
        found.append(Violation("degree_above"))
    settled = now - book.settings.settle_time
    for node, link in book.established.items():
        listed = book.graph.get(node)
        if listed is not None and book.own not in listed and link.since <= settled:
            found.append(Violation("asymmetric", node))
    part = reachable(book.graph, book.own, book.established)
    apart = next((node for node in book.graph if node not in part and node in book.candidates), None)
    if apart is not None and not healing:
        found.append(Violation("disconnected", apart))
    return tuple(found)
