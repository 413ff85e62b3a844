"""Daemons on hosts of their own, and what the tests of this folder need of the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from host_daemon import PATIENCE, Daemon
from namespaces import Host, Lab, Refused

_CHAIN = "table inet loss { chain input { type filter hook input priority 0; }; }\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two switches in namespaces; a test that asks for them is skipped where there can be none."""
    try:
        made = Lab()
    except Refused as refused:
        pytest.skip(f"no network namespaces (they need root and iproute2): {refused}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def lossy(lab: Lab) -> Callable[[Host, int], Callable[[], int]]:
    """Let a host lose a share of the UDP datagrams that reach it; gives a function that counts them."""
    if shutil.which("nft") is None:
        pytest.skip("no loss without nft: apt-get install nftables")

    def lose(host: Host, percent: int) -> Callable[[], int]:
        host.run("nft", "-f", "-", script=_CHAIN)
        rule = f"meta l4proto udp numgen random mod 100 < {percent} counter drop"
        try:
            host.run("nft", "add", "rule", "inet", "loss", "input", *rule.split())
        except Refused as refused:
            pytest.skip(f"this kernel's nftables cannot lose at random: {refused}")

        def lost() -> int:
            rows = json.loads(host.run("nft", "-j", "list", "chain", "inet", "loss", "input"))["nftables"]
            (found,) = (
                part["counter"]["packets"]
                for row in rows
                for part in row.get("rule", {}).get("expr", [])
                if "counter" in part
            )
            return int(found)

        return lost

    return lose


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A mesh key as operators make one."""
    folder = tmp_path / "mesh"
    command = [sys.executable, "-m", "shivya", "init", "--dir", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    return folder / "mesh.key"


@pytest.fixture
def start(tmp_path: Path, key: Path, lab: Lab) -> Iterator[Callable[..., Daemon]]:
    """Start daemons by host, peers and further flags; they listen on all interfaces of their host."""
    running: list[Daemon] = []

    def starter(host: Host, *peers: str, flags: tuple[str, ...] = ("--bind", "0.0.0.0")) -> Daemon:
        joining = [word for peer in peers for word in ("--peer", peer)]
        running.append(Daemon(host, tmp_path, key, *joining, *flags))
        if len(running) == 1:  # what it compiles, the others find in the compile cache
            running[0].until(lambda status: status["law"] == "running")
        return running[-1]

    yield starter
    for daemon in running:
        sys.stderr.write(f"-- {daemon.host.name}\n{daemon.stop()}")  # shown where the test failed
