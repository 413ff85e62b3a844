"""What the settings say a node has and seeks: measured, announced, and decisive for who links with whom."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from shivya_daemon import settings as settings_module
from shivya_daemon.core.fields import NAME_CHARACTERS
from shivya_daemon.core.gossip import capabilities as core
from shivya_daemon.core.gossip.capabilities import Capabilities, Compute, Storage
from shivya_daemon.core.identity import Identity
from shivya_daemon.core.node import Node
from shivya_daemon.net.memory import MemoryNetwork
from shivya_daemon.settings import CapabilitySettings, DaemonSettings, SettingsError
from shivya_daemon.startup import make_node, offered, sought
from shivya_daemon.status import capability_row

Start = Callable[..., Any]
NO_COMPUTE = {"cores": 0}


def node(offers: dict[str, Any], seeks: dict[str, Any] | None = None, *, seed: int = 0) -> Node:
    settings = DaemonSettings(
        name=f"n{seed}", capabilities=CapabilitySettings(**offers), seeks=CapabilitySettings(**(seeks or {}))
    )
    return make_node(settings, Identity.generate(random.Random(seed).randbytes), None, None)


def test_computing_is_measured_where_nothing_is_said() -> None:
    memory_mb = psutil.virtual_memory().total // 2**20
    assert offered(CapabilitySettings()) == Capabilities(compute=Compute(os.cpu_count() or 1, memory_mb))
    assert offered(CapabilitySettings(cores=3)).compute == Compute(3, memory_mb)
    assert offered(CapabilitySettings(cores=3, memory_mb=512)).compute == Compute(3, 512)
    assert not offered(CapabilitySettings(cores=0))


def test_what_is_sought_is_just_what_was_said() -> None:
    assert not sought(CapabilitySettings())
    asked = CapabilitySettings(memory_mb=64, iops=5, gateway=("mqtt",), witness=0, tags=("a", "b"))
    assert sought(asked) == Capabilities(
        compute=Compute(0, 64), storage=Storage(0, 5), gateway=("mqtt",), witness=0, tags=("a", "b")
    )


def test_a_node_announces_its_name_and_what_it_has() -> None:
    made = node({"cores": 2, "memory_mb": 64, "tags": ("x",)}, {"gateway": ("mqtt",)})
    profile = made.profile(made.id)
    assert profile is not None
    assert (profile.name, profile.capabilities) == ("n0", Capabilities(compute=Compute(2, 64), tags=("x",)))
    assert profile.seeks == Capabilities(gateway=("mqtt",))
    assert made.profile(bytes(20)) is None


def test_the_limits_are_those_of_the_wire() -> None:
    assert settings_module.MAX_CAPABILITY_NAMES == core.MAX_TEXTS
    assert settings_module.MAX_CAPABILITY_NAME_LENGTH == core.MAX_TEXT_BYTES
    for code in range(256):
        name = f"a{chr(code)}"
        try:
            DaemonSettings(capabilities=CapabilitySettings(tags=(name,)))
        except SettingsError:
            assert code not in NAME_CHARACTERS
        else:
            assert code in NAME_CHARACTERS
    most = CapabilitySettings(cores=2**32 - 1, memory_mb=2**63 - 1, capacity_mb=2**63 - 1, iops=2**32 - 1)
    core.encode_capabilities(offered(most))


def test_more_than_an_announcement_holds_is_one_line_that_says_so() -> None:
    names = tuple(f"{number:024}" for number in range(8))
    with pytest.raises(SettingsError, match=r"^capabilities: .*900 bytes; list fewer protocols or tags$"):
        node({"gateway": names, "tags": names}, {"gateway": names, "tags": names})
    node({"gateway": names}, {"tags": names}).advertise(tuple((f"2001:db8::{n}", 1) for n in range(1, 4)))


@pytest.mark.parametrize(
    ("one", "two", "linked"),
    [
        (({}, {}), ({}, {}), True),
        (({}, {}), (NO_COMPUTE, {}), False),
        ((NO_COMPUTE, {}), (NO_COMPUTE, {}), True),
        ((NO_COMPUTE, {"cores": 1}), ({"cores": 4}, {}), True),
        ((NO_COMPUTE, {"cores": 8}), ({"cores": 4}, {}), False),
        ((NO_COMPUTE | {"tags": ("a", "b")}, {}), (NO_COMPUTE | {"tags": ("b",)}, {}), True),
        ((NO_COMPUTE | {"tags": ("a",)}, {}), (NO_COMPUTE | {"tags": ("b",)}, {}), False),
        ((NO_COMPUTE, {"gateway": ("mqtt",)}), (NO_COMPUTE | {"gateway": ("mqtt", "opc-ua")}, {}), True),
        ((NO_COMPUTE, {"gateway": ("mqtt",)}), (NO_COMPUTE | {"gateway": ("opc-ua",)}, {}), False),
        ((NO_COMPUTE | {"capacity_mb": 9}, {}), (NO_COMPUTE, {"capacity_mb": 9}), True),
        ((NO_COMPUTE | {"capacity_mb": 9}, {}), (NO_COMPUTE, {"capacity_mb": 10}), False),
        ((NO_COMPUTE, {"witness": 5}), (NO_COMPUTE | {"witness": 5}, {}), True),
        ((NO_COMPUTE, {"witness": 6}), (NO_COMPUTE | {"witness": 5}, {}), False),
    ],
)
def test_a_link_needs_something_shared_or_sought(one: Any, two: Any, linked: bool) -> None:
    network = MemoryNetwork(seed=1)
    nodes = [network.join(node(*what, seed=number)) for number, what in enumerate((one, two))]
    known = network.run_until(lambda: all(len(n.members) == 1 for n in nodes), 10.0)
    assert known, "whom one does not link with one still knows"
    network.run(10.0)
    assert [len(n.links) for n in nodes] == [int(linked)] * 2
    first, second = nodes
    seen = first.profile(second.id)
    assert seen is not None and seen.name == "n1"
    assert seen.capabilities == offered(CapabilitySettings(**two[0]))
    assert seen.seeks == sought(CapabilitySettings(**two[1]))


def test_the_row_of_the_status_has_the_words_of_the_settings() -> None:
    assert capability_row(Capabilities()) == {}
    assert capability_row(Capabilities(Compute(4, 8192), Storage(9, 2), ("mqtt",), 0, ("a", "b"))) == {
        "compute": {"cores": 4, "memory_mb": 8192},
        "storage": {"capacity_mb": 9, "iops": 2},
        "gateway": ["mqtt"],
        "witness": 0,
        "tags": ["a", "b"],
    }


@pytest.mark.processes
def test_daemons_link_by_their_settings_files(start: Start, tmp_path: Path) -> None:
    def flags(name: str, text: str) -> tuple[str, str]:
        path = tmp_path / f"{name}.toml"
        path.write_text(f"[capabilities]\n{text}\n")
        return "--config", str(path)

    gateway = start("gateway", flags=flags("gateway", 'compute.cores = 0\ngateway = ["mqtt"]'))
    seeker = start(
        "seeker",
        gateway.address,
        flags=flags("seeker", 'compute.cores = 0\nseeks = { gateway = ["mqtt"] }'),
    )
    plain = start("plain", gateway.address)
    linked = gateway.until(lambda status: any(link["state"] == "established" for link in status["links"]))
    everybody = {"gateway", "seeker", "plain"}
    for daemon in (gateway, seeker, plain):
        daemon.until(lambda status: {status["name"], *(p["name"] for p in status["peers"])} == everybody)
    later = linked["tick"] + 50  # five seconds, in which a link that can be would be
    final = gateway.until(lambda status: status["tick"] >= later)
    assert [link["name"] for link in final["links"]] == ["seeker"]
    assert [link["name"] for link in seeker.ask("STATUS")["links"]] == ["gateway"]
    assert plain.ask("STATUS")["links"] == []

    done = subprocess.run(
        [sys.executable, "-m", "shivya", "peers", "--json", "--socket", str(plain.socket)],
        capture_output=True,
        text=True,
        check=True,
    )
    peers = {peer["name"]: peer for peer in json.loads(done.stdout)}
    assert peers["gateway"]["capabilities"] == {"gateway": ["mqtt"]}
    assert (peers["seeker"]["capabilities"], peers["seeker"]["seeks"]) == ({}, {"gateway": ["mqtt"]})
    own = plain.ask("STATUS")["capabilities"]
    assert own == {"compute": {"cores": os.cpu_count(), "memory_mb": psutil.virtual_memory().total // 2**20}}
    for daemon in (gateway, seeker, plain):
        assert daemon.stop() == 0


@pytest.mark.processes
def test_a_mistake_in_the_table_stops_the_daemon_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[capabilities]\nseeks = { gateway = ["my gateway"] }\n')
    done = subprocess.run(
        [sys.executable, "-m", "shivya", "daemon", "--no-tui", "--config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{path}: capabilities.seeks.gateway" in done.stderr and "'my gateway'" in done.stderr
