"""Plain aligned text for the commands that a person or a script reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shivya_daemon.views.words import duration, health, number, plain, purse


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Align `rows` under `heads`: the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    lines = (
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    )
    return "\n".join(lines) + "\n"


def status_text(status: dict[str, Any]) -> str:
    """Return a node's STATUS object as a screen of text, its health first."""
    law, remedies = plain(status.get("law", "unknown")), [plain(text) for text in status.get("status", ())]
    facts = [
        ("health", health(law, remedies)),
        ("node", f"{plain(status['name'])} {plain(status['node_id'])}"),
        ("address", plain(status.get("address") or f"port {status.get('port')}")),
        ("version", f"{plain(status.get('version', 'unknown'))}, up {duration(status['uptime_seconds'])}"),
        ("law", f"{law}, tick {status['tick']}, {duration(status.get('tick_seconds_p50'))} per tick"),
        ("free energy", number(status.get("collective_free_energy"))),
        ("circulation", f"curl {number(status['curl_norm'])}, harmonic {number(status['harmonic_norm'])}"),
        ("drops", ", ".join(f"{plain(k)} {n}" for k, n in status.get("drops", {}).items() if n) or "none"),
    ]
    if isinstance(guard := status.get("guard"), dict):
        out = sum(peer["state"] == "quarantined" for peer in guard["peers"])
        facts.insert(-1, ("guard", f"{plain(guard['action'])}, threat {guard['threat']:.2f}, {out} kept out"))
    if isinstance(credits := status.get("credits"), dict):
        facts.insert(-1, ("credits", purse(credits)))
    parts = ["".join(f"{key:<12}{value}\n" for key, value in facts)]
    if remedies:
        parts.append("".join(f"remedy: {text}\n" for text in remedies))
    parts += [cells_text(status.get("cells", ())), peers_text(status), flows_text(status.get("flows", ()))]
    return "\n".join(parts)


def cells_text(cells: Sequence[dict[str, Any]]) -> str:
    """Return the cells of a node, one a line."""
    if not cells:
        return "no cells\n"
    rows = [
        (
            plain(cell.get("service", cell["id"]), 32),
            number(cell["queue"]),
            number(cell.get("servers")),
            number(cell.get("service_rate")),
            number(cell.get("arrival_rate")),
            duration(cell.get("waiting_seconds")),
            duration(cell.get("potential_seconds")),
        )
        for cell in cells
    ]
    return table(("SERVICE", "QUEUE", "SERVERS", "RATE/S", "ARRIVALS/S", "WAITING", "POTENTIAL"), rows)


def peers_text(status: dict[str, Any]) -> str:
    """Return the peers of a node, one a line, with the conductance of those that are linked."""
    peers = status.get("peers", ())
    if not peers:
        return "no peers; name one with 'shivya daemon --peer HOST:PORT'\n"
    conductance = {link["id"]: link.get("conductance") for link in status.get("links", ())}
    rows = [
        (
            plain(peer["name"], 32),
            plain(peer["id"], 40)[:8],
            plain(peer["address"], 48),
            duration(peer.get("rtt_seconds")),
            duration(peer.get("age_seconds")),
            number(peer.get("queue")),
            number(peer.get("service_rate")),
            number(conductance.get(peer["id"])),
        )
        for peer in peers
    ]
    return table(("PEER", "ID", "ADDRESS", "RTT", "AGE", "QUEUE", "RATE/S", "CONDUCTANCE"), rows, left=3)


def links_text(status: dict[str, Any]) -> str:
    """Return the links of a node, one a line."""
    links = status.get("links", ())
    if not links:
        return "no links; nodes link by themselves once they know of each other: see 'shivya peers'\n"
    rows = [
        (
            plain(link["name"] or "-", 32),
            plain(link["id"], 40)[:8],
            plain(link["state"], 16),
            plain(link["breaker"], 16),
            duration(link["rtt_seconds"]),
            _bandwidth(link["bandwidth"]),
            number(link["thickness"]),
            number(link["conductance"]),
            number(link["reported"]),
            str(int(link["degree"])),
            duration(link["linked_seconds"]),
        )
        for link in links
    ]
    heads = ("LINK", "ID", "STATE", "BREAKER", "RTT", "BANDWIDTH", "THICKNESS", "CONDUCTANCE", "JOBS/S")
    return table((*heads, "DEGREE", "AGE"), rows, left=4)


def signals_text(document: dict[str, Any]) -> str:
    """Return the signals that a node received, the latest first, and how many of each type."""
    signals, counts = document["signals"], document["counts"]
    if not signals:
        return "no signals received\n"
    rows = [
        (
            plain(signal["type"], 32),
            plain(signal["kind"], 16),
            plain(signal.get("name") or str(signal.get("source", "-"))[:8], 32),
            _payload(signal["payload"]),
            number(signal.get("strength")),
            number(signal.get("hops")),
            duration(signal["age_seconds"]),
        )
        for signal in signals
    ]
    total = ", ".join(f"{plain(name, 32)} {count}" for name, count in counts.items())
    heads = ("TYPE", "KIND", "FROM", "PAYLOAD", "STRENGTH", "HOPS", "AGE")
    return f"{table(heads, rows, left=4)}\nsince the start: {total}\n"


def _payload(digits: str) -> str:
    """Return a payload as text if it is text, else its hexadecimal digits."""
    data = bytes.fromhex(digits)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    return plain(text if text.isprintable() else f"0x{digits}", 48) or "-"


def _bandwidth(rate: float | None) -> str:
    return "-" if rate is None else f"{rate * 8 / 1e6:.1f} Mbit/s"


def flows_text(flows: Sequence[dict[str, Any]]) -> str:
    """Return what the node is advised to hand over, one neighbour a line."""
    if not flows:
        return "nothing to hand over\n"
    rows = [
        (
            plain(flow.get("name") or flow["to"], 40),
            plain(flow.get("service", "default"), 32),
            number(flow["rate"]),
        )
        for flow in flows
    ]
    return table(("HAND OVER TO", "SERVICE", "RATE/S"), rows, left=2)


def settle_text(document: dict[str, Any]) -> str:
    """Return the edges of a settled or reconciled mesh with the parts of their flow, one a line."""
    edges = document["edges"]
    if not edges:
        return "no edges\n"
    parts = ("reported", "gradient", "curl", "harmonic", "balancing", "recommended")
    rows = [
        (plain(edge["from"], 40), plain(edge["to"], 40), *(number(edge.get(part)) for part in parts))
        for edge in edges
    ]
    return table(("FROM", "TO", *(part.upper() for part in parts)), rows, left=2)


def reconcile_text(document: dict[str, Any]) -> str:
    """Return a reconciled mesh: its links, its nodes, and what circulates."""
    nodes = [
        (plain(node["name"], 40), number(node["queue"]), number(node["target"])) for node in document["nodes"]
    ]
    components, cycles = document["betti"]
    summary = (
        f"curl {number(document['curl_norm'])}, harmonic {number(document['harmonic_norm'])}, "
        f"components {components}, unfilled cycles {cycles}, status {plain(document['status'])}\n"
    )
    return "\n".join((settle_text(document), table(("NODE", "QUEUE", "TARGET"), nodes), summary))
