"""What a daemon writes into its audit ledger: when it started and ended, who came and went, what was done.

Nothing waits for the disk: notes are queued here, bounded, and a task writes them in a thread. A ledger that
cannot be opened or written does not take the node down; it is logged with its remedy, and shown.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from shivya_daemon.core.errors import DecodeError
from shivya_daemon.core.identity import Identity, node_id
from shivya_daemon.ledgers.audit import Ledger, Limits
from shivya_daemon.ledgers.audit.checkpoint import Checkpoint, decode
from shivya_daemon.ledgers.audit.errors import LedgerError
from shivya_daemon.ledgers.audit.witnessed import Finding, Wanted, Witnessed

_log = logging.getLogger(__name__)

MAX_WAITING = 1024
"""Notes that wait to be written; of more the oldest go, and are counted."""
_LIMITS = Limits()

Note = tuple[str, dict[str, object], float]


class Journal:
    """The ledger of one daemon. `published` gets every new checkpoint, encoded for gossip."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        wall: Callable[[], float],
        published: Callable[[bytes], None] = lambda checkpoint: None,
    ) -> None:
        self._path, self._identity, self._wall, self._published = path, identity, wall, published
        self._waiting: deque[Note] = deque(maxlen=MAX_WAITING)
        self._ledger: Ledger | None = None
        self._wake = anyio.Event()
        self._written = anyio.Event()
        self._told = 0
        self._witnessed = Witnessed()
        self.lost = 0
        """Notes that were dropped or refused."""
        self.trouble: str | None = None
        """Why nothing is written, with what to do."""

    def note(self, action: str, details: Mapping[str, object] | None = None) -> None:
        """Have an action written down, stamped with the present time."""
        if len(self._waiting) == MAX_WAITING:
            self.lost += 1
        self._waiting.append((action, dict(details or {}), self._wall()))
        self._wake.set()

    def manifest(self) -> dict[str, object] | None:
        """Return length and root of what is durable; None while there is no ledger."""
        if self._ledger is None:
            return None
        checkpoint = self._ledger.checkpoint
        return {"length": checkpoint.size, "root": checkpoint.root.hex(), "lost": self.lost}

    def hear(self, public_key: bytes, checkpoint: bytes, now: float) -> Finding | None:
        """Take note of another node's checkpoint; None if it cannot be read. A fork is noted and logged."""
        return self._judge(public_key, checkpoint, lambda told: self._witnessed.hear(public_key, told, now))

    def shown(
        self, public_key: bytes, old: int, checkpoint: bytes, path: Sequence[bytes], now: float
    ) -> Finding | None:
        """Take note of a proof that a checkpoint continues the first `old` entries, or does not."""
        found = self._judge(
            public_key,
            checkpoint,
            lambda told: self._witnessed.prove(public_key, old, told, path, now),
        )
        if found is Finding.UNPROVEN:
            node = node_id(public_key).hex()
            _log.error("node %s cannot show that its ledger continues its first %d entries", node[:8], old)
            self.note("LEDGER_UNPROVEN", {"node": node, "size": old, "checkpoint": checkpoint.hex()})
        return found

    def wanted(self) -> list[Wanted]:
        """Return the proofs that other nodes owe."""
        return self._witnessed.wanted()

    def _judge(
        self, public_key: bytes, checkpoint: bytes, judge: Callable[[Checkpoint], Finding]
    ) -> Finding | None:
        try:
            told = decode(checkpoint)
        except DecodeError:
            return None
        node = node_id(public_key)
        before = self._witnessed.record(node)
        finding = judge(told)
        after = self._witnessed.record(node)
        if after is not None and after.fork is not None and (before is None or before.fork is None):
            _log.error("node %s signed two ledgers of %d entries", node.hex()[:8], told.size)
            evidence = [part.encode().hex() for part in after.fork]
            self.note("LEDGER_FORK", {"node": node.hex(), "size": told.size, "checkpoints": evidence})
        return finding

    async def run(self) -> None:
        """Open the ledger, and write until cancelled; what waits then is written by `close`."""
        try:
            self._ledger = await anyio.to_thread.run_sync(self._open)
        except LedgerError as error:
            self._complain(error)
            return
        self._publish(self._ledger)
        if self._ledger.torn is not None:
            _log.warning(
                "the ledger ended in the middle of an entry; the rest is kept in %s",
                self._ledger.torn.evidence,
            )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._settling, self._ledger)
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                # At once, so that a daemon that is killed has lost nothing.
                await anyio.to_thread.run_sync(self._write)
                self._written.set()

    async def _settling(self, ledger: Ledger) -> None:
        """Have what is written reach the disk: one sync a second at most."""
        while True:
            await self._written.wait()
            self._written = anyio.Event()
            await anyio.sleep(_LIMITS.batch_seconds)
            await anyio.to_thread.run_sync(self._settle)
            self._publish(ledger)

    def close(self, action: str) -> None:
        """Write all that waits, and a last entry."""
        if self._ledger is None:
            return
        self.note(action)
        self._write()
        with suppress(LedgerError):
            self._ledger.close()

    def _open(self) -> Ledger:
        return Ledger.open(self._path, self._identity, _LIMITS, wall=self._wall)

    def _write(self) -> None:
        assert self._ledger is not None
        while self._waiting:
            action, details, at = self._waiting.popleft()
            try:
                self._ledger.add_entry({"type": "action", "action": action, "details": details}, at)
            except LedgerError as error:
                self.lost += 1
                self._complain(error)
            else:
                self.trouble = None

    def _settle(self) -> None:
        assert self._ledger is not None
        try:
            self._ledger.sync()
        except LedgerError as error:
            self._complain(error)

    def _publish(self, ledger: Ledger) -> None:
        checkpoint = ledger.checkpoint
        if checkpoint.size != self._told:
            self._told = checkpoint.size
            self._published(checkpoint.encode())

    def _complain(self, error: LedgerError) -> None:
        if self.trouble is None:
            _log.error("the audit ledger: %s", error)
        self.trouble = f"audit ledger: {error}"
