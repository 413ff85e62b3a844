"""What does a transfer of credits cost: in the state machine, and until it is safe in SQLite or in etcd?

`apply` is one signed transfer between two of 1,000 accounts; most of it is the signature. A witness is asked
by one client at a time, then by 32 threads, whose operations share flushes and rounds of consensus. etcd is
three members on this machine with their default flushing; without it those rows are left out.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from shivya_daemon.core.identity import Identity, verify
from shivya_daemon.ledgers import credits
from shivya_daemon.ledgers.credits import Operation, State, Transfer
from shivya_daemon.ledgers.credits import state as states
from shivya_daemon.ledgers.credits.log import Replica
from shivya_daemon.ledgers.credits.log_witness import on_this_machine
from shivya_daemon.ledgers.credits.signing import message
from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog, open_witness
from shivya_daemon.ledgers.credits.witness import Witness
from timing import ROOT, Row, fix_environment, measure, once, publish

sys.path.insert(0, str(ROOT / "tests" / "credits"))

ACCOUNTS = 1_000
THREADS = 32
DICE = random.Random(1)
PEOPLE = [Identity.generate(DICE.randbytes) for _ in range(THREADS)]


def main() -> None:
    publish("credits", list(rows()))


def rows() -> Iterator[Row]:
    yield from machine()
    with tempfile.TemporaryDirectory() as folder:
        ledger = genesis()
        path = Path(folder) / "credits.db"
        SqliteLog.create(path, ledger)
        witness = open_witness(path)
        yield from asked("SQLite", witness, ledger, 500)
        witness.close()
        yield from replicated(Path(folder))


def genesis() -> State:
    """A ledger of a thousand accounts; those of `PEOPLE` are rich."""
    others = {DICE.randbytes(32): 0 for _ in range(ACCOUNTS - THREADS)}
    return State.genesis({p.public_key: 10**12 for p in PEOPLE} | others, now=time.time_ns() // 1_000_000)


def transfer(ledger: State, payer: int, counter: int) -> Operation:
    payee = PEOPLE[(payer + 1) % THREADS].public_key
    now = time.time_ns() // 1_000_000
    asked_for = Operation(
        DICE.randbytes(16), PEOPLE[payer].public_key, counter, now + 600_000, Transfer(payee, 5)
    )
    return credits.sign(asked_for, PEOPLE[payer], ledger.ledger)


def machine() -> Iterator[Row]:
    ledger = genesis()
    one = transfer(ledger, 0, 1)
    signed = message(one, ledger.ledger)
    yield row("apply a transfer", lambda: credits.apply(ledger, one))
    yield row("of that its signature", lambda: verify(one.sender, one.signature, signed))
    for counter in range(1, 10_001):
        ledger, _ = credits.apply(ledger, transfer(ledger, counter % THREADS, counter))
    data = states.encode(ledger)
    yield row("snapshot after 10,000 transfers", lambda: states.encode(ledger), repeats=3) | {
        "bytes": len(data)
    }
    yield row("and read again", lambda: states.decode(data), repeats=3)
    batch = [transfer(ledger, payer, 20_000) for payer in range(THREADS)]
    start = Replica(ledger, 0, bytes(32))
    _, _, entry = start.attempt(batch, ledger.now)
    assert entry is not None
    yield row(f"follow an entry of {THREADS}", lambda: start.follow(entry)) | {"bytes": len(entry)}


def replicated(folder: Path) -> Iterator[Row]:
    if shutil.which("etcd") is None:
        print("no etcd: apt-get install etcd-server")
        return
    from etcd_cluster import Cluster

    from shivya_daemon.ledgers.credits.etcd_gateway import Gateway
    from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog

    cluster, ledger = Cluster(folder), genesis()
    try:
        log = EtcdLog(Gateway(cluster.endpoints))
        log.create(ledger)
        witness = on_this_machine(log)
        yield from asked("etcd", witness, ledger, 500)
        witness.close()
    finally:
        cluster.close()


def asked(where: str, witness: Witness, ledger: State, count: int) -> Iterator[Row]:
    """One client, then many; a transfer is timed from before it is submitted until it is acknowledged."""
    counters = [0] * THREADS

    def submit(payer: int, times: int, waits: list[float]) -> None:
        for _ in range(times):
            counters[payer] += 1
            operation = transfer(ledger, payer, counters[payer])
            begun = time.perf_counter()
            outcome = witness.submit(operation)
            waits.append(time.perf_counter() - begun)
            assert isinstance(outcome, credits.Posted), outcome

    waits: list[float] = []
    _, spent = once(lambda: submit(0, count, waits))
    yield rates(f"{where}, one client", waits, spent.wall, spent.cpu)
    waits = []
    threads = [threading.Thread(target=submit, args=(n, count // 10, waits)) for n in range(THREADS)]

    def together() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    _, spent = once(together)
    yield rates(f"{where}, {THREADS} threads", waits, spent.wall, spent.cpu)
    reads: list[float] = []
    for _ in range(200):
        begun = time.perf_counter()
        witness.read()
        reads.append(time.perf_counter() - begun)
    yield rates(f"{where}, linearizable read", reads, sum(reads), None)


def rates(what: str, waits: list[float], wall: float, cpu: float | None) -> Row:
    centiles = statistics.quantiles(waits, n=100)
    found: Row = {
        "what": what,
        "per_second": round(len(waits) / wall),
        "p50_ms": round(centiles[49] * 1e3, 3),
        "p99_ms": round(centiles[98] * 1e3, 3),
    }
    return found if cpu is None else found | {"cpu_us": round(cpu / len(waits) * 1e6, 1)}


def row(what: str, call: object, repeats: int = 15) -> Row:
    spent = measure(call, repeats=repeats)  # type: ignore[arg-type]
    return {
        "what": what,
        "cpu_us": round(spent.cpu * 1e6, 1),
        "cpu_us_median": round(spent.cpu_median * 1e6, 1),
    }


if __name__ == "__main__":
    fix_environment()
    main()
