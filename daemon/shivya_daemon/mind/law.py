"""Runs the compiled step: one state per service, one compilation for the life of the daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from shivya_daemon.mind.compiled import compiled, parameters
from shivya_daemon.mind.machine import stacked
from shivya_daemon.mind.observe import HostLoad, Observed, Observer
from shivya_daemon.mind.packed import unpack
from shivya_daemon.mind.programs import Programs
from shivya_daemon.mind.sizes import SIZES
from shivya_daemon.settings import LawSettings
from shivya_daemon.verdict import EdgeVerdict, Verdict
from shivya_daemon.world import Vertex, World
from shivya_kernels.complex import NO_VERTEX, Capacity
from shivya_kernels.policy import Action
from shivya_kernels.state import Info, State
from shivya_kernels.status import Status, describe

CAPACITY = Capacity(**SIZES)


@dataclass
class _Service:
    observer: Observer
    state: State


class Law:
    """Worlds in, verdicts out. Not thread-safe: one caller at a time."""

    def __init__(self, settings: LawSettings, seed: int, capacity: Capacity = CAPACITY) -> None:
        self._capacity = capacity
        self._seed = seed
        self._services: dict[str, _Service] = {}
        self._compiled = compiled(capacity)
        with jax.enable_x64(True):
            self._params = parameters(settings)

    def judge(
        self, worlds: tuple[World, ...], cpu: float, memory: float, network: float
    ) -> dict[str, Verdict]:
        """Advance every service by one tick; services that are no longer offered are forgotten.

        `cpu` and `memory` of this machine are shares from 0 to 1, `network` is in bytes per second.
        """
        host = HostLoad(cpu, memory, network)
        with jax.enable_x64(True):
            wanted = {world.service for world in worlds}
            self._services = {name: s for name, s in self._services.items() if name in wanted}
            return {world.service: self._judge_one(world, host) for world in worlds}

    def install(self, service: str, programs: Programs) -> None:
        """Predict with other laws from the next tick on; a service that is not offered is passed over.

        Raises ValueError for programs beyond the capacity.
        """
        if (known := self._services.get(service)) is not None:
            laws = stacked(programs, self._capacity.program)
            with jax.enable_x64(True):
                known.state = self._compiled.install(known.state, laws)

    def _judge_one(self, world: World, host: HostLoad) -> Verdict:
        service = self._services.get(world.service)
        if service is None:
            state = self._compiled.fresh(self._params, np.int64(self._seed + len(self._services)))
            service = self._services[world.service] = _Service(Observer(self._capacity), state)
        seen = service.observer.observe(world, host)
        if seen.moved is not None:
            thickness = _carry(np.asarray(service.state.thickness), seen.moved)
            service.state = replace(service.state, thickness=jax.device_put(thickness))
        service.state, packed = self._compiled.tick(self._params, service.state, seen.observation)
        return _verdict(world, seen, unpack(packed))


def _carry(old: NDArray[Any], moved: NDArray[np.int32]) -> NDArray[Any]:
    """Give each edge the value it had at its old index; a new edge starts at 1."""
    return np.where(moved >= 0, old[np.maximum(moved, 0)], 1.0)


def _verdict(world: World, seen: Observed, info: Info) -> Verdict:
    by_slot = {slot: node for node, slot in seen.slots.items()}
    placement = info.placement
    hop = int(placement.next_hop)
    neighbours: list[Vertex] = [v for v in world.vertices[1:] if v.direct and v.id in seen.slots]
    status = Status(int(info.status)) | (Status.OVERFLOW if seen.overflow else Status(0))
    return Verdict(
        service=world.service,
        waiting=float(info.waiting[0]),
        potential=float(placement.potential),
        slope=float(placement.slope),
        next_hop=None if hop == NO_VERTEX else by_slot[hop],
        second_potential=float(placement.second_potential),
        second_slope=float(placement.second_slope),
        release={v.id: int(n) for v in neighbours if (n := info.release[seen.slots[v.id]]) > 0},
        edges=tuple(
            EdgeVerdict(
                link.tail,
                link.head,
                link.traffic,
                float(info.gradient[i]),
                float(info.curl[i]),
                float(info.harmonic[i]),
                float(info.flow[i]),
                float(info.recommended[i]),
                float(info.conductance[i]),
                float(info.advertised[i]),
            )
            for i, link in enumerate(seen.links)
        ),
        curl_norm=float(info.curl_norm),
        harmonic_norm=float(info.harmonic_norm),
        collective_free_energy=float(info.free_energy),
        free_energy=float(info.vertex_free_energy[0]),
        belief=tuple(float(x) for x in info.beliefs[0]),
        activator=float(info.activator[0]),
        inhibitor=float(info.inhibitor[0]),
        action=Action(int(info.action[0])).name.lower(),
        dimensions=int(info.dimensions[0]),
        would_split=int(info.parent) == 0,
        shares={
            v.id: share
            for v in (world.own, *neighbours)
            if (share := float(info.shares[seen.slots[v.id]])) > 0.0
        },
        senses=tuple(float(x) for x in info.senses[0]),
        novel=bool(info.novel[0]),
        status=describe(status),
    )
