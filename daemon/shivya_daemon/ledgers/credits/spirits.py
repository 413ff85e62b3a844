"""The rules of ownership: a spirit has one owner, and changes hands together with its price."""

from __future__ import annotations

from dataclasses import replace

from shivya_daemon.ledgers.credits.operations import Buy, Offer, Operation, Publish
from shivya_daemon.ledgers.credits.records import Digest
from shivya_daemon.ledgers.credits.refusals import Refusal, Refuse, require
from shivya_daemon.ledgers.credits.state import Spirit, State
from shivya_daemon.ledgers.credits.transfers import charge, pay
from shivya_daemon.ledgers.credits.units import PUBLISHING_FEE


def publish(state: State, operation: Operation, action: Publish) -> State:
    """The first to publish a manifest owns the spirit."""
    require(action.spirit not in state.spirits, Refusal.SPIRIT_EXISTS)
    return charge(state, operation.sender, PUBLISHING_FEE).own(
        action.spirit, Spirit(operation.sender, action.price)
    )


def offer(state: State, operation: Operation, action: Offer) -> State:
    """The owner names another price."""
    spirit = _spirit(state, action.spirit)
    require(operation.sender == spirit.owner, Refusal.NOT_OWNER)
    return state.own(action.spirit, replace(spirit, price=action.price))


def buy(state: State, operation: Operation, action: Buy) -> State:
    """Payment and ownership change hands in one step; afterwards it is off the market."""
    spirit = _spirit(state, action.spirit)
    require(spirit.price > 0, Refusal.NOT_FOR_SALE)
    require(action.price == spirit.price, Refusal.PRICE_CHANGED)
    return pay(state, operation.sender, spirit.owner, spirit.price).own(
        action.spirit, Spirit(operation.sender, price=0)
    )


def _spirit(state: State, spirit: Digest) -> Spirit:
    found = state.spirits.get(spirit)
    if found is None:
        raise Refuse(Refusal.NO_SPIRIT)
    return found
