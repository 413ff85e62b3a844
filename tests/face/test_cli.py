from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from shivya.cli import main, parser

NODE_ID = "ab" * 20
STATUS = {
    "node_id": NODE_ID,
    "name": "edge-1",
    "version": "0.5.0",
    "address": "127.0.0.1:8085",
    "port": 8085,
    "uptime_seconds": 3723.0,
    "law": "running",
    "tick": 12,
    "tick_seconds_p50": 0.0008,
    "collective_free_energy": -1.5,
    "curl_norm": 0.5,
    "harmonic_norm": 0.0,
    "peers": [
        {"id": "cd" * 20, "name": "edge-2", "address": "127.0.0.1:8086", "rtt_seconds": 0.0012,
         "age_seconds": 0.05, "queue": 3, "service_rate": 10.0},
        {"id": "ef" * 20, "name": "evil\x1b]0;x\x07\nname", "address": "127.0.0.1:8087", "rtt_seconds": None,
         "age_seconds": 70.0, "queue": 0, "service_rate": 10.0},
    ],
    "links": [{"id": "cd" * 20, "conductance": 1.25}],
    "cells": [{"id": "c", "service": "resize", "queue": 200, "servers": 4, "service_rate": 20.0,
               "arrival_rate": 25.0, "waiting_seconds": 10.0, "potential_seconds": 2.5}],
    "flows": [{"to": "cd" * 20, "name": "edge-2", "service": "resize", "rate": 60.0}],
    "drops": {"bad_frame": 2, "replay": 0},
    "status": [],
}  # fmt: skip
SETTLE = {
    "edges": [
        {"from": "edge-1", "to": "edge-2", "service": "default", "reported": 12.0, "gradient": 9.333333,
         "curl": 2.666667, "harmonic": 0.0, "balancing": 60.0, "recommended": 60.0}
    ]
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


@contextmanager
def daemon(path: Path, answer: Callable[[str], bytes]) -> Iterator[list[str]]:
    """A stand-in that answers one line per connection; yields the lines it has heard."""
    heard: list[str] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rwb") as stream:
                    line = stream.readline().decode()
                    if not line:
                        return
                    heard.append(line.rstrip("\n"))
                    stream.write(answer(line))
                    stream.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield heard
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
            thread.join()


def truthful(line: str) -> bytes:
    answers = {"STATUS": STATUS, "SETTLE": SETTLE}
    return json.dumps(answers.get(line.split()[0], {"ok": True})).encode() + b"\n"


@pytest.fixture
def heard(tmp_path) -> Iterator[list[str]]:
    with daemon(tmp_path / "shivya" / "8085.sock", truthful) as lines:
        yield lines


NEEDS_DAEMON = (
    ["status"],
    ["status", "--json"],
    ["peers"],
    ["report", "--queue", "3"],
    ["offload", "a", "b", "1"],
    ["settle"],
    ["links", "--json"],
    ["signals", "--json"],
    ["signal", "send", "flood", "backup", "--json"],
)


@pytest.mark.parametrize("argv", NEEDS_DAEMON, ids=" ".join)
def test_without_a_daemon_the_code_is_3_and_the_line_says_what_to_do(capsys, tmp_path, argv):
    assert main(argv) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert str(tmp_path / "shivya" / "8085.sock") in err
    assert "shivya daemon" in err


def test_a_stale_socket_is_no_daemon(tmp_path, capsys):
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert main(["status", "--socket", str(path)]) == 3
    assert str(path) in capsys.readouterr().err


def test_status_shows_health_first(heard, capsys):
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["health", "ok"]
    for part in (NODE_ID, "up 1h02m", "running", "resize", "200", "edge-2", "1.25", "60", "bad_frame 2"):
        assert part in out
    assert "replay" not in out
    assert heard == ["STATUS"]


def test_names_of_peers_cannot_write_to_the_terminal(heard, capsys):
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "evil?]0;x??name" in out


def test_status_json_is_the_object_of_the_daemon(heard, capsys):
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


@pytest.mark.parametrize(
    ("law", "remedies", "word"),
    [
        ("starting", [], "starting"),
        ("running", ["NOT_CONVERGED: do this"], "degraded"),
        ("failed", ["x"], "failed"),
    ],
)
def test_health_is_one_word(tmp_path, capsys, law, remedies, word):
    document = STATUS | {"law": law, "status": remedies, "peers": [], "cells": [], "flows": [], "links": []}
    with daemon(tmp_path / "s", lambda line: json.dumps(document).encode() + b"\n"):
        assert main(["status", "--socket", str(tmp_path / "s")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[1] == word
    assert all(f"remedy: {text}" in out for text in remedies)
    assert "--peer" in out


def test_peers_as_table_and_as_json(heard, capsys):
    assert main(["peers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PEER", "ID", "ADDRESS", "RTT", "AGE", "QUEUE", "RATE/S", "CONDUCTANCE"]
    assert lines[1].split() == [
        "edge-2",
        "cdcdcdcd",
        "127.0.0.1:8086",
        "1.2",
        "ms",
        "50",
        "ms",
        "3",
        "10",
        "1.25",
    ]
    assert len(lines) == 3
    assert main(["peers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS["peers"]


def test_report_sends_what_was_given(heard, capsys):
    assert main(["report", "--queue", "37", "--servers", "4", "--rate", "2.5", "--service", "resize"]) == 0
    assert main(["report", "--queue", "0"]) == 0
    assert heard == [
        "REPORT service=resize queue=37 servers=4 rate=2.5",
        "REPORT service=default queue=0",
    ]


@pytest.mark.parametrize("node", ["edge-1", NODE_ID, NODE_ID[:8]])
def test_report_for_its_own_node(heard, node):
    assert main(["report", "--queue", "1", "--node", node]) == 0
    assert heard == ["STATUS", "REPORT service=default queue=1"]


@pytest.mark.parametrize("node", ["edge-2", "cd" * 20, "ab", ""])
def test_report_for_another_node_is_refused_and_not_sent(heard, capsys, node):
    assert main(["report", "--queue", "1", "--node", node]) == 4
    assert "reports belong to the node they are about: run it there" in capsys.readouterr().err
    assert heard == ["STATUS"]


def test_offload_and_settle(heard, capsys):
    assert main(["offload", "edge-1", "edge-2", "12.5"]) == 0
    capsys.readouterr()
    assert main(["settle"]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == ["edge-1", "edge-2", "12", "9.333", "2.667", "0", "60", "60"]
    assert main(["settle", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == SETTLE
    assert heard[0] == "OFFLOAD service=default from=edge-1 to=edge-2 rate=12.5"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b'{"error": "unknown node `x`\\u001b[2J"}\n', 4, "unknown node `x`"),
        (b"hello\n", 1, "is not a shivya daemon"),
        (b"[]\n", 1, "is not a shivya daemon"),
        (b"\xff\xfe\n", 1, "is not a shivya daemon"),
        (b"", 3, "no daemon answers"),
        (b'{"name": "edge-1"}\n', 1, "--json"),
        (json.dumps(STATUS | {"peers": 3}).encode() + b"\n", 1, "--json"),
    ],
    ids=["error", "text", "list", "bytes", "closed", "fields", "types"],
)
def test_an_answer_that_is_none_ends_in_one_line(tmp_path, capsys, answer, code, words):
    with daemon(tmp_path / "s", lambda line: answer):
        assert main(["status", "--socket", str(tmp_path / "s")]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert "\x1b" not in err


def test_the_daemon_is_chosen_by_flag_then_variable_then_project_file(tmp_path, capsys, monkeypatch):
    def asked() -> str:
        assert main(["status"]) == 3
        return capsys.readouterr().err

    (tmp_path / "shivya.toml").write_text("port = 7001\n")
    assert "shivya/7001.sock" in asked()
    monkeypatch.setenv("SHIVYA_PORT", "7002")
    assert "shivya/7002.sock" in asked()
    monkeypatch.setenv("SHIVYA_SOCKET", str(tmp_path / "given.sock"))
    assert "given.sock" in asked()
    assert main(["status", "--socket", str(tmp_path / "flag.sock")]) == 3
    assert "flag.sock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "COMMAND"),
        (["statsu"], "invalid choice"),
        (["report"], "--queue"),
        (["report", "--queue", "-1"], "must be a whole number, 0 or more"),
        (["report", "--queue", "1.5"], "must be a whole number"),
        (["report", "--queue", "1", "--rate", "nan"], "must be a number greater than 0"),
        (["report", "--queue", "1", "--rate", "inf"], "must be a number greater than 0"),
        (["report", "--queue", "1", "--servers", "0"], "must be a whole number, 1 or more"),
        (["offload", "a", "b", "-2"], "must be a number, 0 or more"),
        (["demo", "--seconds", "0"], "must be a number greater than 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_usage_errors_exit_2_in_one_line(capsys, argv, words):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["daemon", "--port", "many"], "--port must be a whole number"),
        (["start", "--service-rate", "0"], "service_rate"),
        (["daemon", "--peer", "nowhere"], "--peer"),
        (["daemon", "--config", "absent.toml"], "cannot read absent.toml"),
        (["daemon", "--bind", "0.0.0.0"], "loopback"),
        (["status", "--port", "x"], "--port must be a whole number"),
        (["status", "--socket", "/" + "x" * 200], "--socket"),
        (["report", "--queue", "1", "--service", "two words"], "service"),
        (["offload", "a\nb", "c", "1"], "from"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_settings_that_cannot_work_exit_2_in_one_line(capsys, argv, words):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_version(capsys):
    from shivya.version import __version__

    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"shivya {__version__}\n"


COMMANDS = (
    *(
        "daemon",
        "start",
        "status",
        "peers",
        "settle",
        "report",
        "offload",
        "reconcile",
        "simulate",
        "whatif",
        "tune",
        "demo",
    ),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_parses(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    example = next(line for line in out.splitlines() if line.startswith("example: shivya "))
    argv = example.removeprefix("example: shivya ").split(" | ")[0].split()
    assert parser().parse_args(argv).command in (command, "daemon")


def run(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, **options)


@pytest.mark.parametrize("argv", [["--help"], *NEEDS_DAEMON], ids=" ".join)
def test_small_commands_import_nothing_heavy(heard, argv):
    program = (
        "import sys\n"
        "from shivya.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    code = stop.code\n"
        "heavy = {'jax', 'numpy', 'rich', 'anyio', 'cryptography', 'asyncio', 'psutil'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    done = run("-c", program, *argv)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_shivya_is_the_command_line():
    done = run("-m", "shivya", "status")
    assert done.returncode == 3
    assert done.stdout == ""


def test_a_reader_that_leaves_ends_it_quietly(heard):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "shivya", "status"], stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_ends_it_quietly(tmp_path):
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with subprocess.Popen(
            [sys.executable, "-m", "shivya", "status", "--socket", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            connection, _ = listener.accept()  # it now waits for an answer
            with connection:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"")
