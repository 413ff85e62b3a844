"""Conservation of jobs between two nodes: nobody can have accepted more of them than were sent.

Both counters begin anew at some time, jobs are on their way, and an application may tell late what it sent:
only growth counts, beyond a slack that honest books never use up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shivya_daemon.core.heartbeat import service_tag
from shivya_daemon.core.members import PeerView
from shivya_daemon.services import ServiceView

_SLACK = 16
_MOST = 10.0  # anomalies at a time


class Books:
    """What each linked peer says that it accepted, against what was sent to it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], tuple[int, int, int]] = {}
        """(service, peer) to the counters last seen, and how far they were apart at the least."""

    def excess(
        self, views: Iterable[ServiceView], peers: Iterable[PeerView], own: bytes
    ) -> Iterator[tuple[bytes, float]]:
        """Yield (peer, anomalies) where a peer has acknowledged jobs that were never sent."""
        known, self._known = self._known, {}
        linked = [peer for peer in peers if peer.linked]
        for view in views:
            tag = service_tag(view.name)
            for peer in linked:
                load = peer.services.get(tag)
                if load is None:
                    continue
                accepted = next((row.accepted for row in load.neighbours if row.node == own), None)
                if accepted is None:
                    continue
                key, sent = (view.name, peer.id), view.sent.get(peer.id, 0)
                accepted_before, sent_before, least = known.get(key, (accepted, sent, accepted - sent))
                if accepted < accepted_before or sent < sent_before:  # one of the two has begun anew
                    least = accepted - sent
                gap = accepted - sent
                least = min(least, gap)
                if gap - least > _SLACK:
                    yield peer.id, min(float(gap - least - _SLACK), _MOST)
                    least = gap
                self._known[key] = accepted, sent, least
