"""What a daemon is put together from before it runs: the node, its UDP port, its record."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable

from msgspec.structs import replace

from shivya_daemon.core.errors import EncodeError
from shivya_daemon.core.events import Event
from shivya_daemon.core.gossip.announcement import MAX_ADDRESSES, Profile, announce
from shivya_daemon.core.gossip.capabilities import Capabilities, Compute, Storage
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.leases.kinds import LABELS
from shivya_daemon.core.leases.settings import LeaseSettings
from shivya_daemon.core.links.settings import LinksSettings
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.core.settings import OWN_WAIT_CHANGE
from shivya_daemon.mind.head import head
from shivya_daemon.mind.record import Recorder
from shivya_daemon.net.udp import UdpDriver
from shivya_daemon.settings import (
    CapabilitySettings,
    DaemonSettings,
    QuotaSettings,
    SettingsError,
    check_name,
)
from shivya_daemon.telemetry import machine

_SILENCE = 0.3  # seconds
_LONGEST = tuple((f"2001:db8::{number}", 1) for number in range(1, MAX_ADDRESSES + 1))


def make_node(
    settings: DaemonSettings, identity: Identity, mesh_key: bytes | None, allow: frozenset[bytes] | None
) -> Node:
    """Return the node of `identity`, named after the host if the settings give no name.

    Raises `SettingsError` for a name or capabilities that cannot be announced.
    """
    host = platform.node().split(".")[0][:24]
    name = check_name(settings.name or f"{host or 'node'}-{identity.node_id.hex()[:4]}")
    profile = Profile(name, (), offered(settings.capabilities), sought(settings.seeks))
    try:
        announce(identity, 0, 0, replace(profile, addresses=_LONGEST))
    except EncodeError as error:
        raise SettingsError(f"capabilities: {error}") from None
    return Node(
        identity,
        NodeSettings(
            name=name,
            wire="open" if settings.open_wire else "secure",
            heartbeat_interval=settings.law.tick_interval,
            leases=lending(settings.quota, settings.credits.on),
            links=LinksSettings(target_links=settings.links),
            # The open wire keeps the fixed pace that its other implementations have.
            heartbeat_change=OWN_WAIT_CHANGE if settings.no_law else NodeSettings().heartbeat_change,
            heartbeat_silence=None if settings.open_wire else min(_SILENCE, settings.law.stale_after / 3),
        ),
        os.urandom,
        time.time_ns() // 1_000_000,
        mesh_key=mesh_key,
        allow=allow,
        profile=profile,
    )


def lending(settings: QuotaSettings, credits: bool = False) -> LeaseSettings:
    """Return what a node lends, and whether there is a ledger to pay by."""
    quota = {kind: getattr(settings, label) for label, kind in LABELS.items()}
    return LeaseSettings(
        {kind: amount for kind, amount in quota.items() if amount},
        ttl=settings.lease_ttl,
        confirm=min(LeaseSettings().confirm, settings.lease_ttl),
        max_latency=settings.max_latency,
        credits=credits,
    )


def offered(settings: CapabilitySettings) -> Capabilities:
    """Return what a node announces that it has: what was not said of its computing is measured."""
    cores, memory_mb = machine()
    cores = cores if settings.cores is None else settings.cores
    memory_mb = memory_mb if settings.memory_mb is None else settings.memory_mb
    return replace(sought(settings), compute=Compute(cores, memory_mb) if cores else None)


def sought(settings: CapabilitySettings) -> Capabilities:
    """Return just what the settings say; of computing or storage, the half that was left out is 0."""
    compute, storage = (settings.cores, settings.memory_mb), (settings.capacity_mb, settings.iops)
    return Capabilities(
        compute=Compute(*(n or 0 for n in compute)) if any(compute) else None,
        storage=Storage(*(n or 0 for n in storage)) if any(storage) else None,
        gateway=settings.gateway,
        witness=settings.witness,
        tags=settings.tags,
    )


def bind(node: Node, settings: DaemonSettings, hear: Callable[[list[Event]], None]) -> UdpDriver:
    """Open the UDP port; raises `OSError` with what to do."""
    try:
        return UdpDriver(node, settings.bind, settings.port, on_events=hear)
    except OSError as error:
        remedy = "is a daemon running there? choose another with --port"
        if error.errno == errno.EADDRNOTAVAIL:
            remedy = "no interface of this host has it; choose another with --bind"
        raise OSError(
            f"cannot use UDP {settings.bind} port {settings.port}: {error.strerror}; {remedy}"
        ) from error


def open_record(settings: DaemonSettings, own: bytes) -> Recorder | None:
    """Begin a record if one is wanted; raises `SettingsError`."""
    if settings.record is None:
        return None
    try:
        return Recorder(settings.record, head(settings.law, own))
    except FileExistsError as error:
        raise SettingsError(f"record {settings.record} is there already; name a new file") from error
    except OSError as error:
        raise SettingsError(f"record {settings.record} cannot be written: {error.strerror}") from error
