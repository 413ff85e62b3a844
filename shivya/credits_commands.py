"""What `shivya credits` and `shivya quorum` do: they speak with the witness of a ledger, not with a daemon.

The ledger is a file, usually in the state directory of the node, or lives in etcd, where `--etcd` (or
`SHIVYA_ETCD`) names its members. Whatever is signed is signed with the identity of the node.
"""

from __future__ import annotations

import os
import secrets
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shivya import credits_text as text
from shivya.commands import show as print_document
from shivya.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from shivya_daemon.core.identity import Identity
    from shivya_daemon.ledgers.credits import Action, State
    from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog
    from shivya_daemon.ledgers.credits.log import Log
    from shivya_daemon.settings import DaemonSettings

FILE = "credits.db"
"""Of the ledger, in the state directory."""
_VALID = 600_000
"""Milliseconds for which an operation can take effect; one that got no answer is void after that."""
_DAY = 86_400_000


def init(options: Namespace) -> int:
    """Begin a ledger: who has how many credits, and who decides. No more are ever minted."""
    from shivya_daemon.ledgers import credits

    me = _identity(options, create=True).public_key
    balances = dict(text.grant(given, {}, me) for given in options.grant)
    balances = balances or {me: options.supply}
    roster = [text.account(given, balances, me) for given in options.witness]
    with _errors():
        try:
            genesis = credits.State.genesis(
                balances | {key: balances.get(key, 0) for key in roster},
                roster=roster,
                threshold=options.threshold,
                stake=options.stake,
                now=_now(),
            )
        except ValueError as error:
            raise CommandError(ExitCode.USAGE, str(error)) from None
        _create(options, genesis)
    document = {"ledger": genesis.ledger.hex(), "minted": genesis.minted, "accounts": len(genesis.accounts)}
    print_document(document, None if options.json else text.begun)
    return ExitCode.OK


def balance(options: Namespace) -> int:
    """Show what an account has: this node's, another, or all."""
    state = _read(options)
    keys = list(state.accounts) if options.all else [_account(options, options.account or "me", state)]
    document = {
        "accounts": [text.account_row(state, key) for key in keys],
        "pool": state.pool.balance,
        "minted": state.minted,
    }
    print_document(document, None if options.json else text.accounts)
    return ExitCode.OK


def open_account(options: Namespace) -> int:
    """Open an account for a node, at the expense of this one."""
    from shivya_daemon.ledgers.credits import Open

    return _submit(options, lambda state, me: Open(text.key(options.account)))


def transfer(options: Namespace) -> int:
    """Pay another account from this node's; the fee of a thousandth comes on top."""
    from shivya_daemon.ledgers.credits import Transfer

    return _submit(
        options,
        lambda state, me: Transfer(
            text.account(options.account, state.accounts, me), options.amount, options.memo
        ),
    )


def stake(options: Namespace) -> int:
    """Lock credits as the stake of a witness, or free them."""
    from shivya_daemon.ledgers.credits import Stake

    return _submit(options, lambda state, me: Stake(options.amount))


def history(options: Namespace) -> int:
    """Show the operations that took effect, the last ones last."""
    from shivya_daemon.ledgers.credits.audit import history as entries
    from shivya_daemon.ledgers.credits.log_witness import on_this_machine
    from shivya_daemon.ledgers.credits.witness import Trimmed

    last: deque[dict[str, Any]] = deque(maxlen=options.last)
    with _errors(), _log(options) as log:
        state = on_this_machine(log).read()
        chosen = _account(options, options.account, state) if options.account else None
        position, sequence = 0, 0
        try:
            log.entries(position)
        except Trimmed:
            saved = log.load()
            position, sequence = saved.position, saved.state.sequence
        for entry in entries(log, position):
            for operation in entry.operations:
                sequence += 1
                if chosen is None or chosen in text.parties(operation):
                    last.append(text.operation_row(operation, entry, sequence))
    print_document(list(last), None if options.json else text.operations)
    return ExitCode.OK


def audit(options: Namespace) -> int:
    """Follow the ledger from its beginning: every signature, every rule, every sum."""
    from shivya_daemon.ledgers.credits.audit import audit as follow
    from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog

    with _errors(), _log(options) as log:
        start = log.genesis() if isinstance(log, SqliteLog) else log.load()
        end = follow(log, start)
    document = {
        "ok": True,
        "from": start.position,
        "entries": end.position,
        "operations": end.state.sequence,
        "minted": end.state.minted,
        "chain": end.chain.hex(),
    }
    print_document(document, None if options.json else text.audited)
    return ExitCode.OK


def propose(options: Namespace) -> int:
    """Ask the witnesses to decide on a text, or to grant credits from the pool."""
    from shivya_daemon.ledgers.credits import Propose

    def action(state: State, me: bytes) -> Propose:
        receiver, amount = text.grant(options.grant, state.accounts, me) if options.grant else (me, 0)
        return Propose(options.text, receiver, amount, _now() + round(options.days * _DAY))

    return _submit(options, action)


