"""What one layer has to tell the others: who came up and went down, who lives, which links there are."""

from __future__ import annotations

from shivya_daemon.core.anomalies import Kind
from shivya_daemon.core.events import PeerRestarted
from shivya_daemon.core.frames import ANNOUNCE, Peer
from shivya_daemon.core.gossip import events as gossip_events
from shivya_daemon.core.gossip.announcement import encode_payload
from shivya_daemon.core.gossip.state import Key
from shivya_daemon.core.stack import Stack
from shivya_daemon.core.wire import Alive, Down, Unreached, Up

_INTRODUCTIONS = 3  # the first members hear at once who this node is; gossip tells the others


class News:
    """Carries events between the layers of one node until none is left."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def spread(self, now: float) -> None:
        """Let every layer hear what the others have noticed."""
        stack = self._stack
        for event in stack.wire.events():
            match event:
                case Up():
                    self._up(event, now)
                case Alive(node, address, rtt):
                    member = stack.members.get(node)
                    if member is not None:
                        if member.address != address:
                            stack.dht.joined(Peer(node, *address), now)
                        stack.peering.up(node, address, rtt, now)
                        stack.gossip.heard(node, now)
                case Down(node, reason):
                    stack.lose(node, reason, now)
                case Unreached(address):
                    for failed in stack.peering.unreached(address):
                        stack.dht.failed(failed, now)
        for gossiped in stack.gossip.events():
            self._gossiped(gossiped, now)
        links = stack.links.events()
        if links:
            stack.say_links()
            stack.pulse.describe()
            for change in links:
                stack.outbox.emit(change)
        for signal in stack.signals.events():
            stack.outbox.emit(signal)
        for lease in stack.leases.events():
            stack.outbox.emit(lease)

    def _up(self, event: Up, now: float) -> None:
        stack = self._stack
        fresh = event.node not in stack.members
        member = stack.peering.up(event.node, event.address, event.rtt, now)
        before, life = member.incarnation, event.incarnation
        reborn = life is not None and (before is None or before < life)
        if life is not None and reborn:
            member.reborn(life)
        stack.dht.joined(Peer(event.node, *event.address), now)
        stack.gossip.heard(event.node, now)
        if fresh:
            stack.known(event.node)
        if life is not None and reborn and before is not None:
            stack.outbox.emit(PeerRestarted(event.node, life))
        elif not fresh:
            return
        if len(stack.members) <= _INTRODUCTIONS:
            stack.send_layer(event.node, ANNOUNCE, encode_payload(stack.gossip.own.announcement), now)

    def _gossiped(self, event: gossip_events.GossipEvent, now: float) -> None:
        stack = self._stack
        match event:
            case gossip_events.Joined(node):
                stack.known(node)
            case gossip_events.Returned(node):
                stack.read(node, Key, now)
                stack.known(node)
            case gossip_events.Died(node):
                stack.forget(node)
                stack.anomalies.count(Kind.SUSPICION, now, node)
                member = stack.members.get(node)
                if member is not None and now - member.last_seen >= stack.settings.peer_timeout:
                    stack.lose(node, "silent", now)
                else:
                    stack.known(node)
            case gossip_events.Left(node):
                stack.forget(node)
                stack.lose(node, "left", now)
            case gossip_events.Restarted(node):
                stack.forget(node)
            case gossip_events.Changed(node, keys):
                stack.read(node, keys, now)
            case gossip_events.IncarnationAdopted(incarnation):
                stack.adopt(incarnation)
