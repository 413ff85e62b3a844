"""Fleets simulated: the laws of load sharing compared on the same jobs, under an honest information model.

`simulate(worlds(scenario, seeds), "shivya")` runs one fleet per seed side by side; with `spread` instead of
`worlds`, over all devices of the process.
"""

from __future__ import annotations

from shivya_kernels.fleet.batch import rollout, simulate
from shivya_kernels.fleet.devices import spread
from shivya_kernels.fleet.laws import LAWS, Law, LocalView, Params
from shivya_kernels.fleet.scenario import Failure, Outage, Scenario
from shivya_kernels.fleet.trace import FleetTrace
from shivya_kernels.fleet.world import World, alike, worlds

__all__ = [
    "LAWS",
    "Failure",
    "FleetTrace",
    "Law",
    "LocalView",
    "Outage",
    "Params",
    "Scenario",
    "World",
    "alike",
    "rollout",
    "simulate",
    "spread",
    "worlds",
]
