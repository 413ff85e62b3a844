from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from shivya import experiments
from shivya.simulate_scenario import KEYS, TABLES, ScenarioError

from shivya_kernels.fleet import Outage, Scenario


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.toml"
    path.write_text(text)
    return path


def test_every_field_can_be_written():
    fields = {field.name for field in dataclasses.fields(Scenario)}
    assert set(KEYS) - {"trace"} == fields - {"arrivals", "crash", "slow"}
    assert set(TABLES["slow"]) == {field.name for field in dataclasses.fields(Outage)}


def test_defaults_of_the_kernels_pass_the_checks(tmp_path):
    """The bounds here allow what a scenario is when nothing is said."""
    for field in dataclasses.fields(Scenario):
        if field.name in KEYS and field.default is not None:
            value = list(field.default) if isinstance(field.default, tuple) else field.default
            assert KEYS[field.name].holds(value), field.name
    assert experiments.load_scenario(write(tmp_path, "")) == Scenario()


def test_a_file_with_everything(tmp_path):
    (tmp_path / "jobs.csv").write_text("0,0.5,1\n3, 2.25, 0.125\n\n")
    scenario = experiments.load_scenario(
        write(
            tmp_path,
            """
            [scenario]
            nodes = 4
            edges = [[0, 1], [1, 2], [2, 3]]
            rates = [10, 20, 10, 40.5]
            trace = "jobs.csv"
            partition = [3, 4.5]
            sizes = "lognormal"
            bursts = false
            [crash]
            start = 1
            end = 2
            node = 3
            [slow]
            start = 1
            end = 2
            factor = 2
            """,
        )
    )
    assert scenario == Scenario(
        nodes=4,
        edges=((0, 1), (1, 2), (2, 3)),
        rates=(10, 20, 10, 40.5),
        shares=None,
        arrivals=((0, 0.5, 1.0), (3, 2.25, 0.125)),
        partition=(3, 4.5),
        sizes="lognormal",
        bursts=False,
        crash=Outage(1, 2, 3),
        slow=Outage(1, 2, "busiest", 2),
    )
    hash(scenario)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[scenario]\nlaod = 1", "[scenario] has no key 'laod'; it may have nodes,"),
        ("[scenario]\narrivals = []", "no key 'arrivals'"),
        ("nodes = 3", "nodes stands outside the known tables; write it below one of [scenario], [crash]"),
        ("[crush]\nstart = 1", "crush stands outside"),
        ("scenario = 3", "scenario stands outside"),
        ("[scenario", "not valid TOML"),
        ("[scenario]\nnodes = 0", "scenario.nodes must be a whole number, 1 or more, not 0"),
        ("[scenario]\nnodes = 2.0", "scenario.nodes must be a whole number"),
        ("[scenario]\nservers = true", "scenario.servers must be a whole number"),
        ("[scenario]\nload = nan", "scenario.load must be a number greater than 0, not nan"),
        ("[scenario]\nload = '1'", "scenario.load must be a number"),
        ("[scenario]\nloss = 1.5", "scenario.loss must be a number from 0 to 1"),
        ("[scenario]\nsizes = 'pareto'", "'exponential', 'lognormal' or 'deterministic', not pareto"),
        ("[scenario]\nrates = [1, -1]", "scenario.rates must be a list of numbers greater than 0"),
        ("[scenario]\nrates = [1, 2]\nshares = [0.5, 0.6]", "sum to 1"),
        ("[scenario]\nrates = [1, 2]", "rates has 2 entries, needs 64"),
        ("[scenario]\nedges = [[0, 1, 2]]", "pairs of node numbers"),
        ("[scenario]\nnodes = 2\nedges = [[0, 5]]", "edges name node 5, but there are 2 nodes, 0 to 1"),
        ("[scenario]\nnodes = 2\nedges = [[0, 1], [1, 0]]", "each pair once"),
        ("[scenario]\nnodes = 2\nedges = [[0, 0]]", "two different nodes"),
        ("[scenario]\npartition = [5, 5]", "two times in seconds, [from, until]"),
        ("[scenario]\npartition = [500, 501]", "partition begins at 500 s, but the last job comes at"),
        ("[scenario]\nhop = 0.007", "hop must be a multiple of the step"),
        ("[scenario]\nseconds = 3000", "below 2000 s"),
        ("[crash]\nstart = 3", "[crash] lacks end; write the time in seconds"),
        ("[crash]\nstart = 3\nend = 2", "crash.end must be later than crash.start"),
        ("[crash]\nstart = 3\nend = 4\nfactor = 2", "[crash] has no key 'factor'"),
        ("[slow]\nstart = 3\nend = 4\nnode = 64", "slow.node is 64, but there are 64 nodes, 0 to 63"),
        ("[slow]\nstart = 3\nend = 4\nnode = 'idle'", "a node number or 'busiest', not idle"),
        ("[slow]\nstart = 99\nend = 100", "slow begins at 99 s"),
        ("[scenario]\ntrace = 'absent.csv'", "absent.csv: No such file"),
        ("[scenario]\nload = 1\ntrace = 'absent.csv'", "leave one out"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        experiments.load_scenario(path)
    message = str(caught.value)
    assert words in message
    assert str(tmp_path) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no jobs"),
        ("node,time,size\n", "has no jobs"),
        ("0,1,1\n0,1\n", "jobs.csv line 2 must be node,time,size"),
        ("0,1,1,1\n", "line 1"),
        ("0,1,0\n", "line 1"),
        ("0,-1,1\n", "line 1"),
        ("0,nan,1\n", "line 1"),
        ("0.5,1,1\n", "line 1"),
        ("a,b,c\n", "line 1"),
        ("7,1,1\n", "trace has jobs at node 7, but there are 2 nodes"),
        ("0,80,1\n", "trace has a job at 80 s, after warm_up + seconds = 75 s"),
        ("0,1,1\n\0", "jobs.csv"),
        ("\udcff", "UTF-8"),
    ],
)
def test_a_trace_that_is_none(tmp_path, text, words):
    (tmp_path / "jobs.csv").write_text(text, errors="surrogateescape")
    path = write(tmp_path, "[scenario]\nnodes = 2\ntrace = 'jobs.csv'\n")
    with pytest.raises(ScenarioError, match=r"^[^\n]*$") as caught:
        experiments.load_scenario(path)
    assert words in str(caught.value)
