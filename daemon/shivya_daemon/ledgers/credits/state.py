"""The book: what the ledger knows at one moment. Immutable; a change is a new state.

Accounts have the four counters of double entry with two phases (TigerBeetle): what was debited and credited,
pending and posted. They only ever grow, but for the pending ones, which fall when a reservation ends; the
balance is computed. Whatever is debited from one account is credited to another or to the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction

from shivya_daemon.ledgers.credits import records
from shivya_daemon.ledgers.credits.persistent import Map
from shivya_daemon.ledgers.credits.records import Digest, Id, Key, Text
from shivya_daemon.ledgers.credits.refusals import Posted, Refusal, Refuse, require
from shivya_daemon.ledgers.credits.reputation import Reputation
from shivya_daemon.ledgers.credits.signing import digest
from shivya_daemon.ledgers.credits.units import LIMIT, Amount, Count, Time

MAX_ROSTER = 1024
TWO_THIRDS = Fraction(2, 3)


@dataclass(frozen=True, slots=True)
class Account:
    """One account. Its owner is whoever can sign for the key it is known by."""

    debits_pending: Amount = 0
    debits_posted: Amount = 0
    credits_pending: Amount = 0
    credits_posted: Amount = 0
    staked: Amount = 0
    counter: Count = 0
    """That of the owner's last operation."""
    reservations: Count = 0
    """How many the owner has open as payer."""

    @property
    def balance(self) -> Amount:
        """What the account has, reserved and staked credits included."""
        return self.credits_posted - self.debits_posted

    @property
    def available(self) -> Amount:
        """What the owner can spend."""
        return self.balance - self.debits_pending - self.staked

    def book(self, entries: Mapping[str, int]) -> Account:
        """Return the account with each entry added to the counter of that name."""
        after = {name: getattr(self, name) + entry for name, entry in entries.items()}
        require(max(after.values()) <= LIMIT, Refusal.OVERFLOW)
        return replace(self, **after)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Credits that wait for `settler` to post or void them; at `deadline` they are void."""

    payer: Key
    payee: Key
    settler: Key
    amount: Amount
    deadline: Time


@dataclass(frozen=True, slots=True)
class Spirit:
    """A published program; price 0: not for sale."""

    owner: Key
    price: Amount


class Decision(Enum):
    """What came of a proposal so far."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A question to the roster, and the votes so far in the order of their arrival."""

    proposer: Key
    text: Text
    receiver: Key
    amount: Amount
    deadline: Time
    approvals: tuple[Key, ...] = ()
    rejections: tuple[Key, ...] = ()
    decision: Decision = Decision.PENDING


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an id: the digest of what was signed, and the outcome."""

    content: Digest
    sequence: Count
    fee: Amount

    @property
    def posted(self) -> Posted:
        """The outcome."""
        return Posted(self.sequence, self.fee)


@dataclass(frozen=True, slots=True)
class State:
    """All that decides what the next operation does. Make the first with `genesis`."""

    ledger: Digest
    """Digest of the genesis: the name of this ledger, covered by every signature."""
    minted: Amount
    roster: tuple[Key, ...]
    """The witnesses, fixed for good, sorted."""
    threshold: Fraction
    """Share of the roster that approves a proposal."""
    stake: Amount
    """What a witness must have staked."""

    now: Time
    """The time of the ledger; it comes from outside, by `machine.advance`, and never goes back."""
    sequence: Count = 0
    """How many operations took effect."""
    pool: Account = field(default_factory=Account)
    """Where fees go, and grants come from."""
    accounts: Map[Account] = field(default_factory=Map)
    reservations: Map[Reservation] = field(default_factory=Map)
    spirits: Map[Spirit] = field(default_factory=Map)
    proposals: Map[Proposal] = field(default_factory=Map)
    reputations: Map[Reputation] = field(default_factory=Map)
    due: Time = LIMIT
    """No deadline of a reservation or proposal is earlier."""

    recent: Map[Receipt] = field(default_factory=Map)
    """Ids accepted since `rotated`; those of the period before are in `former`."""
    former: Map[Receipt] = field(default_factory=Map)
    rotated: Time = 0

    @classmethod
    def genesis(
        cls,
        balances: Mapping[Key, Amount],
        *,
        roster: Iterable[Key] = (),
        threshold: Fraction = TWO_THIRDS,
        stake: Amount = 0,
        now: Time = 0,
    ) -> State:
        """Return the first state: these accounts with these balances, and no way to mint any more.

        Keys are Ed25519 public keys (32 bytes), amounts 10^-6 credit, `now` milliseconds since 1970. Raises
        `ValueError` for what cannot be a ledger.
        """
        members = tuple(sorted(set(roster)))
        accounts = Map({key: Account(credits_posted=amount) for key, amount in balances.items()})
        minted = sum(balances.values())
        first = cls(
            bytes(32), minted, members, Fraction(threshold), stake, now, accounts=accounts, rotated=now
        )
        for holds, remedy in (
            (all(type(a) is int and a >= 0 for a in balances.values()), "balances are 0 or more"),
            (minted <= LIMIT, f"balances add up to at most {LIMIT}"),
            (all(len(key) == 32 for key in (*balances, *members)), "accounts are public keys of 32 bytes"),
            (len(members) <= MAX_ROSTER, f"a roster has at most {MAX_ROSTER} members"),
            (all(key in balances for key in members), "every member of the roster needs an account"),
            (0 < threshold <= 1, "the threshold is above 0 and at most 1"),
            (records.well_formed(first, KINDS), "stake and time are whole numbers, 0 or more"),
        ):
            if not holds:
                raise ValueError(f"no genesis: {remedy}")
        return replace(first, ledger=digest(encode(first)))

    def account(self, key: Key) -> Account:
        """Return an account; refused with `NO_ACCOUNT` if it was never opened."""
        found = self.accounts.get(key)
        if found is None:
            raise Refuse(Refusal.NO_ACCOUNT)
        return found

    def reputation(self, key: Key) -> Reputation:
        """Return the reputation of an account."""
        return self.reputations.get(key) or Reputation()

    def receipt(self, operation: Id) -> Receipt | None:
        """Return what became of an operation, None if it did not take effect in the last `LIFETIME`."""
        return self.recent.get(operation) or self.former.get(operation)

    def book(self, key: Key, **entries: int) -> State:
        """Return the state with each entry added to a counter of one account."""
        return replace(self, accounts=self.accounts.set(key, self.account(key).book(entries)))

    def book_pool(self, **entries: int) -> State:
        """Return the state with each entry added to a counter of the pool."""
        return replace(self, pool=self.pool.book(entries))

    def hold(self, reservation: Id, held: Reservation) -> State:
        """Return the state with a reservation."""
        return replace(
            self,
            reservations=self.reservations.set(reservation, held),
            due=min(self.due, held.deadline),
        )

    def ask(self, proposal: Id, asked: Proposal) -> State:
        """Return the state with a proposal, or with it changed."""
        return replace(self, proposals=self.proposals.set(proposal, asked), due=min(self.due, asked.deadline))

    def judge(self, key: Key, reputation: Reputation) -> State:
        """Return the state with the reputation of an account changed."""
        return replace(self, reputations=self.reputations.set(key, reputation))

    def own(self, spirit: Digest, record: Spirit) -> State:
        """Return the state with a spirit, or with it changed."""
        return replace(self, spirits=self.spirits.set(spirit, record))


_PROPOSAL_KINDS = records.KINDS | {"Decision": records.choice(Decision)}
KINDS: records.Kinds = _PROPOSAL_KINDS | {
    "Account": records.Kind(
        lambda v: type(v) is Account and records.well_formed(v),
        records.pack,
        lambda packed: records.unpack(Account, packed),
    ),
    "Map[Account]": records.table(Account, records.KINDS),
    "Map[Reservation]": records.table(Reservation, records.KINDS),
    "Map[Spirit]": records.table(Spirit, records.KINDS),
    "Map[Proposal]": records.table(Proposal, _PROPOSAL_KINDS),
    "Map[Reputation]": records.table(Reputation, records.KINDS),
    "Map[Receipt]": records.table(Receipt, records.KINDS),
}


def encode(state: State) -> bytes:
    """Return a state as canonical JSON: equal states, equal bytes."""
    return records.encode(state, KINDS)


def decode(data: bytes) -> State:
    """Return the state that `data` is the canonical form of; raises `records.DecodeError`."""
    return records.decode(State, data, KINDS)