def vote(options: Namespace) -> int:
    """Cast this node's vote as a witness."""
    from shivya_daemon.ledgers.credits import Vote

    return _submit(
        options, lambda state, me: Vote(text.proposal(options.proposal, state), options.vote == "yes")
    )


def show(options: Namespace) -> int:
    """Show the proposals to the witnesses, or one of them, and how they voted."""
    state = _read(options)
    chosen = text.proposal(options.proposal, state) if options.proposal else None
    rows = [text.proposal_row(state, key) for key in state.proposals if chosen is None or key == chosen]
    print_document(rows, None if options.json else text.proposals)
    return ExitCode.OK


def _submit(options: Namespace, choose: Callable[[State, bytes], Action]) -> int:
    """Sign the action that `choose` gives, have it applied, and say what came of it."""
    from shivya_daemon.ledgers import credits
    from shivya_daemon.ledgers.credits.log_witness import on_this_machine

    identity = _identity(options)
    with _errors(), _log(options, writable=True) as log:
        witness = on_this_machine(log)
        state = witness.read()
        account = state.accounts.get(identity.public_key)
        operation = credits.Operation(
            id=secrets.token_bytes(16),
            sender=identity.public_key,
            counter=account.counter + 1 if account else 1,
            expires=_now() + _VALID,
            action=choose(state, identity.public_key),
        )
        outcome = witness.submit(credits.sign(operation, identity, state.ledger))
        if isinstance(outcome, credits.Refused):
            raise CommandError(ExitCode.REFUSED, f"refused, {outcome.reason.code}: {outcome.reason.value}")
    document = {"id": operation.id.hex(), "sequence": outcome.sequence, "fee": outcome.fee}
    print_document(document, None if options.json else text.posted)
    return ExitCode.OK


def _read(options: Namespace) -> State:
    """Return the state at the end of the log, as of now."""
    from shivya_daemon.ledgers.credits import advance
    from shivya_daemon.ledgers.credits.log_witness import on_this_machine

    with _errors(), _log(options) as log:
        return advance(on_this_machine(log).read(), _now())


def _account(options: Namespace, given: str, state: State) -> bytes:
    return text.account(given, state.accounts, _identity(options).public_key if given == "me" else b"")


def _identity(options: Namespace, create: bool = False) -> Identity:
    """Return the identity of this node; `create` makes one where there is none."""
    from shivya_daemon.identityfile import load_or_create_identity
    from shivya_daemon.keyfile import KeyFileError

    folder = _folder(options)
    if not create and not (folder / "identity.key").exists():
        raise CommandError(
            ExitCode.FAILED, f"no identity in {folder}; name the node's directory with --state-dir"
        )
    try:
        return load_or_create_identity(folder)
    except KeyFileError as error:
        raise CommandError(ExitCode.FAILED, str(error)) from None


def _folder(options: Namespace) -> Path:
    """Return the state directory of this node."""
    from shivya_daemon.settings import SettingsError, state_directory

    try:
        return state_directory(_settings(options))
    except SettingsError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _settings(options: Namespace) -> DaemonSettings:
    from shivya import config
    from shivya_daemon.settings import SettingsError

    try:
        return config.load({"port": options.port, "state_dir": options.state_dir})
    except SettingsError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None


def _create(options: Namespace, genesis: State) -> None:
    from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog

    if _members(options):
        with closing(_etcd(options)) as log:
            log.create(genesis)
    else:
        SqliteLog.create(_file(options), genesis)


@contextmanager
def _log(options: Namespace, writable: bool = False) -> Iterator[Log]:
    """Give the log of the ledger, and let go of it."""
    from shivya_daemon.ledgers.credits.sqlite_witness import SqliteLog

    log: Log = _etcd(options) if _members(options) else SqliteLog(_file(options), writable=writable)
    try:
        yield log
    finally:
        log.close()


def _file(options: Namespace) -> Path:
    named: Path | None = options.ledger
    return named or _settings(options).credits.ledger or _folder(options) / FILE


def _members(options: Namespace) -> list[str]:
    named = options.etcd or os.environ.get("SHIVYA_ETCD")
    if not named and options.ledger is None:
        return list(_settings(options).credits.etcd)
    return [url for url in (named or "").split(",") if url]


def _etcd(options: Namespace) -> EtcdLog:
    from shivya_daemon.ledgers.credits.witness import Unavailable
    from shivya_daemon.purse.etcd_access import gateway

    try:
        found = gateway(_settings(options).credits, _members(options))
    except Unavailable as error:
        raise CommandError(ExitCode.FAILED, str(error)) from None
    from shivya_daemon.ledgers.credits.etcd_witness import EtcdLog  # httpx is there

    return EtcdLog(found)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what a witness raises into one line for standard error."""
    from shivya_daemon.ledgers.credits.witness import CorruptLog, Trimmed, Unavailable

    try:
        yield
    except (CorruptLog, Trimmed, Unavailable) as error:
        raise CommandError(ExitCode.FAILED, str(error)) from None


def _now() -> int:
    return time.time_ns() // 1_000_000
