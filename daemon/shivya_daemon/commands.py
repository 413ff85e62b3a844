"""The verbs of the control socket, without the socket: one line in, one JSON object out.

docs/socket.md is the description for applications. Every line is checked in full before anything is counted,
so a refused line has changed nothing; the one exception is named at `COUNT`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from shivya_daemon import placement
from shivya_daemon.lease_verbs import Shown
from shivya_daemon.line import CommandError, Fields
from shivya_daemon.mesh_verbs import MeshVerbs, Operations
from shivya_daemon.services import DEFAULT_SERVICE, MAX_PEERS, ServiceBook, ServiceError
from shivya_daemon.settings import SettingsError

MAX_SERVERS = 65_535
MAX_BUSY = 1e9

Reply = dict[str, Any]


class Desk(Protocol):
    """What the control socket asks of the daemon."""

    @property
    def book(self) -> ServiceBook:
        """Accounts of the services."""
        ...

    def status(self) -> Reply:
        """Return the object of `shivya status --json`."""
        ...

    def settle(self, service: str) -> list[Reply]:
        """Return one row per known link: reported flow, its parts, and what is recommended."""
        ...

    def known(self, service: str) -> Reply:
        """Return what is known of the mesh, and of whom nothing is."""
        ...

    def table(self, service: str) -> Reply:
        """Return the neighbour table as of now (ages up to date, no `seen`)."""
        ...

    def peer_id(self, name_or_id: str) -> bytes | None:
        """Return the id of a known peer, None for any other text."""
        ...

    @property
    def operations(self) -> Operations:
        """What an operator asks of the node."""
        ...


@dataclass
class Session:
    """What one connection has said so far."""

    watching: str | None = None
    """Service whose table is pushed to it."""
    serving: str | None = None
    """Service that it serves: it watched with an address. Ends with the connection."""
    seen: dict[str, int] = field(default_factory=dict)
    """Jobs it reported as sent, by node id, since it began to watch."""
    leases: MutableMapping[str, Shown] = field(default_factory=dict)
    """Leases that it watches, and how each was last shown to it."""

    @property
    def expects(self) -> bool:
        """Whether something will be pushed to it."""
        return self.watching is not None or bool(self.leases)


class Commands:
    """Obeys lines; shared by all connections of a daemon."""

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock
        self._handed: dict[str, tuple[int, dict[str, int]]] = {}
        """Per service, the last tick seen and the jobs of its flow already handed over, by node id."""
        self._serving: Counter[str] = Counter()
        """Connections that serve each service."""
        self._mesh = MeshVerbs(desk.operations)
        self._verbs: Mapping[str, Callable[[Fields, Session], Reply | None]] = {
            "STATUS": self._status,
            "REPORT": self._report,
            "ROUTE": self._route,
            "HANDOVER": self._handover,
            "ACCEPT": self._accept,
            "DONE": self._done,
            "OFFLOAD": self._offload,
            "SETTLE": self._settle,
            "KNOWN": self._known,
            "WATCH": self._watch,
            "COUNT": self._count,
            **self._mesh.actions,
        }

    def obey(self, line: bytes, session: Session) -> Reply | None:
        """Obey one line; the reply is None where success is silent."""
        try:
            words = line.decode().split()
            verb = words[0].upper() if words else "STATUS"
            action = self._verbs.get(verb)
            if action is None:
                raise CommandError(f"unknown verb {verb[:32]!r}; use one of {', '.join(self._verbs)}")
            return action(Fields(verb, words[1:]), session)
        except UnicodeDecodeError:
            return {"error": "the line is not UTF-8; send VERB key=value ..."}
        except (CommandError, ServiceError, SettingsError) as error:
            return {"error": str(error)}

    def close(self, session: Session) -> None:
        """End what a connection stood for: a service that nobody serves any more gets no more work."""
        self._serve(session, None)

    def news(self, session: Session) -> list[Reply]:
        """Return what to push to a connection after a change."""
        table = [self.table(session)] if session.watching is not None else []
        return table + self._mesh.leases.news(session)

    def table(self, session: Session) -> Reply:
        """Return the table line for a connection that watches, with what it has reported as sent."""
        service = session.watching or DEFAULT_SERVICE
        if service not in self._desk.book.services:
            session.watching = None
            return {"error": f"service {service} is no longer offered here; watch again when it is"}
        table = self._desk.table(service)
        rows = [{**row, "seen": session.seen.get(row["id"], 0)} for row in table["neighbours"]]
        return {"table": {**table, "neighbours": rows}}

    def _status(self, fields: Fields, _: Session) -> Reply:
        fields.finish()
        return self._desk.status()

    def _report(self, fields: Fields, _: Session) -> Reply:
        service = fields.service()
        queue = fields.count("queue")
        servers = fields.count("servers", None, 1, MAX_SERVERS)
        rate = fields.rate("rate")
        address = fields.address()
        fields.finish()
        if queue is None:
            raise CommandError("queue is missing; send REPORT queue=<jobs held, in service included>")
        self._desk.book.report(service, self._clock(), queue, servers, rate, address)
        return {"ok": True}

    def _route(self, fields: Fields, _: Session) -> Reply:
        service, hops = self._offered(fields), fields.count("hops", 0, 0, MAX_SERVERS) or 0
        ahead, lease = fields.count("ahead"), fields.optional("lease")
        fields.finish()
        book, now = self._desk.book, self._clock()
        table, out = self._priced(service, now)
        if lease is not None:
            index = self._mesh.leases.place(lease, table)
        else:
            index = placement.place(
                table,
                book.held(service),
                table.servers,
                table.service_rate,
                out,
                0.0,
                hops,
                overrun=book.overrun(service, now),
                ahead=ahead,
            )
        if hops == 0:
            book.arrived(service, 1, now)
        if index is None:
            book.hold(service, 1, now)
            return {"to": None}
        target = table.neighbours[index]
        book.sent(service, bytes.fromhex(target.id), 1, now)
        return {"to": {"id": target.id, "name": target.name, "address": target.address}}

    def _handover(self, fields: Fields, _: Session) -> Reply:
        service = self._offered(fields)
        fields.finish()
        book, now = self._desk.book, self._clock()
        table, out = self._priced(service, now)
        tick, handed = self._handed.get(service, (-1, {}))
        if tick != table.tick:
            handed = {}
            self._handed[service] = (table.tick, handed)
        remaining = [row.flow - handed.get(row.id, 0) for row in table.neighbours]
        moves = placement.hand_over(
            table,
            book.held(service),
            table.servers,
            table.service_rate,
            out,
            0.0,
            remaining,
            overrun=book.overrun(service, now),
        )
        rows = []
        for index, count in moves:
            target = table.neighbours[index]
            handed[target.id] = handed.get(target.id, 0) + count
            book.sent(service, bytes.fromhex(target.id), count, now)
            book.hold(service, -count, now)
            rows.append({"id": target.id, "name": target.name, "address": target.address, "count": count})
        return {"moves": rows}

    def _accept(self, fields: Fields, _: Session) -> Reply:
        service, source = self._offered(fields), fields.required("from", "the node that the job came from")
        count = fields.count("count", 1, 1)
        fields.finish()
        self._desk.book.accepted(service, self._node("from", source), count or 1, self._clock())
        return {"ok": True}

    def _done(self, fields: Fields, _: Session) -> Reply:
        service, count = self._offered(fields), fields.count("count", 1, 1)
        fields.finish()
        self._desk.book.done(service, count or 1, self._clock())
        return {"ok": True}

    def _offload(self, fields: Fields, _: Session) -> Reply:
        service = self._offered(fields)
        source, target = fields.required("from", "this node"), fields.required("to", "a neighbour")
        rate = fields.rate("rate", zero=True)
        fields.finish()
        if rate is None:
            raise CommandError("rate is missing; give it in jobs per second")
        status = self._desk.status()
        if source not in (status.get("name"), status.get("node_id")):
            raise CommandError(
                f"from={source[:64]} is not this node, {status.get('name')}; tell it to the daemon there"
            )
        self._desk.book.explicit_offload(service, self._node("to", target), rate, self._clock())
        return {"ok": True}

    def _settle(self, fields: Fields, _: Session) -> Reply:
        service = self._offered(fields)
        fields.finish()
        return {"edges": self._desk.settle(service)}

    def _known(self, fields: Fields, _: Session) -> Reply:
        service = self._offered(fields)
        fields.finish()
        return self._desk.known(service)

    def _watch(self, fields: Fields, session: Session) -> Reply:
        service, address = fields.service(), fields.address()
        fields.finish()
        self._desk.book.offer(service, self._clock(), address)
        self._serve(session, None if address is None else service)
        session.watching, session.seen = service, {}
        return self.table(session)

    def _serve(self, session: Session, service: str | None) -> None:
        if service is not None:
            self._serving[service] += 1
        before, session.serving = session.serving, service
        if before is not None:
            self._serving[before] -= 1
            if not self._serving[before]:
                del self._serving[before]
                self._desk.book.withdraw(before)

    def _count(self, fields: Fields, session: Session) -> Reply | None:
        """Add up what a client did since its last COUNT. A peer that is gone costs its own counts only."""
        service = self._offered(fields)
        arrived, done = fields.count("arrived", 0) or 0, fields.count("done", 0) or 0
        queue, rate = fields.count("queue"), fields.rate("rate")
        servers = fields.count("servers", None, 1, MAX_SERVERS)
        busy = fields.number("busy", -1.0, 0.0, MAX_BUSY)
        counts = {verb: fields.counts_by_node(verb) for verb in ("sent", "unsent", "accepted")}
        fields.finish()
        book, now = self._desk.book, self._clock()
        book.arrived(service, arrived, now)
        if busy >= 0.0:
            book.worked(service, busy, now)
        book.done(service, done, now)
        unknown = []
        for verb, amounts in counts.items():
            for name, amount in amounts.items():
                peer = bytes.fromhex(name) if placement.is_node_id(name) else self._desk.peer_id(name)
                if peer is None:
                    unknown.append(f"{verb}.{name[:64]}")
                elif verb == "accepted":
                    book.accepted(service, peer, amount, now)
                elif verb == "sent":
                    book.sent(service, peer, amount, now)
                    _add(session.seen, peer.hex(), amount)
                else:
                    book.unsent(service, peer, amount, now)
                    _add(session.seen, peer.hex(), -amount)
        if queue is not None:
            book.report(service, now, queue, servers, rate)
        return {"error": f"{', '.join(unknown)}: unknown node; not counted"} if unknown else None

    def _priced(self, service: str, now: float) -> tuple[placement.Table, list[int]]:
        """Return the table of a service and the jobs out to each neighbour, both as of now."""
        table = placement.parse_table(self._desk.table(service))
        book = self._desk.book
        return table, [book.out(service, bytes.fromhex(row.id), now) for row in table.neighbours]

    def _offered(self, fields: Fields) -> str:
        service = fields.service()
        if service not in self._desk.book.services:
            raise CommandError(
                f"service {service} is not offered here; send REPORT service={service} queue=0 first"
            )
        return service

    def _node(self, key: str, name: str) -> bytes:
        peer = self._desk.peer_id(name)
        if peer is None:
            raise CommandError(f"{key}={name[:64]} is an unknown node; see the peers in STATUS")
        return peer


def encode(reply: Reply) -> bytes:
    """Return the line of a reply."""
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"


def _add(seen: dict[str, int], node: str, amount: int) -> None:
    """Add to a connection's counter; only as many nodes are kept as a table can hold."""
    seen[node] = seen.pop(node, 0) + amount
    if len(seen) > MAX_PEERS:
        del seen[next(iter(seen))]
