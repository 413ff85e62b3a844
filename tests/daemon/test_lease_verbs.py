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
    ],
)
def test_a_bad_line_is_refused_in_one_line(desk: Any, line: str, word: str) -> None:
    answer = Commands(desk, lambda: 0.0).obey(line.encode(), Session())
    assert answer is not None and word in answer["error"] and "\n" not in answer["error"]
    assert desk.operations.leases.asked == []


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
    row = desk.allocate("millicores", 300, 60)
    assert row["state"] == "held" and row["name"] == "n0" and row["price"] == 0
    assert desk.look(row["id"][:6])["id"] == row["id"]
    assert desk.renew(row["id"], 90)["seconds_left"] == 90.0
    report = json.loads(json.dumps(desk.report()))
    assert report["quota"][0] == {"resource": "millicores", "capacity": 1000, "taken": 300}
    assert report["granted"][0]["holder"] == node.id.hex()
    assert node.leases.shares()[Resource.COMPUTE] == (0.7, 1000.0)
    assert desk.release(row["id"])["reason"] == "released"
    for lease in ("", "zz", row["id"][:3], "f" * 32):
        with pytest.raises(LeaseRefused, match="is no lease"):
            desk.release(lease)
    with pytest.raises(LeaseRefused, match="must be one of millicores"):
        desk.allocate("tea", 1, 1)
