"""The command `whatif`: twins of a mesh that a daemon would tell of, and of a daemon that runs."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shivya import whatif
from shivya.cli import main, parser
from shivya.errors import CommandError, ExitCode
from shivya.whatif_mesh import read
from shivya.whatif_twins import FIGURES, Question, band, params, scenario

IDS = [f"{i:02x}" * 20 for i in range(1, 5)]
SMALL = ("--twins", "6", "--seconds", "4")

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


def row(i: int, rate: float, arrivals: float) -> dict[str, Any]:
    past = {"seconds": 60.0, "queue": 1.0, "service_rate": rate, "counts": [arrivals] * 60}
    return {
        "id": IDS[i], "name": f"edge-{i + 1}", "links_away": min(i, 1), "age_seconds": 0.1, "queue": 2,
        "servers": 1, "service_rate": rate, "arrival_rate": arrivals, "past": past,
    }  # fmt: skip


DOCUMENT: dict[str, Any] = {
    "node": IDS[0],
    "service": "default",
    "law": {"gap": 0.05, "slope_share": 1.0, "hop_limit": 8, "stale_after": 1.0, "tick_interval": 0.1},
    "nodes": [row(0, 10.0, 4.0), row(1, 20.0, 25.0), row(2, 20.0, 5.0)],
    "links": [
        {"from": IDS[a], "to": IDS[b], "rtt_seconds": 0.002, "traffic": 0.0}
        for a, b in ((0, 1), (1, 2), (0, 2))
    ],
    "unknown": [{"id": IDS[3], "name": "edge-4", "why": "it is more than two links away"}],
    "draining": False,
}


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the daemon tells; a test may change it."""
    document = copy.deepcopy(DOCUMENT)
    monkeypatch.setattr(whatif, "ask", lambda *_, **__: document)
    return document


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["whatif", *SMALL, *argv, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, Any] = json.loads(out)
    return document


def test_a_failure_makes_all_wait_longer(capsys: pytest.CaptureFixture[str], answer: dict[str, Any]) -> None:
    found = run(capsys, "--fail", "edge-3", "--seed", "3")
    assert set(found["now"]) == set(found["then"]) == set(FIGURES)
    for case in ("now", "then"):
        for figure in found[case].values():
            assert 0 <= figure["low"] <= figure["median"] <= figure["high"]
    for figure in ("p50", "p99", "mean", "largest_queue", "held", "utilisation"):
        assert found["then"][figure]["median"] > found["now"][figure]["median"], figure
    assert found["now"]["utilisation"]["median"] == pytest.approx(34 / 50, rel=0.25)
    assert found["failed"] == [IDS[2]] and (found["twins"], found["seconds"], found["seed"]) == (6, 4.0, 3)
    assert found["overload"]["now"] == []
    (part,) = found["overload"]["then"]
    assert part["nodes"] == ["edge-1", "edge-2"] and part["growth"] == pytest.approx(4.0)
    assert found["unknown"] == [{"name": "edge-4", "why": "it is more than two links away"}]
    assert found["held_last_minute"] == 3.0
    assert run(capsys, "--fail", "edge-3", "--seed", "3") == found, "the same question, the same answer"


def test_more_load_and_a_failure_together(capsys: pytest.CaptureFixture[str], answer: dict[str, Any]) -> None:
    assert main(["whatif", *SMALL, "--fail", "edge-3", "--load", "2"]) == 0
    out = capsys.readouterr().out
    title, _, heads, *rows = out.splitlines()
    assert title.endswith("6 twins, 4 s on; then: edge-3 fails, load x 2")
    assert heads.split() == ["NODE", "QUEUE", "SERVERS", "RATE/S", "ARRIVALS/S", "THEN"]
    assert [line.split()[-1] for line in rows[:3]] == ["13", "55", "fails"]
    assert re.search(r"p99 in system +\d+ ms +\d+ ms - \d+ ms +[\d.]+ s +[\d.]+ s - [\d.]+ s", out)
    assert "OVERLOAD then: edge-1, edge-2 get 68.0 jobs/s and serve at most 30.0; rates exceed" in out
    assert "the queue grows by 38.0 jobs/s" in out
    assert "not known here and left out: edge-4 (it is more than two links away)" in out
    assert "turn to the surviving neighbours in equal shares" in out
    assert "check: the mesh held 3.0 jobs on average of late" in out


