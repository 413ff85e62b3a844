from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from shivya import experiments
from shivya.simulate_scenario import KEYS, TABLES, ScenarioError

from shivya_kernels.fleet import Failure, Outage, Scenario


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.toml"
    path.write_text(text)
    return path


def test_every_field_can_be_written():
    fields = {field.name for field in dataclasses.fields(Scenario)}
    assert set(KEYS) - {"trace"} == fields - {"arrivals", "crash", "slow", "failure"}
    assert set(TABLES["slow"]) == {field.name for field in dataclasses.fields(Outage)}
    assert set(TABLES["failure"]) == {field.name for field in dataclasses.fields(Failure)}


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
        sizes="lognormal",
        bursts=False,
        crash=Outage(1, 2, 3),
        slow=Outage(1, 2, "busiest", 2),
    )
    hash(scenario)


def test_a_partition_is_instead_of_a_crash(tmp_path):
    text = "[scenario]\npartition = [3, 4.5]\n"
    assert experiments.load_scenario(write(tmp_path, text)) == Scenario(partition=(3, 4.5))
    with pytest.raises(ScenarioError, match="cannot be combined"):
        experiments.load_scenario(write(tmp_path, f"{text}[crash]\nstart = 1\nend = 2\n"))


def test_what_is_given_per_node(tmp_path):
    text = """
        [scenario]
        nodes = 3
        edges = [[0, 1], [1, 2]]
        rates = [10, 20, 10]
        servers = [1, 2, 1]
        arrival_rates = [0, 8.5, 2]
        arrival_spread = [0, 0.25, 0.5]
        backlog = [0, 4, 1]
        [failure]
        nodes = [1]
        at = 0.5
        """
    found = experiments.load_scenario(write(tmp_path, text))
    assert found.failure == Failure((1,), 0.5)
    assert (found.servers, found.backlog) == ((1, 2, 1), (0, 4, 1))
    assert (found.arrival_rates, found.arrival_spread) == ((0, 8.5, 2), (0, 0.25, 0.5))
    hash(found)


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
        ("[failure]\nnodes = [1]", "[failure] lacks at; write the time in seconds"),
        ("[failure]\nat = 1", "[failure] lacks nodes; write the numbers of the nodes"),
        ("[failure]\nat = 1\nnodes = [64]", "failure names nodes outside 0..63"),
        ("[failure]\nat = 99\nnodes = [1]", "failure begins at 99 s"),
        ("[scenario]\narrival_rates = [1]", "arrival_rates has 1 entries, there are 64 nodes"),
        ("[scenario]\nload = 1\narrival_rates = [1]", "load means nothing beside arrival_rates"),
        ("[scenario]\nnodes = 1\narrival_spread = [1]", "give those, too"),
        ("[scenario]\nbacklog = [-1]", "a list of whole numbers, one per node"),
        ("[scenario]\nservers = [0]", "or a list of them, one per node"),
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
