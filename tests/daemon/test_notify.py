"""What a service manager is told: by path and by abstract name, when it is due, and nothing without one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shivya_daemon.notify import Manager


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and how the environment names it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60.0)
        if request.param == "path":
            manager.bind(str(tmp_path / "notify"))
            yield manager, manager.getsockname()
        else:
            manager.bind("")  # the system chooses an abstract name
            name = manager.getsockname()
            if not name:
                pytest.skip("this system has no abstract sockets")
            yield manager, "@" + name[1:].decode()


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_the_life_of_a_daemon(listener: tuple[socket.socket, str]) -> None:
    manager, address = listener
    told = Manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "7"}, process=7)
    told.ready("ok;\nno peers")
    assert heard(manager) == ["READY=1", "STATUS=ok; no peers"]
    asked: list[float] = []
    for tenth in range(45):
        told.alive(100.0 + tenth / 10, lambda: asked.append(0.0) or "ok")  # type: ignore[func-returns-value]
    assert [heard(manager) for _ in range(3)] == [["WATCHDOG=1", "STATUS=ok"]] * 3
    assert len(asked) == 3, "a status is made only when it is told"
    told.stopping()
    assert heard(manager)[0] == "STOPPING=1"


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "8"}],
)
def test_a_watchdog_that_is_not_ours_is_left_alone(
    listener: tuple[socket.socket, str], watchdog: dict[str, str]
) -> None:
    manager, address = listener
    told = Manager({"NOTIFY_SOCKET": address, **watchdog}, process=7)
    for second in range(15):
        told.alive(float(second), lambda: "ok")
    assert heard(manager) == heard(manager) == ["STATUS=ok"], "at 0 and at 10"
    told.stopping()
    assert heard(manager)[0] == "STOPPING=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "x" * 500])
def test_nobody_to_tell_is_no_reason_to_fail(address: str) -> None:
    told = Manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    told.ready("ok")
    told.alive(5.0, lambda: "ok")
    told.stopping()
