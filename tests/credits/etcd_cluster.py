"""Three members of etcd on loopback, which can be killed, stopped, resumed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shivya_daemon.ledgers.credits.etcd_gateway import Gateway, Patience
from shivya_daemon.ledgers.credits.witness import Unavailable

MEMBERS = 3
SHORT = Patience(connect=0.5, answer=1.0, deadline=60.0)


@dataclass
class Member:
    """One member: how it is started, and its process."""

    command: list[str]
    client: str
    log: Path
    process: subprocess.Popen[bytes]


class Cluster:
    """A running cluster: every member has answered."""

    def __init__(self, folder: Path) -> None:
        self._held = [_held_port() for _ in range(2 * MEMBERS)]
        urls = [f"http://127.0.0.1:{held.getsockname()[1]}" for held in self._held]
        clients, peers = urls[:MEMBERS], urls[MEMBERS:]
        names = [f"m{number}" for number in range(MEMBERS)]
        everyone = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
        self.members: list[Member] = []
        for name, client, peer in zip(names, clients, peers, strict=True):
            command = [
                "etcd", "--name", name, "--data-dir", str(folder / name),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", everyone, "--initial-cluster-token", folder.name,
                "--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "error",
            ]  # fmt: skip
            log = folder / f"{name}.log"
            self.members.append(Member(command, client, log, _run(command, log)))
        try:
            for member in self.members:
                _ask(member, SHORT)
        except BaseException:
            self.close()
            raise

    @property
    def endpoints(self) -> list[str]:
        return [member.client for member in self.members]

    def leader(self) -> Member:
        """The member that leads; waits for an election."""
        while True:
            for member in self.members:
                try:
                    status = _ask(member, Patience(connect=0.2, answer=0.5, deadline=0.1))
                except Unavailable:
                    continue
                if status.get("leader") == status["header"]["member_id"]:
                    return member

    def kill(self, member: Member) -> None:
        member.process.kill()
        member.process.wait()

    def start(self, member: Member) -> None:
        member.process = _run(member.command, member.log)

    def stop(self, member: Member) -> None:
        """Freeze it: to the others it is behind a partition, and it believes that it still leads."""
        member.process.send_signal(signal.SIGSTOP)

    def resume(self, member: Member) -> None:
        member.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        for member in self.members:
            member.process.kill()
            member.process.wait()
        for held in self._held:
            held.close()


def _run(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def _ask(member: Member, patience: Patience) -> dict[str, Any]:
    gateway = Gateway([member.client], patience=patience)
    try:
        return gateway.ask("maintenance/status", {})
    finally:
        gateway.close()


def _held_port() -> socket.socket:
    """A bound socket: nobody is given its port, but who sets SO_REUSEADDR, as etcd does, can listen on it."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
