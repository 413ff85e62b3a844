"""How a person looks at the screen: the page, the filter, whether it stands still. A key in, a view out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shivya_daemon.views.keys import ENTER, ERASE, ESCAPE, TAB

PAGES = ("all", "cells", "links", "flows", "guard", "traffic")
MAX_FILTER = 32


@dataclass(frozen=True)
class View:
    """What the keys have chosen."""

    page: str = PAGES[0]
    filter: str = ""
    """Only rows with this in one of their names are shown."""
    typing: bool = False
    """Whether keys go into the filter."""
    paused: bool = False
    help: bool = False
    keys: bool = False
    """Whether there are keys at all."""
    owner: bool = False
    """Whether to leave is to stop the node: then it takes a second `q`."""
    leaving: bool = False
    done: bool = False


def press(view: View, key: str) -> View:
    """Return the view after one key."""
    if view.typing:
        return _type(view, key)
    if view.leaving:
        return replace(view, leaving=False, done=key == "q")
    if view.help and key in ("q", ESCAPE):
        return replace(view, help=False)
    match key:
        case "q":
            return replace(view, leaving=view.owner, done=not view.owner)
        case "?":
            return replace(view, help=not view.help)
        case "/":
            return replace(view, typing=True, help=False)
        case "p":
            return replace(view, paused=not view.paused)
        case _ if key == TAB:
            return replace(view, page=PAGES[(PAGES.index(view.page) + 1) % len(PAGES)], help=False)
        case _ if key == ESCAPE:
            return replace(view, page=PAGES[0], filter="", help=False)
    return view


def _type(view: View, key: str) -> View:
    if key == ENTER:
        return replace(view, typing=False)
    if key == ESCAPE:
        return replace(view, typing=False, filter="")
    if key == ERASE:
        return replace(view, filter=view.filter[:-1])
    if len(key) == 1:
        return replace(view, filter=(view.filter + key)[:MAX_FILTER])
    return view
