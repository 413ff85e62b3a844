"""What `shivya doctor` finds in the answers of a running daemon: STATUS and FACTS."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import Any

from shivya.drop_words import UNKNOWN, WORDS
from shivya.findings import Finding, Level, error, note, ok, warning
from shivya_daemon.views.words import duration, plain

_PATIENCE = 300.0  # seconds for the first compilation
_GRACE = 20.0  # seconds for peers to be found
_RULES = {
    "degree_below": ("fewer links than the least", "wait for more nodes, or see why they cannot be reached"),
    "degree_above": ("more links than the most", "report this: it should not be"),
    "asymmetric": (
        "a link that its other end does not list",
        "wait a minute; if it stays, restart that node",
    ),
    "disconnected": ("a part of the fleet has no path to here", "see links and firewalls between the parts"),
}


def check(status: dict[str, Any], facts: dict[str, Any]) -> Iterator[Finding]:
    """Judge one daemon."""
    yield ok(
        "daemon",
        f"{plain(status['name'])} answers, version {plain(status['version'])}, "
        f"up {duration(status['uptime_seconds'])}",
    )
    yield from _law(status)
    yield from (warning("status", plain(text), "see 'shivya status'") for text in status.get("status", ()))
    yield from _wire(facts)
    yield from _peers(status, facts)
    yield from _links(status, facts)
    yield from _clock(facts)
    yield from _settings(facts)
    yield from _drops(status)


def drop_rows(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every drop by reason with its rate since the daemon started, the most frequent first."""
    minutes = max(status["uptime_seconds"], 1.0) / 60
    counts = sorted(((n, word) for word, n in status.get("drops", {}).items() if n), reverse=True)
    return [
        {
            "reason": word,
            "count": count,
            "per_minute": count / minutes,
            "meaning": WORDS.get(word, UNKNOWN).meaning,
        }
        for count, word in counts
    ]


def _law(status: dict[str, Any]) -> Iterator[Finding]:
    law = status["law"]
    if law == "running":
        yield ok("law", f"running, {duration(status.get('tick_seconds_p50'))} per tick")
    elif law == "off":
        yield note("law", "switched off (no_law): jobs go to the shortest expected delay")
    elif law == "failed":
        yield error(
            "law",
            "failed; jobs go to the shortest expected delay",
            "see the daemon's log: reinstall shivya if JAX cannot be imported, allow 512 MB if its compiler"
            " was killed",
        )
    elif status["uptime_seconds"] > _PATIENCE:
        yield warning(
            "law",
            f"still starting after {duration(status['uptime_seconds'])}",
            "the first start compiles; see that the daemon gets a processor and its compile cache is kept",
        )
    else:
        yield note("law", "starting: the first start on a machine compiles for a minute or two")


def _wire(facts: dict[str, Any]) -> Iterator[Finding]:
    if facts["wire"] == "open":
        yield note("wire", "the open wire: nobody proves who he is")
    elif facts["mesh_key_file"] is None:
        yield note(
            "wire",
            "secure, without a mesh key: this host only",
            "'shivya init' makes a key; the same one goes to every node",
        )
    else:
        allowed = facts["allowed"]
        who = "all that have the mesh key" if allowed is None else f"{allowed} nodes on the allow-list"
        yield ok("wire", f"secure, open to {who}")


def _peers(status: dict[str, Any], facts: dict[str, Any]) -> Iterator[Finding]:
    seeds = facts["seeds"]
    abroad = [seed["address"] for seed in seeds if not _is_loopback(_host(seed["address"]))]
    if abroad and _is_loopback(facts["bind"]):
        yield error(
            "bind",
            f"bound to {plain(facts['bind'])}, from where {', '.join(map(plain, abroad))} cannot be reached",
            "set bind to an address of the network (0.0.0.0 is all); that takes a mesh key: 'shivya init'",
        )
    never = [plain(seed["address"]) for seed in seeds if not seed["ever"]]
    down = [plain(seed["address"]) for seed in seeds if seed["ever"] and not seed["up"]]
    remedy = (
        "see that a daemon runs there and UDP passes both ways, that it has the same mesh key, "
        "and that its allow-list names this node"
    )
    if never and status["uptime_seconds"] > _GRACE:
        level = error if len(never) == len(seeds) else warning
        yield level("peers", f"never reached: {', '.join(never)}", remedy)
    elif never:
        yield note("peers", f"not reached yet: {', '.join(never)}")
    if down:
        yield warning("peers", f"reached once, not now: {', '.join(down)}", "see that a daemon runs there")
    if not never and not down:
        of_seeds = f", all {len(seeds)} configured ones are up" if seeds else ""
        yield ok("peers", f"{facts['members']} nodes known{of_seeds}")
    names = Counter(peer["name"] for peer in status.get("peers", ()) if peer["name"])
    names[status["name"]] += 1
    shared = sorted(name for name, count in names.items() if count > 1)
    if shared:
        yield warning(
            "names", f"shared by several nodes: {', '.join(map(plain, shared))}", "give each its own --name"
        )


def _links(status: dict[str, Any], facts: dict[str, Any]) -> Iterator[Finding]:
    for violation in facts["violations"]:
        text, remedy = _RULES.get(violation["rule"], (plain(violation["rule"]), "see 'shivya links'"))
        node = f" ({plain(violation['node'])[:8]})" if violation["node"] else ""
        yield warning("links", text + node, remedy)
    tripped = [link for link in status.get("links", ()) if link.get("breaker", "closed") != "closed"]
    for link in tripped:
        yield warning(
            "links",
            f"the breaker to {plain(link['name'] or link['id'][:8])} is {plain(link['breaker'])}",
            "work sent there failed; it is tried again by itself",
        )
    if not facts["violations"] and not tripped:
        yield ok("links", f"{facts['links']['now']} of at most {facts['links']['most']}")


def _clock(facts: dict[str, Any]) -> Iterator[Finding]:
    jumps, largest = facts["clock"]["jumps"], facts["clock"]["largest_seconds"]
    if jumps:
        yield warning(
            "clock",
            f"the wall clock jumped {jumps} times, at most by {largest:+.1f} s",
            "let one service keep the time; in a virtual machine see its suspends",
        )
    else:
        yield ok("clock", "no jump since the daemon started")


def _settings(facts: dict[str, Any]) -> Iterator[Finding]:
    law = facts["law"]
    if law["stale_after"] < 3 * law["tick_interval"]:
        yield warning(
            "settings",
            f"law.stale_after {law['stale_after']:g} s is under three ticks of {law['tick_interval']:g} s",
            "a neighbour would be given up after one late heartbeat: raise law.stale_after",
        )


def _drops(status: dict[str, Any]) -> Iterator[Finding]:
    rows = drop_rows(status)
    total = sum(row["count"] for row in rows)
    if not total:
        yield ok("drops", "no datagram was dropped")
        return
    received = status.get("traffic", {}).get("datagrams_received", 0)
    yield note("drops", f"{total} datagrams, {received} received")
    for row in rows:
        word = WORDS.get(row["reason"], UNKNOWN)
        level = Level[word.level.upper()]
        if level > Level.NOTE:
            text = f"{plain(row['reason'])} {row['count']}: {word.meaning}"
            yield Finding(level, "drops", text, word.remedy)


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
