"""`shivya doctor`: each fault is found, named and given a remedy; a healthy node has nothing wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from shivya import daemon_checks, host_checks
from shivya.cli import main
from shivya.drop_words import WORDS
from shivya.findings import Finding, Level

ROOT = Path(__file__).resolve().parents[2]
STATUS: dict[str, Any] = {
    "name": "edge-1", "version": "0.5.0", "uptime_seconds": 120.0, "law": "running", "status": [],
    "tick_seconds_p50": 0.001, "peers": [{"name": "edge-2"}], "links": [], "drops": {},
    "traffic": {"datagrams_received": 9},
}  # fmt: skip
FACTS: dict[str, Any] = {
    "wire": "secure", "bind": "0.0.0.0", "mesh_key_file": "/etc/shivya/mesh.key", "allowed": None,
    "seeds": [{"address": "10.0.0.2:8085", "up": True, "ever": True}],
    "clock": {"jumps": 0, "largest_seconds": 0.0}, "violations": [], "members": 1,
    "links": {"now": 1, "least": 2, "most": 12}, "law": {"stale_after": 1.0, "tick_interval": 0.1},
}  # fmt: skip
NEVER = {"address": "10.0.0.3:8085", "up": False, "ever": False}


def judge(status: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> list[Finding]:
    return list(daemon_checks.check(STATUS | (status or {}), FACTS | (facts or {})))


def test_a_healthy_node_has_nothing_wrong() -> None:
    assert {finding.level for finding in judge()} == {Level.OK}


@pytest.mark.parametrize(
    ("status", "facts", "level", "says"),
    [
        ({"law": "failed"}, {}, Level.ERROR, "failed"),
        ({"law": "starting"}, {}, Level.NOTE, "starting"),
        ({"law": "starting", "uptime_seconds": 900.0}, {}, Level.WARNING, "still starting"),
        ({"status": ["heartbeats keep their old load"]}, {}, Level.WARNING, "old load"),
        ({"name": "edge-2"}, {}, Level.WARNING, "shared by several nodes: edge-2"),
        ({"drops": {"bad_mac": 3}}, {}, Level.WARNING, "another mesh key"),
        ({"drops": {"unsupported_version": 3}}, {}, Level.ERROR, "another major version"),
        ({"drops": {"own_identity": 1}}, {}, Level.ERROR, "own identity"),
        ({"drops": {"of_a_later_version": 1}}, {}, Level.NOTE, "1 datagrams, 9 received"),
        ({"links": [{"name": "b", "id": "cd" * 20, "breaker": "open"}]}, {}, Level.WARNING, "breaker to b"),
        ({}, {"bind": "127.0.0.1"}, Level.ERROR, "from where 10.0.0.2:8085 cannot be reached"),
        ({}, {"seeds": [NEVER]}, Level.ERROR, "never reached: 10.0.0.3:8085"),
        ({}, {"seeds": [NEVER, *FACTS["seeds"]]}, Level.WARNING, "never reached: 10.0.0.3:8085"),
        ({"uptime_seconds": 3.0}, {"seeds": [NEVER]}, Level.NOTE, "not reached yet"),
        ({}, {"seeds": [NEVER | {"ever": True}]}, Level.WARNING, "reached once, not now"),
        ({}, {"clock": {"jumps": 2, "largest_seconds": -7200.0}}, Level.WARNING, "-7200.0 s"),
        ({}, {"violations": [{"rule": "asymmetric", "node": "cd" * 20}]}, Level.WARNING, "cdcdcdcd"),
        ({}, {"law": {"stale_after": 0.2, "tick_interval": 0.1}}, Level.WARNING, "three ticks"),
        ({}, {"wire": "open", "mesh_key_file": None}, Level.NOTE, "open wire"),
        ({}, {"mesh_key_file": None}, Level.NOTE, "without a mesh key"),
    ],
)
def test_a_fault_is_found_and_has_a_remedy(
    status: dict[str, Any], facts: dict[str, Any], level: Level, says: str
) -> None:
    found = [finding for finding in judge(status, facts) if says in finding.text]
    assert [finding.level for finding in found] == [level]
    assert found[0].remedy or level < Level.WARNING
    assert max(finding.level for finding in judge(status, facts)) == level, "and nothing worse"


def test_words_of_peers_cannot_write_to_the_terminal() -> None:
    evil = "\x1b]0;x\x07"
    found = judge(
        {"name": evil, "peers": [{"name": evil}], "drops": {evil: 1}}, {"seeds": [NEVER | {"address": evil}]}
    )
    assert all(finding.text.isprintable() for finding in found)


def test_drops_are_listed_by_frequency_with_their_rate() -> None:
    rows = daemon_checks.drop_rows(STATUS | {"drops": {"bad_mac": 2, "rate_limited": 60, "left": 0}})
    assert [(row["reason"], row["count"], row["per_minute"]) for row in rows] == [
        ("rate_limited", 60, 30.0),
        ("bad_mac", 2, 1.0),
    ]


def test_every_word_under_which_the_code_drops_has_a_meaning() -> None:
    patterns = (
        r'DecodeError\("(\w+)"',
        r'DecodeError\("\w+" if .* else "(\w+)"\)',
        r'HandshakeError\("(\w+)"',
        r'\.drop\("(\w+)"',
        r'^\s+return "(\w+_\w+)"$',
    )
    package = ROOT / "daemon" / "shivya_daemon"
    sources = [file.read_text() for folder in ("core", "net") for file in (package / folder).rglob("*.py")]
    words = {word for text in sources for p in patterns for word in re.findall(p, text, re.MULTILINE)}
    assert len(words) > 50
    assert words - set(WORDS) == set()


UDP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref ptr drops
  410: 0100007F:1F95 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 99 2 0000 17
  411: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 98 2 0000 5
"""


