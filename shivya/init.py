"""`shivya init`: a mesh begins with a key, and with settings that can be read."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

from shivya import config
from shivya.errors import CommandError, ExitCode
from shivya_daemon.keyfile import KEY_BYTES, KeyFileError, create_key, read_key

KEY_FILE = "mesh.key"

_SETTINGS = """\
# Settings of the Shivya daemon on this node. Each key can also be given as a flag (--port 8085) or a variable
# (SHIVYA_PORT=8085); a flag wins over a variable, a variable over this file. Paths are relative to this file.

# Whoever has this key can join the mesh: the same file on every node, readable by its owner only (chmod 600).
mesh_key_file = "{key}"

# The address to listen on. "0.0.0.0" is every IPv4 interface, "127.0.0.1" this host only.
bind = "127.0.0.1"
port = 8085

# Nodes to join by, any two or three of the mesh; on the very first node none.
# peers = ["10.0.0.1:8085", "10.0.0.2:8085"]

# The address that peers are told to use, if it is not one of this host's interfaces.
# advertise = "203.0.113.7"

# What this node is called: a-z A-Z 0-9 . _ - (default: the host's name and some of the node's id).
# name = "edge-1"

# Only these nodes may speak with this one; their ids are in 'shivya status'. Default: all that have the key.
# allow = ["0123456789abcdef0123456789abcdef01234567"]
# allow_file = "allowed-nodes"

# Jobs per second of the service named "default", until an application says better.
# service_rate = 10.0

# Neighbours that this node seeks, 2 to 12. Fewer cost less traffic, and work goes more hops.
# links = 6

# Identity, logs and whatever else outlives the daemon (default: ~/.local/state/shivya/<port>).
# state_dir = "/var/lib/shivya"

# How log lines look: "text" or "json".
# log_format = "text"

# The live page, on this host only: its TCP port (default: no page). 'shivya visualize' prints the link.
# visualize = 9002

# Metrics for Prometheus: the TCP port (default: none), and the address to serve them on.
# metrics = 8000
# metrics_bind = "127.0.0.1"

# What this node has. A link needs something that both have, or that one seeks and the other has; computing is
# measured and announced by itself, so that all nodes can link until somebody says otherwise.
[capabilities]
# Processor cores and memory in MiB. cores = 0: this node takes no part in computing.
# compute = {{ cores = 4, memory_mb = 8192 }}
# Storage in MiB, and its operations per second.
# storage = {{ capacity_mb = 512000, iops = 2000 }}
# Protocols that it is a gateway for, and tags of your own: at most 8 of each, a-z A-Z 0-9 . _ -
# gateway = ["mqtt", "modbus"]
# tags = ["hall-3", "gpu"]
# Stake of a witness, in atomic units of credit.
# witness = 1000

# What it seeks in others, in the same words; amounts are the least that will do.
[capabilities.seeks]
# gateway = ["opc-ua"]
# storage = {{ capacity_mb = 64000 }}

# What it lends, by leases, to its own applications and to other nodes; nothing unless it is said here.
[quota]
# millicores = 4000
# memory_mb = 8192
# gpu_memory_mb = 16384
# Storage that goes with the lease, that outlives a restart, that outlives the machine; in MiB.
# ephemeral_mb = 64000
# persistent_mb = 64000
# replicated_mb = 64000
# iops = 2000
# ingress_mbps = 100
# egress_mbps = 100
# connections = 64
# Seconds of silence after which the lease of another node is free again.
# lease_ttl = 6.0
# Round-trip time in seconds beyond which a node is not asked for a lease.
# max_latency = 0.05

# The ledger that leases and helpers are paid by: a file that this daemon alone writes.
[credits]
# ledger = "/var/lib/shivya/credits.db"
# Instead of a file the members of an etcd, such as "http://10.0.0.7:2379", for any number of daemons.
# etcd = []
# By TLS: certificates of its own, and one of this client. With a password: its user, and a file of mode 0600.
# etcd_ca = "/etc/shivya/etcd-ca.pem"
# etcd_cert = "/etc/shivya/etcd-client.pem"
# etcd_key = "/etc/shivya/etcd-client.key"
# etcd_user = "shivya"
# etcd_password_file = "/etc/shivya/etcd-password"
# What helpers are paid per ten seconds at most, in 10^-6 credit.
# epoch_limit = 1000000

[law]
# Seconds that a move of a job must at least save.
# gap = 0.05
# Most moves of one job.
# hop_limit = 8
"""


def run(folder: Path | None, *, as_json: bool) -> int:
    """Write a mesh key and settings into `folder`, the user's own when None; refuses to overwrite either.

    A key that is there already, copied from another node, is kept, and gets settings beside it.
    """
    own = config.user_folder(os.environ)
    folder = own if folder is None else folder.absolute()
    settings = folder / (config.USER_FILE if folder == own else config.PROJECT_FILE)
    key = folder / KEY_FILE
    if settings.exists():
        raise CommandError(
            ExitCode.REFUSED, f"{settings} exists and is not overwritten; choose another folder with --dir"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = _keep_or_create(key)
        with settings.open("x", encoding="utf-8") as file:
            file.write(_SETTINGS.format(key=KEY_FILE))
    except OSError as error:
        raise CommandError(ExitCode.FAILED, f"cannot write to {folder}: {error.strerror or error}") from None
    except KeyFileError as error:
        raise CommandError(ExitCode.REFUSED, str(error)) from None
    if as_json:
        document = {"settings": str(settings), "mesh_key_file": str(key), "mesh_key_created": not kept}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(_text(settings, key, kept, explicit=folder != own))
    return ExitCode.OK


def _keep_or_create(key: Path) -> bool:
    """Return whether a usable key was there; raises `KeyFileError` for one that is not usable."""
    try:
        read_key(key)
    except FileNotFoundError:
        create_key(key, os.urandom(KEY_BYTES))
        return False
    return True


def _text(settings: Path, key: Path, kept: bool, *, explicit: bool) -> str:
    start = "shivya daemon" + (f" --config {shlex.quote(str(settings))}" if explicit else "")
    return (
        f"{'found' if kept else 'made '}  {key}\nmade   {settings}\n\n"
        "Copy the key to the same folder of each other node, over a channel you trust, and run this there:\n"
        f"  scp -p {shlex.quote(str(key))} NODE:\n"
        f"Set bind and peers in {settings}, then start the node:\n"
        f"  {start} --peer FIRST-NODE:8085\n"
    )
