"""Real daemons on hosts of their own share work, through loss, latency, small frames, cuts and a move."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from host_daemon import PATIENCE, Daemon, Status, established, names
from namespaces import Host, Lab

from shivya_daemon.core.gossip.settings import GossipSettings
from shivya_daemon.core.links.settings import LinksSettings

pytestmark = pytest.mark.processes
Start = Callable[..., Daemon]
HERE = Path(__file__).parent
IPV6_UDP_HEADERS = 48  # bytes
PORT = 8085  # of a host that has no other daemon


def mesh(start: Start, hosts: list[Host]) -> list[Daemon]:
    """Start a daemon on each host, all of which join by the first, and await that all are linked with all."""
    first = start(hosts[0])
    daemons = [first, *(start(host, first.address) for host in hosts[1:])]
    meet(daemons)
    return daemons


def meet(daemons: list[Daemon]) -> None:
    for daemon in daemons:
        others = [other.host.name for other in daemons if other is not daemon]
        daemon.knows(*others)
        daemon.linked(*others)


def test_three_hosts_meet_and_the_seed_moves_while_work_flows(lab: Lab, start: Start) -> None:
    hosts = [lab.host(name, f"10.0.0.{n}/24") for n, name in enumerate("abc", 1)]
    daemons = a, b, c = mesh(start, hosts)
    assert b.address.startswith("10.0.0.2:")
    assert a.ask("REPORT", queue=200, rate=10) == {"ok": True}
    status = a.until(lambda s: s["law"] == "running" and names(s["flows"]) == {"b", "c"})
    assert sum(flow["rate"] for flow in status["flows"]) == pytest.approx(400 / 3, rel=0.01)
    assert names(a.ask("HANDOVER")["moves"]) == {"b", "c"}

    # The address changes under the daemon's feet: sessions and links go on from the new one.
    before = {link["name"]: link["linked_seconds"] for link in established(status)}
    hosts[0].ip("addr", "add", "10.0.0.77/24", "dev", "to-left")
    hosts[0].ip("addr", "del", "10.0.0.1/24", "dev", "to-left")
    for other in (b, c):
        other.until(lambda s: any(peer["address"].startswith("10.0.0.77:") for peer in s["peers"]))
    status = a.until(lambda s: s["address"].startswith("10.0.0.77:"))  # and it announces the new one
    after = {link["name"]: link["linked_seconds"] for link in established(status)}
    assert all(after[name] > age for name, age in before.items()), "the same links, not new ones"
    a.until(lambda s: names(s["flows"]) == {"b", "c"})
    meet(daemons)
    for daemon in daemons:
        assert not gone(daemon.ask("STATUS")), "nobody was given up in between"


def gone(status: Status) -> dict[str, int]:
    """Return how many peers were given up, by reason."""
    return {key: count for key, count in status["traffic"].items() if key in ("peers_silent", "peers_left")}


def test_all_know_all_at_fifteen_percent_loss(
    lab: Lab, start: Start, lossy: Callable[[Host, int], Callable[[], int]]
) -> None:
    hosts = [lab.host(name, f"10.0.0.{n}/24") for n, name in enumerate("abc", 1)]
    lost = [lossy(host, 15) for host in hosts]
    daemons = mesh(start, hosts)
    everybody = {"a", "b", "c"}
    end = daemons[0].ask("STATUS")["uptime_seconds"] + 20.0

    def calm(status: Status) -> bool:
        for state in (status, *(daemon.ask("STATUS") for daemon in daemons[1:])):
            assert names(state["peers"]) == everybody - {state["name"]}
            assert not gone(state), "nobody is declared dead"
        return bool(status["uptime_seconds"] >= end)

    daemons[0].until(calm)
    assert all(count() > 0 for count in lost)


def test_two_hosts_link_over_forty_milliseconds_each_way(lab: Lab, start: Start) -> None:
    lab.cut()  # no way but the relay, which is at 10.0.1.9 what b is, and at 10.0.2.9 what a is
    near = lab.host("a", "10.0.1.1/24", switch="left")
    far = lab.host("b", "10.0.2.1/24", switch="right")
    middle = lab.host("relay", "10.0.1.9/24", switch="left")
    lab.plug(middle, "10.0.2.9/24", switch="right")
    sides = [f"10.0.1.9:{PORT}>10.0.1.1:{PORT}", f"10.0.2.9:{PORT}>10.0.2.1:{PORT}"]
    common = ("--bind", "0.0.0.0", "--port", str(PORT), "--advertise")
    with speaker(middle, "slow_relay.py", "0.04", sides[0], "0.04", sides[1]) as relay:
        assert relay() == "ready"
        b = start(far, flags=(*common, "10.0.1.9"))
        a = start(near, f"10.0.1.9:{PORT}", flags=(*common, "10.0.2.9"))
        meet([a, b])
        a.until(lambda s: any(0.08 <= (link["rtt_seconds"] or 0.0) < 0.3 for link in established(s)))
        command = [sys.executable, "-m", "shivya", "links", "--json", "--socket", str(a.socket)]
        said = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout
        (link,) = json.loads(said)
        assert link["name"] == "b"
        assert link["rtt_seconds"] >= 0.08


@pytest.mark.parametrize(
    ("subnet", "everywhere"), [("10.0.0.", "0.0.0.0"), ("fd00::", "::")], ids=["ipv4", "ipv6-only"]
)
def test_mtu_1280_needs_no_fragments(lab: Lab, start: Start, key: Path, subnet: str, everywhere: str) -> None:
    """With announcements and values as long as there are; and, the second time, without any IPv4 address."""
    assert GossipSettings().message_bytes + GossipSettings().overhead + IPV6_UDP_HEADERS <= 1280
    length = 64 if ":" in subnet else 24
    hosts = [lab.host(name, f"{subnet}{n}/{length}", mtu=1280) for n, name in enumerate("abcd", 1)]
    a = start(hosts[0], flags=("--bind", everywhere))
    b = start(hosts[1], a.address, flags=("--bind", everywhere))
    meet([a, b])
    places = {daemon: place(daemon.address) for daemon in (a, b)}
    with (
        speaker(hosts[2], "lone_node.py", str(key), f"{subnet}3", *places[a], "c") as c,
        speaker(hosts[3], "lone_node.py", str(key), f"{subnet}4", *places[a], "d") as d,
    ):
        assert json.loads(d(f"linked {json.loads(c('id'))}")), "each has read what the other announces"
        a.knows("b", "c", "d")
        b.knows("a", "c", "d")
        for node in (c, d):
            assert json.loads(node(f"sent {LinksSettings().probe_size}")), "it has measured its links"
        text = "v" * 256
        stored = json.loads(c(f"put {text}"))
        assert stored["holders"] >= 1
        assert json.loads(d(f"get {stored['key']}")) == text
        for daemon, (host, port) in places.items():
            assert json.loads(d(f"find {daemon.ask('STATUS')['node_id']}")) == [host, int(port)]
        for drops in (json.loads(c("drops")), json.loads(d("drops")), a.drops, b.drops):
            assert "send_failed" not in drops
        for host in hosts:
            counters = host.counters()
            assert counters["Ip6OutRequests" if ":" in subnet else "IpOutRequests"] > 0, "it came this way"
            for name in ("FragCreates", "FragFails", "ReasmReqds"):
                assert counters[f"Ip{name}"] == counters[f"Ip6{name}"] == 0, (host.name, name)


def place(address: str) -> tuple[str, str]:
    """Return host and port of an address as the status shows it."""
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), port


@contextmanager
def speaker(host: Host, script: str, *arguments: str) -> Iterator[Callable[..., str]]:
    """Run a script of this folder on a host; gives a function that says a line, if any, and hears one."""
    process = subprocess.Popen(
        host.command(sys.executable, str(HERE / script), *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None and process.stdout is not None
    said, heard = process.stdin, process.stdout

    def speak(line: str = "") -> str:
        if line:
            said.write(f"{line}\n")
        return heard.readline().strip()

    try:
        yield speak
        process.communicate(timeout=PATIENCE)  # its input ends, and so does it
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_halves_that_are_cut_apart_go_on_and_join_again(lab: Lab, start: Start) -> None:
    sides = {"a": "left", "b": "left", "c": "right", "d": "right"}
    hosts = [lab.host(name, f"10.0.0.{n}/24", switch=side) for n, (name, side) in enumerate(sides.items(), 1)]
    daemons = a, b, c, d = mesh(start, hosts)
    lab.cut()
    for one, other in ((a, "b"), (b, "a"), (c, "d"), (d, "c")):
        one.knows(other)
        one.linked(other)
    for one, other in ((a, "b"), (c, "d")):
        assert one.ask("REPORT", queue=100, rate=10) == {"ok": True}
        one.until(lambda s, other=other: names(s["flows"]) == {other})
        assert names(one.ask("HANDOVER")["moves"]) == {other}, "work is shared within the half"
    for daemon in daemons:
        status = daemon.until(lambda s: gone(s).get("peers_silent") == 2)
        assert "peers_left" not in gone(status)
        assert daemon.ask("FACTS")["members"] == 1
    lab.mend()
    meet(daemons)
    for daemon in daemons:
        assert daemon.ask("FACTS")["members"] == 3
    a.until(lambda s: names(s["flows"]) >= {"b", "d"})
