"""What a daemon is put together from before it runs: the node, its UDP port, its record."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable

from shivya_daemon.core.events import Event
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node, NodeSettings
from shivya_daemon.mind.record import Recorder, conditions
from shivya_daemon.net.udp import UdpDriver
from shivya_daemon.settings import DaemonSettings, SettingsError, check_name


def make_node(
    settings: DaemonSettings, identity: Identity, mesh_key: bytes | None, allow: frozenset[bytes] | None
) -> Node:
    """Return the node of `identity`, named after the host if the settings give no name."""
    host = platform.node().split(".")[0][:24]
    name = settings.name or f"{host or 'node'}-{identity.node_id.hex()[:4]}"
    return Node(
        identity,
        NodeSettings(
            name=check_name(name),
            wire="open" if settings.open_wire else "secure",
            heartbeat_interval=settings.law.tick_interval,
        ),
        os.urandom,
        time.time_ns() // 1_000_000,
        mesh_key=mesh_key,
        allow=allow,
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
        return Recorder(settings.record, conditions(settings.law, own))
    except FileExistsError as error:
        raise SettingsError(f"record {settings.record} is there already; name a new file") from error
    except OSError as error:
        raise SettingsError(f"record {settings.record} cannot be written: {error.strerror}") from error