def test_without_a_change_there_is_one_column(
    capsys: pytest.CaptureFixture[str], answer: dict[str, Any]
) -> None:
    answer["nodes"][0]["past"]["seconds"] = 7.0
    answer["nodes"][1] |= {"arrival_rate": None}
    assert run(capsys)["then"] is None
    assert main(["whatif", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "THEN" not in out and "OVERLOAD" not in out and "; then" not in out
    assert "rates are known from 7 s only" in out
    assert "estimated from their queues: edge-2" in out


def test_a_node_alone_has_a_future_too(capsys: pytest.CaptureFixture[str], answer: dict[str, Any]) -> None:
    answer |= {"nodes": answer["nodes"][:1], "links": [], "unknown": []}
    found = run(capsys, "--load", "1.5")
    assert found["then"]["moves_per_job"]["median"] == 0
    assert found["then"]["utilisation"]["median"] > found["now"]["utilisation"]["median"] > 0


def test_jobs_that_never_end_are_said_to(
    capsys: pytest.CaptureFixture[str], answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shivya.whatif_twins.DRAIN", 1.0)
    assert run(capsys, "--load", "9")["then"]["p99"] == {"median": None, "low": None, "high": None}
    assert main(["whatif", *SMALL, "--load", "9"]) == 0
    assert "never - never" in capsys.readouterr().out


def test_the_law_is_the_daemons() -> None:
    told = {
        **DOCUMENT,
        "law": {**DOCUMENT["law"], "gap": 0.2, "drift": 0.7, "hop_limit": 3, "pull_wait": 0.1},
    }
    found = params(read(told))
    assert (found.gap, found.drift, found.hops, found.pull_wait) == (0.2, 0.7, 3, 0.1)


def test_all_settings_of_the_law_that_the_simulator_has_are_handed_on() -> None:
    """A setting that is neither a parameter of the simulated law nor named here would be lost silently."""
    from dataclasses import asdict, fields

    from shivya_daemon.settings import LawSettings
    from shivya_kernels.fleet import Params

    others = {"hop_limit", "stale_after", "tick_interval", "minimum_hop"}
    assert set(asdict(LawSettings())) - {field.name for field in fields(Params)} <= others


def test_the_twins_are_what_the_daemon_told() -> None:
    question = Question(read(DOCUMENT), (1,), 2.0, 8, 30.0, 0)
    found = scenario(question)
    assert found.edges == ((0, 1), (0, 2), (1, 2)) and found.rates == (10.0, 20.0, 20.0)
    assert found.backlog == (2, 2, 2) and found.arrival_rates == pytest.approx((4.0, 25.0, 5.0))
    assert found.bursts is False, "counts are all alike"
    assert (found.hops, found.latency, found.heartbeat, found.ttl) == ((0.005,) * 3, 0.005, 0.1, 1.0)
    assert (found.change, found.silence, found.extra_age) == (0.03, 0.3, 0.0)
    slow = {**DOCUMENT, "links": [{**link, "rtt_seconds": 0.083} for link in DOCUMENT["links"]]}
    slow["links"][1]["rtt_seconds"] = 0.31
    far = scenario(Question(read(slow), (), 1.0, 8, 30.0, 0))
    assert far.hops == pytest.approx((0.04, 0.04, 0.155)) and far.latency == pytest.approx(0.04)


def test_the_twins_speak_as_daemons_do() -> None:
    from shivya_daemon.core.identity import Identity
    from shivya_daemon.settings import DaemonSettings
    from shivya_daemon.startup import make_node

    node = make_node(DaemonSettings(), Identity.from_private_bytes(bytes(32)), None, None).settings
    found = scenario(Question(read(DOCUMENT), (), 1.0, 8, 30.0, 0))
    said = (node.heartbeat_interval, node.heartbeat_change, node.heartbeat_silence)
    assert (found.heartbeat, found.change, found.silence) == pytest.approx(said)


@pytest.mark.parametrize(
    ("tick", "stale", "expected"),
    [(0.03, 0.5, (0.03, 0.03)), (0.001, 1.0, (0.02, 0.03)), (0.5, 0.6, (0.5, None))],
)
def test_any_pace_of_a_daemon_has_a_twin(tick: float, stale: float, expected: tuple[float, float]) -> None:
    law = {**DOCUMENT["law"], "tick_interval": tick, "stale_after": stale}
    found = scenario(Question(read({**DOCUMENT, "law": law}), (), 1.0, 8, 30.0, 0))
    assert (found.heartbeat, found.change) == (pytest.approx(expected[0]), expected[1])


def test_bands_are_nearest_ranks() -> None:
    found = band([float(x) for x in range(1, 65)])
    assert (found.median, found.low, found.high) == (32.5, 4.0, 61.0)
    assert band([1.0, float("inf"), float("nan")]).high == float("inf")
    assert band([2.0]) == band([2.0, float("nan")])


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--fail", "edge-9"], 2, "--fail edge-9: no such node; known here are edge-1, edge-2, edge-3"),
        (["--fail", "edge-4"], 2, "its load is not known here: it is more than two links away"),
        (["--seconds", "1000"], 2, "--seconds may be at most 600, not 1000"),
        (["--twins", "100000"], 2, "ask for fewer --twins or --seconds"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], answer: dict[str, Any], argv: list[str], code: int, words: str
) -> None:
    assert main(["whatif", *argv]) == code
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1 and not out


def test_a_node_that_drains_is_not_asked(capsys: pytest.CaptureFixture[str], answer: dict[str, Any]) -> None:
    answer["draining"] = True
    assert main(["whatif"]) == ExitCode.REFUSED
    assert "ask another one" in capsys.readouterr().err


def test_no_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", "--fail", "edge-1"]) == ExitCode.NO_DAEMON
    assert "no daemon answers" in capsys.readouterr().err


def test_a_daemon_that_is_older_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object, **__: object) -> dict[str, Any]:
        raise CommandError(ExitCode.REFUSED, "unknown verb 'KNOWN'; use one of STATUS")

    monkeypatch.setattr(whatif, "ask", ask)
    assert main(["whatif"]) == ExitCode.REFUSED
    assert "unknown verb" in capsys.readouterr().err


PROGRAM = """
import json, os, signal, sys, threading
from shivya import whatif, whatif_twins
from shivya.cli import main
document = json.loads(sys.stdin.read())
whatif.ask = lambda *_, **__: document
{setup}
code = main(sys.argv[1:])
print(sorted({{'jax', 'numpy', 'rich'}} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
STUCK = """
def stuck(question):
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()
whatif_twins.outlooks = stuck
"""


def apart(setup: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(setup=setup), "whatif", *argv]
    return subprocess.run(command, input=json.dumps(DOCUMENT), capture_output=True, text=True)


def test_mistakes_are_told_before_jax_is_imported() -> None:
    done = apart("", "--fail", "edge-9")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "[]"


def test_an_interrupt_ends_it() -> None:
    done = apart(STUCK, "--fail", "edge-3")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "shivya whatif: interrupted\n"


def test_help_has_an_example_that_parses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["whatif", "--help"])
    example = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("example: shivya "))
    options = parser().parse_args(example.removeprefix("example: shivya ").split())
    assert (options.fail, options.load) == (["edge-3"], 1.5)


DOCS = Path(__file__).resolve().parents[2] / "docs" / "whatif.md"


def test_the_documentation_names_every_figure() -> None:
    assert all(f"`{figure}`" in DOCS.read_text() for figure in FIGURES)
