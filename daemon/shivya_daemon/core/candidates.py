"""Who could be a link neighbour: the live nodes, with what gossip and the wire tell of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shivya_daemon.core.gossip.announcement import compatible
from shivya_daemon.core.gossip.gossip import Gossip
from shivya_daemon.core.gossip.topology import Topology
from shivya_daemon.core.links.book import Candidate
from shivya_daemon.core.members import Members


class LiveCandidates(Mapping[bytes, Candidate]):
    """The live nodes as candidates for links, each made when it is looked at."""

    def __init__(self, gossip: Gossip, members: Members, topology: Topology) -> None:
        self._gossip = gossip
        self._members = members
        self._topology = topology

    def __getitem__(self, node: bytes) -> Candidate:
        state = self._gossip.state(node)
        if state is None or node not in self._gossip.live:
            raise KeyError(node)
        member = self._members.get(node)
        listed = self._topology.graph.get(node)
        return Candidate(
            id=node,
            compatible=compatible(self._gossip.own.announcement, state.announcement),
            rtt=None if member is None else member.rtt,
            degree=None if listed is None else len(listed),
        )

    def __contains__(self, node: object) -> bool:
        return node in self._gossip.live

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._gossip.live)

    def __len__(self) -> int:
        return len(self._gossip.live)
