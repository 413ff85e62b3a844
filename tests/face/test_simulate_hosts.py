"""Seeds shared among hosts by JAX's distributed runtime: the rows are those of one process alone."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from shivya.cli import main
from shivya.simulate_hosts import Hosts

PATIENCE = 400.0
SCENARIO = "[scenario]\nnodes = 6\nmean_degree = 2.5\nseconds = 4\nwarm_up = 1\n"

pytestmark = pytest.mark.usefixtures("no_settings_of_this_machine")


@pytest.mark.timeout(2.5 * PATIENCE)
def test_two_processes_print_what_one_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], coordinator: str
) -> None:
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    argv = ["simulate", "scenario.toml", "--laws", "none,sed", "--load", ".5,.8", "--seeds", "3", "--json"]
    assert main(argv) == 0
    alone = json.loads(capsys.readouterr().out)
    running = []
    shared = ["--coordinator", coordinator, "--hosts", "2", "--csv", "rows.csv"]
    for host in range(2):
        command = [sys.executable, "-m", "shivya", *argv, *shared, "--host", str(host)]
        running.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        )
    try:
        said = [process.communicate(timeout=PATIENCE) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0, 0], said
    assert json.loads(said[0][0]) == alone
    assert said[1][0] == "", "only host 0 prints"
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + len(alone["rows"])


@pytest.mark.parametrize(("seeds", "hosts"), [(3, 2), (7, 3), (4, 4), (64, 5)])
def test_every_seed_has_one_host_and_every_host_a_seed(seeds: int, hosts: int) -> None:
    shares = [Hosts("h:1", hosts, i).share(range(100, 100 + seeds)) for i in range(hosts)]
    assert [seed for share in shares for seed in share] == list(range(100, 100 + seeds))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((None, 2, 0), "give all"),
        (("h:1", 2, None), "give all"),
        (("host", 2, 0), "HOST:PORT"),
        ((":7000", 2, 0), "HOST:PORT"),
        (("host:0", 2, 0), "HOST:PORT"),
        (("host:7000", 2, 2), "--host 2 is not among 0 to 1"),
        (("host:7000", 4, 0), "4 hosts share 3 seeds"),
    ],
)
def test_flags_that_do_not_fit_are_told_at_once(
    given: tuple[str | None, int | None, int | None], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("--coordinator", "--hosts", "--host")
    flags = [
        word
        for name, value in zip(names, given, strict=True)
        if value is not None
        for word in (name, str(value))
    ]
    assert main(["simulate", *flags]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_one_alone_needs_no_flags() -> None:
    assert Hosts.of(Namespace(coordinator=None, hosts=None, host=None, seeds=1)) is None
