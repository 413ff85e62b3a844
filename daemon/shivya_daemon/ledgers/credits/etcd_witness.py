"""The replicated witness: the log in etcd, a Raft store (Ongaro and Ousterhout 2014), for several witnesses.

Keys below a prefix:

    log/<position>             one entry, created if absent and never changed
    snapshot                   position, chain and number of parts of the latest snapshot
    snapshot/<chain>/<part>    its pieces

Appending is one transaction: create the key if it is absent and the one before is there. So positions have no
gaps, one of two witnesses that race gets the position, and a request whose answer got lost can be repeated:
whose entry is there then shows by the ids of the operations in it. What a snapshot holds is trimmed from the
front but for a tail; as the last entry always stays, no trimmed position can be taken again.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shivya_daemon.ledgers.credits import records
from shivya_daemon.ledgers.credits import state as states
from shivya_daemon.ledgers.credits.etcd_gateway import (
    Gateway,
    absent,
    b64,
    pairs,
    present,
    put,
    span,
    unchanged,
)
from shivya_daemon.ledgers.credits.log import MAX_BATCH, Replica
from shivya_daemon.ledgers.credits.log_witness import LogWitness, on_this_machine
from shivya_daemon.ledgers.credits.records import Digest
from shivya_daemon.ledgers.credits.state import State
from shivya_daemon.ledgers.credits.units import Count
from shivya_daemon.ledgers.credits.witness import CorruptLog, Trimmed, Unavailable

PREFIX = "/shivya/credits/"
TAIL = 1_000
"""Entries kept before a snapshot, for witnesses and watchers that are a little behind."""
_PART = 512 * 1024
"""Bytes of a piece of a snapshot; etcd takes requests of up to 1.5 MiB."""
_LOAD_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class _Pointer:
    """What the key `snapshot` says."""

    position: Count
    chain: Digest
    parts: Count


def open_witness(
    endpoints: Sequence[str], prefix: str = PREFIX, *, tls: ssl.SSLContext | None = None
) -> LogWitness:
    """Return a witness of the ledger below `prefix`, by the clock of this machine."""
    return on_this_machine(EtcdLog(Gateway(endpoints, tls=tls), prefix))


class EtcdLog:
    """A `Log` below `prefix` in the etcd behind `gateway`; see `create`."""

    def __init__(self, gateway: Gateway, prefix: str = PREFIX, *, tail: int = TAIL) -> None:
        self._gateway = gateway
        self._prefix = prefix.encode()
        self._tail = max(1, tail)
        self._pointer = self._prefix + b"snapshot"
        self._end = self._prefix + b"log0"  # the first key after all that begin with log/

    def create(self, genesis: State) -> None:
        """Begin a ledger; raises `FileExistsError` if there is one already."""
        first = Replica.first(genesis)
        pointer = self._write_parts(first)
        begin = [put(self._pointer, records.encode(pointer)), put(self._key(0), b"genesis")]
        self._transact([absent(self._pointer)], [{"request_put": request} for request in begin])
        found, _ = self._latest()
        if found != pointer:
            self._remove_parts(pointer)
            raise FileExistsError(f"there is a ledger below {self._prefix.decode()} in etcd already")

    def load(self) -> Replica:
        """See `Log.load`; raises `FileNotFoundError` where no ledger was begun."""
        for _ in range(_LOAD_ATTEMPTS):
            pointer, _ = self._latest()
            parts = dict(pairs(self._gateway.ask("kv/range", self._parts(pointer))))
            if len(parts) == pointer.parts:
                break
        else:
            raise Unavailable("snapshots change faster than they can be read; try again")
        try:
            state = states.decode(b"".join(parts[key] for key in sorted(parts)))
        except records.DecodeError as error:
            raise CorruptLog(f"the snapshot at position {pointer.position} is damaged: {error}") from error
        return Replica(state, pointer.position, pointer.chain)

    def entries(self, after: int) -> Sequence[bytes]:
        """See `Log.entries`."""
        answer = self._gateway.ask("kv/range", span(self._key(after), self._end, MAX_BATCH + 1))
        found = list(pairs(answer))
        if not found:
            raise Unavailable(f"etcd has no log below {self._prefix.decode()} any more")
        if found[0][0] == self._key(after):
            del found[0]
        for expected, (key, _) in enumerate(found, after + 1):
            if key != self._key(expected):
                raise Trimmed(f"entry {expected} is no longer in the log; read the state")
        return [entry for _, entry in found]

    def append(self, position: int, entry: bytes) -> bool:
        """See `Log.append`."""
        key = self._key(position)
        answer = self._transact(
            [absent(key), present(self._key(position - 1))], [{"request_put": put(key, entry)}]
        )
        return bool(answer.get("succeeded"))

    def save(self, snapshot: Replica) -> None:
        """See `Log.save`."""
        old, revision = self._latest()
        if old.position >= snapshot.position:
            return
        new = self._write_parts(snapshot)
        trimmed = span(self._key(0), self._key(max(0, snapshot.position - self._tail)))
        answer = self._transact(
            [unchanged(self._pointer, revision)],
            [
                {"request_put": put(self._pointer, records.encode(new))},
                {"request_delete_range": self._parts(old)},
                {"request_delete_range": trimmed},
            ],
        )
        latest, _ = self._latest()
        if latest.chain != new.chain:  # another witness was faster
            self._remove_parts(new)
        with contextlib.suppress(Unavailable):  # another has compacted beyond that
            self._gateway.ask("kv/compaction", {"revision": answer["header"]["revision"]})

    def wait(self, after: int) -> None:
        """See `Log.wait`."""
        answer = self._gateway.ask("kv/range", span(self._key(after), self._end, 2) | {"keys_only": True})
        if len(answer.get("kvs", ())) == 1:
            later = int(answer["header"]["revision"]) + 1
            watch = {
                "key": b64(self._key(after + 1)),
                "range_end": b64(self._end),
                "start_revision": str(later),
            }
            self._gateway.first_event({"create_request": watch})

    def close(self) -> None:
        """See `Log.close`."""
        self._gateway.close()

    def _key(self, position: int) -> bytes:
        return self._prefix + b"log/%020d" % position

    def _parts(self, pointer: _Pointer) -> dict[str, Any]:
        folder = self._pointer + b"/" + pointer.chain.hex().encode()
        return span(folder + b"/", folder + b"0")

    def _write_parts(self, snapshot: Replica) -> _Pointer:
        data = states.encode(snapshot.state)
        starts = range(0, len(data), _PART)
        for number, start in enumerate(starts):
            key = self._pointer + b"/%s/%08d" % (snapshot.chain.hex().encode(), number)
            self._gateway.ask("kv/put", put(key, data[start : start + _PART]))
        return _Pointer(snapshot.position, snapshot.chain, len(starts))

    def _remove_parts(self, pointer: _Pointer) -> None:
        self._gateway.ask("kv/deleterange", self._parts(pointer))

    def _latest(self) -> tuple[_Pointer, str]:
        """Return where the latest snapshot is, and the revision at which that was written."""
        answer = self._gateway.ask("kv/range", span(self._pointer))
        for _, value in pairs(answer):
            try:
                return records.decode(_Pointer, value), answer["kvs"][0]["mod_revision"]
            except records.DecodeError as error:
                raise CorruptLog(f"{self._pointer.decode()} in etcd is damaged: {error}") from error
        raise FileNotFoundError(
            f"there is no ledger below {self._prefix.decode()} in etcd; begin one with 'shivya credits init'"
        )

    def _transact(self, conditions: list[dict[str, Any]], then: list[dict[str, Any]]) -> dict[str, Any]:
        return self._gateway.ask("kv/txn", {"compare": conditions, "success": then})
