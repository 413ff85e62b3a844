"""All that a daemon does about credits, from its settings: the purse, leases paid for, helpers paid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shivya_daemon.core.events import Event
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node
from shivya_daemon.ledgers.credits.log_witness import on_this_machine
from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog
from shivya_daemon.ledgers.credits.units import Time
from shivya_daemon.ledgers.credits.witness import Witness
from shivya_daemon.purse.account import Account
from shivya_daemon.purse.epochs import Epochs
from shivya_daemon.purse.etcd_access import gateway
from shivya_daemon.purse.payments import Payments
from shivya_daemon.purse.purse import Purse
from shivya_daemon.services import ServiceView
from shivya_daemon.settings import CreditSettings
from shivya_daemon.world import World

_ETCD_DEADLINE = 3.0  # seconds for an answer of any member; then the purse says that it waits


class Treasury:
    """Runs beside the node; nothing of the node waits for it. `acted` is called when the node is to speak."""

    def __init__(
        self,
        settings: CreditSettings,
        identity: Identity,
        node: Node,
        clock: Callable[[], float],
        acted: Callable[[], None],
    ) -> None:
        place = str(settings.ledger) if settings.ledger is not None else f"etcd at {', '.join(settings.etcd)}"
        self.purse = Purse(
            lambda: Account(open_witness(settings), identity, _wall), place, identity.public_key, clock
        )
        self._payments = Payments(node, self.purse, clock, acted)
        self._epochs = Epochs(node, self.purse, clock, _wall, settings.epoch_limit)

    async def run(self) -> None:
        """Do what is asked for, until cancelled."""
        await self.purse.run()

    def take(self, events: list[Event]) -> None:
        """Pay, and see that what is lent is paid for."""
        self._payments.take(events)

    def look(self, worlds: Iterable[tuple[World, ServiceView]]) -> None:
        """Do what is due; wants to be called once a second, with the services as of now."""
        self._payments.look()
        self._epochs.look(worlds)

    def law_runs(self) -> None:
        """Pay helpers from now on: JAX is there, which computes what each is owed."""
        from shivya_daemon.mind.pooling import pooling_shares

        self._epochs.share = pooling_shares

    async def finish(self, seconds: float) -> None:
        """Settle what the end of the node left to settle, for at most so long."""
        await self.purse.finish(seconds)

    def report(self) -> dict[str, Any]:
        """Return what `CREDITS` answers."""
        return {**self.purse.report(), "paid_to_helpers": self._epochs.paid}


def open_witness(settings: CreditSettings) -> Witness:
    """Return the witness of the ledger that the settings name; raises as `Witness` does, `OSError` too."""
    if settings.ledger is not None:
        return on_this_machine(SqliteLog(Path(settings.ledger)))
    found = gateway(settings, settings.etcd, _ETCD_DEADLINE)
    from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog  # httpx is there

    return on_this_machine(EtcdLog(found))


def _wall() -> Time:
    return time.time_ns() // 1_000_000