def test_the_kernels_drops_are_those_of_the_daemons_port() -> None:
    assert host_checks.udp_row(UDP, 8085) == (768, 17)
    assert host_checks.udp_row(UDP, 8086) is None
    assert host_checks.udp_row("", 8085) is None


def test_small_mtus_and_buffers_are_found(tmp_path: Path) -> None:
    for name, mtu, state in (("eth0", 1500, "up"), ("wg0", 1200, "unknown"), ("eth1", 576, "down")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mtu").write_text(f"{mtu}\n")
        (tmp_path / name / "operstate").write_text(f"{state}\n")
    (found,) = host_checks.interfaces(tmp_path)
    assert found.level is Level.WARNING and "wg0 1200" in found.text and "eth1" not in found.text
    (tmp_path / "rmem_max").write_text("212992\n")
    (found,) = host_checks.receive_buffer(tmp_path / "rmem_max")
    assert found.level is Level.WARNING and "212992" in found.text
    assert list(host_checks.receive_buffer(tmp_path / "absent")) == []


def test_a_folder_that_is_yet_to_be_made_is_judged_by_the_one_it_will_be_in(tmp_path: Path) -> None:
    (found,) = host_checks.folder("state", tmp_path / "a" / "b", "state directory")
    assert found.level in (Level.OK, Level.WARNING)
    assert "MiB free" in found.text


@pytest.mark.usefixtures("no_settings_of_this_machine")
def test_without_a_daemon_the_machine_is_examined_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init"]) == 0
    key = tmp_path / "config" / "shivya" / "mesh.key"
    key.chmod(0o644)
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    found = {row["check"]: row for row in document["findings"]}
    assert found["daemon"]["level"] == "error" and "no daemon answers" in found["daemon"]["text"]
    assert found["key"]["level"] == "error" and "chmod 600" in found["key"]["text"]
    assert {"ntp", "mtu", "state"} <= set(found)
    assert document["drops"] == []
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("error   daemon")
    assert key.read_bytes().hex() not in out
