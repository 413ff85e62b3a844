"""Signals: signed messages from one node to many, spread along the links. Start reading in `signals`."""

from __future__ import annotations

from shivya_daemon.core.signals.events import QuorumReached, SignalEvent, SignalReceived, Undeliverable
from shivya_daemon.core.signals.frame import (
    ActionPotential,
    Directed,
    Flood,
    Gradient,
    Kind,
    Quorum,
    Signal,
    SignalFrame,
)
from shivya_daemon.core.signals.gradients import GradientReading
from shivya_daemon.core.signals.settings import SignalSettings
from shivya_daemon.core.signals.signals import Outgoing, SignalRefused, Signals

__all__ = [
    "ActionPotential",
    "Directed",
    "Flood",
    "Gradient",
    "GradientReading",
    "Kind",
    "Outgoing",
    "Quorum",
    "QuorumReached",
    "Signal",
    "SignalEvent",
    "SignalFrame",
    "SignalReceived",
    "SignalRefused",
    "SignalSettings",
    "Signals",
    "Undeliverable",
]
