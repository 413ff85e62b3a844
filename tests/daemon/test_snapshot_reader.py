"""A snapshot read back from the JSON of `shivya status`: the same, or one line that says what is wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tui_scenes import snapshot

from shivya_daemon.snapshot import ResourceRow, SettleRow
from shivya_daemon.snapshot_reader import UnknownDocument, read_snapshot

FULL = replace(
    snapshot(),
    settle=(SettleRow("a", "b", "work", 1.0, 0.5, 0.5, 0.0, 2.0, 2.0, "aa", "bb", 1.5),),
    resources=(ResourceRow("compute", 0.5, 4000.0, 0.25, None),),
    status=("NOT_CONVERGED: raise max_iterations",),
    draining=True,
)


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(FULL.to_json())), **changes}


def test_what_was_written_is_read() -> None:
    assert read_snapshot(document()) == FULL
    assert read_snapshot(document(field_of_a_later_version=1)) == FULL


def test_null_is_a_number_that_is_none() -> None:
    assert read_snapshot(document(curl_norm=None)).curl_norm != 0.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tick": "many"}, "status.tick"),
        ({"tick": True}, "status.tick"),
        ({"name": None}, "status.name"),
        ({"peers": {}}, "status.peers"),
        ({"peers": [7]}, "PeerRow is no object"),
        ({"peers": [{"id": "x"}]}, "PeerRow lacks name"),
        ({"drops": {"bad_frame": "2"}}, "status.drops"),
        ({"uptime_seconds": 10**400}, "status.uptime_seconds"),
        ({"status": "text"}, "status.status"),
    ],
)
def test_what_is_no_status_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownDocument, match=said):
        read_snapshot(document(**changes))


def test_a_document_without_a_node_is_refused() -> None:
    with pytest.raises(UnknownDocument, match="lacks node_id"):
        read_snapshot({})
