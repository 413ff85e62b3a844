from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from shivya import reconcile
from shivya.cli import main


def node(name: str, queue: float = 0, **more):
    return {"name": name, "queue": queue, **more}


def edge(tail: str, head: str, rate: float = 0, **more):
    return {"from": tail, "to": head, "rate": rate, **more}


TRIANGLE = {
    "nodes": [node("A", 200), node("B", 20), node("C", 5)],
    "edges": [edge("A", "B", 12.0), edge("B", "C", 3.0), edge("A", "C", 7.0)],
}


def run(tmp_path, capsys, mesh: object) -> dict:
    path = tmp_path / "mesh.json"
    path.write_text(json.dumps(mesh))
    assert main(["reconcile", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def column(result: dict, name: str) -> np.ndarray:
    return np.array([row[name] for row in result["edges"]])


def test_triangle_gives_the_golden_flow(tmp_path, capsys, golden):
    expected = json.loads((golden / "load_flow_triangle.json").read_text())
    result = run(tmp_path, capsys, TRIANGLE)
    np.testing.assert_allclose(column(result, "balancing"), expected["flow"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(column(result, "recommended"), expected["flow"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(column(result, "gradient"), [28 / 3, 1 / 3, 29 / 3], rtol=0, atol=1e-9)
    assert [row["target"] for row in result["nodes"]] == pytest.approx([75, 75, 75])
    assert result["betti"] == [1, 0]
    assert result["status"] == "ok"
    assert set(result) == {"edges", "nodes", "curl_norm", "harmonic_norm", "betti", "status"}


def test_parts_of_the_reported_flow_sum_to_it(tmp_path, capsys):
    mesh = {
        "nodes": [node(n) for n in "ABCDE"],
        "edges": [
            edge("A", "B", 5), edge("B", "C", -2), edge("C", "D", 4), edge("D", "A", 1), edge("D", "E", 3),
            edge("C", "E", 0.5),
        ],
    }  # fmt: skip
    result = run(tmp_path, capsys, mesh)
    total = column(result, "gradient") + column(result, "curl") + column(result, "harmonic")
    np.testing.assert_allclose(total, column(result, "reported"), rtol=0, atol=1e-9)
    assert result["betti"] == [1, 1]
    assert result["harmonic_norm"] == pytest.approx(np.linalg.norm(column(result, "harmonic")))
    assert result["curl_norm"] == pytest.approx(np.linalg.norm(column(result, "curl")))


def test_ring_of_four_is_all_harmonic(tmp_path, capsys):
    ring = ["AB", "BC", "CD", "DA"]
    result = run(
        tmp_path, capsys, {"nodes": [node(n) for n in "ABCD"], "edges": [edge(a, b, 1.0) for a, b in ring]}
    )
    np.testing.assert_allclose(column(result, "harmonic"), 1.0, atol=1e-9)
    assert not column(result, "recommended").any()


def test_targets_share_by_capacity_within_each_component(tmp_path, capsys):
    mesh = {
        "nodes": [node("A", 90, capacity=1), node("B", 0, capacity=2), node("C", 7), node("D", 1)],
        "edges": [edge("B", "A"), edge("D", "C")],
    }
    result = run(tmp_path, capsys, mesh)
    assert [row["target"] for row in result["nodes"]] == pytest.approx([30, 60, 4, 4])
    np.testing.assert_allclose(column(result, "balancing"), [-60, -3], atol=1e-9)
    assert result["betti"] == [2, 0]


def test_a_relay_hands_over_no_more_than_it_holds(tmp_path, capsys):
    mesh = {
        "nodes": [node("A", 90), node("B", 3), node("C", 0), node("D", 0)],
        "edges": [edge("A", "B"), edge("C", "B"), edge("B", "D")],
    }
    result = run(tmp_path, capsys, mesh)
    np.testing.assert_allclose(column(result, "balancing"), [66.75, -23.25, 23.25], atol=1e-9)
    np.testing.assert_allclose(column(result, "recommended"), [66.75, -1.5, 1.5], atol=1e-9)


def test_conductance_draws_the_flow(tmp_path, capsys):
    edges = [edge("A", "B", conductance=3), edge("B", "C"), edge("A", "C")]
    result = run(tmp_path, capsys, {"nodes": TRIANGLE["nodes"], "edges": edges})
    flow = column(result, "balancing")
    np.testing.assert_allclose([flow[0] + flow[2], flow[0] - flow[1]], [125, 55], atol=1e-9)
    assert flow[0] / 3 + flow[1] == pytest.approx(flow[2])  # potential differences add up around the triangle


def test_a_mesh_without_edges(tmp_path, capsys):
    result = run(tmp_path, capsys, {"nodes": [node("A", 4)]})
    assert result["edges"] == []
    assert result["nodes"] == [{"name": "A", "queue": 4.0, "target": 4.0}]


def test_table_for_people(tmp_path, capsys):
    path = tmp_path / "mesh.json"
    path.write_text(json.dumps(TRIANGLE))
    assert main(["reconcile", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "FROM",
        "TO",
        "REPORTED",
        "GRADIENT",
        "CURL",
        "HARMONIC",
        "BALANCING",
        "RECOMMENDED",
    ]
    assert lines[1].split()[-2:] == ["60", "60"]
    assert len({len(line) for line in lines[:4]}) == 1


def test_reads_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(TRIANGLE).encode())))
    assert main(["reconcile", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nodes"][0]["target"] == pytest.approx(75)


def text(nodes: str, edges: str = "[]") -> str:
    return f'{{"nodes": {nodes}, "edges": {edges}}}'


def two(edge_text: str) -> str:
    return text('[{"name":"A"},{"name":"B"}]', f"[{edge_text}]")


BAD = {
    "not json": ("{nodes", "not JSON"),
    "empty": ("", "not JSON"),
    "deep": ("[" * 100_000, "not JSON"),
    "list": ("[]", "must be an object"),
    "no nodes": ("{}", "'nodes'"),
    "nodes type": ('{"nodes": {}}', "nodes must be a list"),
    "empty nodes": ('{"nodes": []}', "nodes must name at least one node"),
    "edges type": ('{"nodes": [{"name":"A"}], "edges": 1}', "edges must be a list"),
    "node type": (text("[3]"), "nodes[0] must be an object"),
    "no name": (text("[{}]"), "nodes[0] lacks the field 'name'"),
    "name type": (text('[{"name": 1}]'), "nodes[0].name"),
    "empty name": (text('[{"name": ""}]'), "nodes[0].name"),
    "misspelt": (text('[{"name":"A","capcity":2}]'), 'nodes[0] has an unknown field "capcity"'),
    "duplicate": (text('[{"name":"A"},{"name":"A"}]'), "nodes[1].name"),
    "negative capacity": (
        text('[{"name":"A"},{"name":"B"},{"name":"C","capacity":-1}]'),
        "nodes[2].capacity must be > 0, not -1",
    ),
    "zero capacity": (text('[{"name":"A","capacity":0}]'), "nodes[0].capacity must be > 0, not 0"),
    "negative queue": (text('[{"name":"A","queue":-2}]'), "nodes[0].queue must be >= 0, not -2"),
    "nan": (text('[{"name":"A","queue":NaN}]'), "nodes[0].queue must be a finite number, not NaN"),
    "infinite": (text('[{"name":"A","queue":1e999}]'), "nodes[0].queue must be a finite number"),
    "huge integer": (text(f'[{{"name":"A","queue":{"9" * 400}}}]'), "nodes[0].queue must be a finite"),
    "more digits than Python reads": (text(f'[{{"name":"A","queue":{"9" * 5000}}}]'), "not JSON"),
    "text number": (text('[{"name":"A","queue":"3"}]'), 'nodes[0].queue must be a number, not "3"'),
    "boolean": (text('[{"name":"A","queue":true}]'), "nodes[0].queue must be a number, not true"),
    "null": (text('[{"name":"A","capacity":null}]'), "nodes[0].capacity must be a number, not null"),
    "edge type": (two('["A","B"]'), "edges[0] must be an object"),
    "no end": (two('{"from":"A"}'), "edges[0] lacks the field 'to'"),
    "unknown node": (two('{"from":"A","to":"D"}'), 'edges[0].to names an unknown node "D"'),
    "self loop": (two('{"from":"A","to":"A"}'), "edges[0].to is the same node"),
    "duplicate edge": (two('{"from":"A","to":"B"},{"from":"A","to":"B"}'), "edges[1] joins the same nodes"),
    "reverse edge": (two('{"from":"A","to":"B"},{"from":"B","to":"A"}'), "edges[1] joins the same nodes"),
    "infinite rate": (two('{"from":"A","to":"B","rate":-Infinity}'), "edges[0].rate must be a finite"),
    "zero conductance": (two('{"from":"A","to":"B","conductance":0}'), "edges[0].conductance must be > 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_the_field(tmp_path, capsys, case):
    source, expected = BAD[case]
    path = tmp_path / "mesh.json"
    path.write_text(source)
    assert main(["reconcile", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert expected in err
    assert err.count("\n") == 1


def test_bytes_that_are_not_text(tmp_path, capsys):
    path = tmp_path / "mesh.json"
    path.write_bytes(b'{"nodes": [{"name": "\xff"}]}')
    assert main(["reconcile", str(path)]) == 2
    assert "not JSON" in capsys.readouterr().err


def test_control_characters_of_the_input_do_not_reach_the_terminal(tmp_path, capsys):
    path = tmp_path / "mesh.json"
    path.write_text(json.dumps({"nodes": [node("a\x1b[2Jb")]}))
    assert main(["reconcile", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("target", ["absent.json", "."])
def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path, monkeypatch, capsys, target):
    monkeypatch.chdir(tmp_path)
    assert main(["reconcile", target]) == 2
    assert f"cannot read {target}" in capsys.readouterr().err


def test_numbers_beyond_float64_fail_in_one_line(tmp_path, capsys):
    path = tmp_path / "mesh.json"
    path.write_text(json.dumps({"nodes": [node("A", 1e308), node("B", 1e308)], "edges": [edge("A", "B", 1)]}))
    assert main(["reconcile", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "too large" in err


def test_a_mistake_is_told_without_importing_jax():
    program = (
        "import sys; from shivya.cli import main; code = main(['reconcile', '-']);"
        "assert not {'jax', 'numpy'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=b'{"nodes": []}', capture_output=True)
    assert done.returncode == 2, done.stderr.decode()


def test_parse_fills_in_defaults():
    mesh = reconcile.parse(b'{"nodes":[{"name":"A"},{"name":"B"}],"edges":[{"from":"B","to":"A"}]}')
    assert mesh.queues == (0.0, 0.0)
    assert mesh.capacities == (1.0, 1.0)
    assert (mesh.edges, mesh.rates, mesh.conductances) == (((1, 0),), (0.0,), (1.0,))
