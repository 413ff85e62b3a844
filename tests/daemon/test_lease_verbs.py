"""The lines by which applications lease resources, and what the settings say is lent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shivya import config

from shivya_daemon.commands import Commands, Session
from shivya_daemon.core.gossip.resources import Resource, Resources
from shivya_daemon.core.leases.kinds import LABELS, Kind
from shivya_daemon.core.leases.leases import LeaseRefused
from shivya_daemon.lease_desk import LeaseDesk
from shivya_daemon.lease_verbs import MAX_WATCHED
from shivya_daemon.net.memory import MemoryNetwork
from shivya_daemon.resources import with_quota
from shivya_daemon.settings import MAX_QUOTA, DaemonSettings, QuotaSettings, SettingsError
from shivya_daemon.startup import lending


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ALLOCATE resource=millicores amount=2000 seconds=60", ("millicores", 2000, 60)),
        ("renew lease=abcd seconds=5", ("abcd", 5)),
        ("RELEASE lease=abcd", ("abcd",)),
    ],
)
def test_a_line_does_what_it_says(desk: Any, line: str, found: tuple[object, ...]) -> None:
    answer = Commands(desk, lambda: 0.0).obey(line.encode(), Session())
    assert answer is not None and "id" in answer["lease"]
    assert desk.operations.leases.asked == [found]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("ALLOCATE amount=1 seconds=1", "resource is missing"),
        ("ALLOCATE resource=millicores seconds=1", "amount is missing"),
        ("ALLOCATE resource=millicores amount=1", "seconds is missing"),
        ("ALLOCATE resource=millicores amount=0 seconds=1", "amount must be a whole number from 1"),
        ("ALLOCATE resource=millicores amount=1 seconds=2592001", "to 2592000"),
        ("ALLOCATE resource=tea amount=1 seconds=1", "by design"),
        ("ALLOCATE resource=millicores amount=1 seconds=1 more=1", "no field 'more'"),
        ("RENEW lease=abcd", "seconds is missing"),
        ("RELEASE", "lease is missing"),
        ("LEASES watch=1", "needs the lease"),
        ("LEASES lease=abcd watch=yes", "watch must be a whole number from 0 to 1"),
    ],
)
def test_a_bad_line_is_refused_in_one_line(desk: Any, line: str, word: str) -> None:
    answer = Commands(desk, lambda: 0.0).obey(line.encode(), Session())
    assert answer is not None and word in answer["error"] and "\n" not in answer["error"]
    assert desk.operations.leases.asked == []


def test_a_connection_is_told_what_becomes_of_a_lease_until_it_is_over(desk: Any) -> None:
    commands, session = Commands(desk, lambda: 0.0), Session()
    leases = desk.operations.leases
    leases.row = {"state": "asking", "seconds_left": 0.0}
    line = b"ALLOCATE resource=millicores amount=1 seconds=9 watch=1"
    asked = commands.obey(line, session)
    assert asked is not None and asked["lease"]["state"] == "asking"
    assert session.expects and not Session().expects
    assert commands.news(session) == []
    leases.row = {"state": "held", "seconds_left": 9.0}
    assert [reply["lease"]["state"] for reply in commands.news(session)] == ["held"]
    leases.row = {"state": "held", "seconds_left": 8.0}
    assert commands.news(session) == []
    leases.row = {"state": "over", "reason": "silent"}
    assert [reply["lease"]["reason"] for reply in commands.news(session)] == ["silent"]
    assert commands.news(session) == [] and not session.expects


def test_a_connection_watches_so_many_leases_and_hears_of_one_that_is_forgotten(desk: Any) -> None:
    commands, session = Commands(desk, lambda: 0.0), Session()
    leases = desk.operations.leases
    leases.row = {"state": "held"}
    for number in range(MAX_WATCHED):
        assert "lease" in (commands.obey(f"LEASES lease={number:032} watch=1".encode(), session) or {})
    refused = commands.obey(b"LEASES lease=abcd watch=1", session)
    assert refused is not None and "watches at most 64 leases" in refused["error"]
    leases.forgotten = True
    assert {reply["error"] for reply in commands.news(session)} == {"by design"}
    assert not session.expects


def test_a_job_that_uses_a_lease_goes_where_it_is_and_nowhere_else(desk: Any) -> None:
    commands, leases = Commands(desk, lambda: 0.0), desk.operations.leases
    commands.obey(b"REPORT queue=0", Session())

    def route(**row: object) -> dict[str, Any]:
        leases.row = {"state": "held", "here": False, "name": "b", "provider": "bb" * 20} | row
        return commands.obey(b"ROUTE lease=abcd", Session()) or {}

    assert route()["to"]["name"] == "b"  # though nothing waits here
    assert desk.book.view("default", 0.0).sent == {b"\xbb" * 20: 1}
    assert route(provider="aa" * 20, here=True) == {"to": None}
    assert "takes no jobs of service default" in route(provider="cc" * 20)["error"]
    assert "the lease is over" in route(state="over")["error"]
    leases.forgotten = True
    assert route()["error"] == "by design"
    assert sum(desk.book.view("default", 0.0).sent.values()) == 1


def test_the_settings_know_every_kind_and_its_bound() -> None:
    assert {label: kind.most for label, kind in LABELS.items()} == dict(MAX_QUOTA)
    settings = lending(QuotaSettings(millicores=4000, iops=7, lease_ttl=1.5))
    assert (settings.quota, settings.ttl) == ({Kind.MILLICORES: 4000, Kind.IOPS: 7}, 1.5)
    for wrong in ({"millicores": 128_001}, {"iops": -1}, {"lease_ttl": 0.1}, {"max_latency": 0.0}):
        with pytest.raises(SettingsError, match=rf"quota\.{next(iter(wrong))} must be"):
            DaemonSettings(quota=QuotaSettings(**wrong))  # type: ignore[arg-type]


def test_a_quota_comes_from_the_file_and_from_variables(tmp_path: Path) -> None:
    file = tmp_path / "shivya.toml"
    file.write_text("[quota]\nmillicores = 4000\nlease_ttl = 2\n")
    found = config.load({}, environ={"SHIVYA_QUOTA_MEMORY_MB": "512"}, folder=tmp_path).quota
    assert (found.millicores, found.memory_mb, found.lease_ttl) == (4000, 512, 2.0)
    file.write_text("[quota]\nmillicores = 200000\n")
    with pytest.raises(SettingsError, match="millicores must be between 0 and 128000, not 200000"):
        config.load({}, environ={}, folder=tmp_path)
    file.write_text("[quota]\ncores = 4\n")
    with pytest.raises(SettingsError, match=r"unknown key 'quota\.cores'; known keys are quota\.millicores"):
        config.load({}, environ={}, folder=tmp_path)


def test_the_fleet_is_told_what_is_free_of_the_quota() -> None:
    measured = Resources((0.1, 0.2, 0.3, 0.0), (8000.0, 1e5, 1e6, 0.0))
    told = with_quota(measured, {Resource.COMPUTE: (0.75, 4000.0), Resource.BANDWIDTH: (1.0, None)})
    assert told == Resources((0.75, 0.2, 1.0, 0.0), (4000.0, 1e5, 1e6, 0.0))


def test_the_desk_speaks_of_leases_by_the_first_digits_of_their_ids() -> None:
    from shivya_daemon.core.node import NodeSettings

    settings = NodeSettings(leases=lending(QuotaSettings(millicores=1000, memory_mb=64)))
    net = MemoryNetwork(settings=settings)
    (node,) = net.spawn(1)
    net.run(7.0)
    desk = LeaseDesk(node, lambda: net.now)
    acted: list[float] = []
    desk.acted = lambda: acted.append(net.now)
    row = desk.allocate("millicores", 300, 60)
    assert row["state"] == "held" and row["name"] == "n0" and row["price"] == 0
    assert desk.look(row["id"][:6])["id"] == row["id"]
    assert desk.renew(row["id"], 90)["seconds_left"] == 90.0
    report = json.loads(json.dumps(desk.report()))
    assert report["quota"][0] == {"resource": "millicores", "capacity": 1000, "taken": 300}
    assert report["granted"][0]["holder"] == node.id.hex()
    assert node.leases.shares()[Resource.COMPUTE] == (0.7, 1000.0)
    assert desk.release(row["id"])["reason"] == "released"
    assert len(acted) == 3
    for lease in ("", "zz", row["id"][:3], "f" * 32):
        with pytest.raises(LeaseRefused, match="is no lease"):
            desk.release(lease)
    with pytest.raises(LeaseRefused, match="must be one of millicores"):
        desk.allocate("tea", 1, 1)
