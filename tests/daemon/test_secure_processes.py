"""Real daemons with a mesh key: who finds whom, who is kept out, how a node is drained."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes
Start = Callable[..., Any]
PATIENCE = 120.0


def shivya(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "shivya", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


@pytest.fixture
def keyed(tmp_path: Path) -> tuple[str, str]:
    shivya("init", "--dir", str(tmp_path / "mesh"))
    return "--mesh-key-file", str(tmp_path / "mesh" / "mesh.key")


def names(status: dict[str, Any]) -> set[str]:
    return {peer["name"] for peer in status["peers"]}


def test_who_has_the_key_gets_in_and_nobody_else(
    start: Start, tmp_path: Path, keyed: tuple[str, str]
) -> None:
    a = start("a", flags=keyed)
    b = start("b", a.address, flags=keyed)
    a.until(lambda status: names(status) == {"b"} and status["links"])

    shivya("init", "--dir", str(tmp_path / "other"))
    other = ("--mesh-key-file", str(tmp_path / "other" / "mesh.key"))
    stranger = start("stranger", a.address, flags=other)
    bare = start("bare", a.address)
    status = a.until(lambda status: status["drops"].get("bad_mac", 0) >= 4)
    assert names(status) == {"b"}
    for outsider in (stranger, bare):
        assert outsider.ask("STATUS")["peers"] == []

    # What an operator sees of it.
    socket_of_a = ("--socket", str(a.socket))
    (link,) = json.loads(shivya("links", "--json", *socket_of_a))
    assert (link["name"], link["state"], link["breaker"]) == ("b", "established", "closed")
    document = json.loads(shivya("doctor", "--json", *socket_of_a))
    found = {row["check"]: row for row in document["findings"] if row["level"] in ("warning", "error")}
    assert "another mesh key" in found["drops"]["text"]
    secret = Path(keyed[1]).read_bytes()
    for text in (json.dumps(a.ask("STATUS")), json.dumps(a.ask("FACTS")), json.dumps(document)):
        assert secret.hex() not in text

    shivya("signal", "send", "flood", "backup", "tonight at 3", *socket_of_a)
    watched = b.until(lambda _: b.ask("SIGNALS")["signals"])
    assert watched["name"] == "b"
    (signal,) = json.loads(shivya("signals", "--json", "--socket", str(b.socket)))["signals"]
    assert (signal["type"], signal["name"]) == ("backup", "a")
    assert bytes.fromhex(signal["payload"]) == b"tonight at 3"
    assert "tonight at 3" in shivya("signals", "--socket", str(b.socket))
    assert a.stop() == b.stop() == 0


def test_the_allow_list_keeps_out_a_node_with_the_key(
    start: Start, tmp_path: Path, keyed: tuple[str, str]
) -> None:
    b = start("b", flags=keyed)
    (tmp_path / "allowed").write_text(f"{b.ask('STATUS')['node_id']}  # b\n")
    config = tmp_path / "a.toml"
    config.write_text(f'allow_file = "allowed"\nmesh_key_file = "{keyed[1]}"\n')
    a = start("a", b.address, flags=("--config", str(config)))
    c = start("c", a.address, flags=keyed)
    status = a.until(lambda status: names(status) == {"b"} and status["drops"].get("not_allowed", 0) > 0)
    assert names(status) == {"b"}
    assert a.ask("FACTS")["allowed"] == 1
    assert "a" not in names(c.ask("STATUS"))


def test_a_drained_node_takes_no_more_work_and_says_goodbye(start: Start, keyed: tuple[str, str]) -> None:
    a = start("a", flags=keyed)
    b = start("b", a.address, flags=keyed)
    a.until(lambda status: names(status) == {"b"} and status["links"])
    assert b.ask("REPORT queue=4 rate=10") == {"ok": True}
    command = subprocess.Popen(
        [sys.executable, "-m", "shivya", "drain", "--wait", "60", "--socket", str(b.socket)],
        stdout=subprocess.PIPE,
        text=True,
    )
    b.until(lambda status: status["draining"])
    table = a.until(lambda _: a.ask("WATCH")["table"]["neighbours"] == [])
    assert names(table) == {"b"}, "it is there, but takes nothing"
    b.until(lambda _: (b.ask("ROUTE")["to"] or {}).get("name") == "a")  # though it has a free server
    assert command.poll() is None, "four jobs are left"
    assert b.ask("REPORT queue=0") == {"ok": True}
    assert b.wait() == 0
    assert command.communicate(timeout=PATIENCE)[0].startswith("drained")
    assert command.returncode == 0
    status = a.until(lambda status: not status["peers"])
    assert status["traffic"]["peers_left"] == 1, "told, not timed out"


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (("--bind", "0.0.0.0"), 2, "shivya init"),
        (("--mesh-key-file", "absent.key"), 1, "shivya init"),
        (("--open-wire", "--mesh-key-file", "absent.key"), 2, "open_wire"),
        (("--bind", "192.0.2.77", "--open-wire"), 1, "no interface of this host"),
    ],
)
def test_a_daemon_refuses_what_would_expose_it(
    tmp_path: Path, flags: tuple[str, ...], code: int, says: str
) -> None:
    state = (
        "--port",
        "0",
        "--state-dir",
        str(tmp_path / "s"),
        "--socket",
        str(tmp_path / "s.sock"),
        "--no-tui",
    )
    said = shivya("daemon", *state, *flags, code=code)
    assert says in said
    assert said.count("\n") == 1


def test_in_the_open_on_all_interfaces_it_says_so_loudly(start: Start) -> None:
    daemon = start("open", flags=("--open-wire", "--bind", "0.0.0.0"))
    status = daemon.ask("STATUS")
    assert any("the open wire listens beyond this host" in text for text in status["status"])
    assert not status["address"].startswith("0.0.0.0")
    assert daemon.ask("FACTS")["bind"] == "0.0.0.0"
    assert "WARNING the open wire listens beyond this host" in daemon.first_line
