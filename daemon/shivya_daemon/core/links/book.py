"""What a node knows of its links: the agreements, who may be linked to, and the graph of the fleet."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from shivya_daemon.core.links.agreement import Agreement, Phase, Stance
from shivya_daemon.core.links.backoff import Backoff
from shivya_daemon.core.links.events import Linked, LinkEvent, Unlinked
from shivya_daemon.core.links.frames import Refusal
from shivya_daemon.core.links.graph import Graph, detour
from shivya_daemon.core.links.settings import LinksSettings

_REDIAL = 2.0  # silent peers are left alone for so many times `dead_after`


class Candidate(Struct, frozen=True):
    """A live node that a link may lead to; its announcement is verified."""

    id: bytes
    compatible: bool = True
    """Whether the two share a capability, or one seeks what the other has."""
    rtt: float | None = None
    """Round-trip time in seconds, if measured."""
    degree: int | None = None
    """Links it has, if known."""
    capacity: float = 1.0
    """How much a link to it is worth beside others; > 0."""


Candidates = Mapping[bytes, Candidate]
"""Node to candidate, this node itself left out; may make its values as they are looked up."""


class Book:
    """The agreements by node, and all that decisions about them rest on."""

    def __init__(
        self, own: bytes, settings: LinksSettings, entropy: Callable[[int], bytes], incarnation: int
    ) -> None:
        self.own = own
        self.settings = settings
        self.entropy = entropy
        self.stance = Stance(incarnation, needy=True)
        self.agreements: dict[bytes, Agreement] = {}
        self.established: dict[bytes, Agreement] = {}
        self.candidates: Candidates = {}
        self.graph: Graph = {}
        self.blocked: set[bytes] = set()
        self.crowded = False
        """Whether links are pruned, down to the target degree."""
        self.cramped = False
        """Whether a peer short of links found no place here."""
        self.bereft: tuple[bytes, ...] = ()
        """Neighbours of the link lost last: they miss a link too."""
        self.seek_at = float("-inf")
        remembered = settings.max_remembered
        self.proposing = Backoff(settings.backoff, settings.backoff_max, remembered)
        self.accepting = Backoff(settings.backoff, settings.backoff_max, remembered)
        self.events_lost = 0
        self._events: deque[LinkEvent] = deque()
        self._incarnations: OrderedDict[bytes, int] = OrderedDict()

    @property
    def least(self) -> int:
        """The degree below which nothing is pruned: the minimum, or all there are in a tiny fleet."""
        return min(self.settings.min_links, len(self.candidates))

    @property
    def kept(self) -> list[bytes]:
        """Neighbours that were not asked to part: the others may be gone soon."""
        return [node for node, link in self.established.items() if link.asking is None]

    def begin(self, node: bytes, number: int, phase: Phase, now: float, random: bool = False) -> Agreement:
        """Put down a new agreement with `node`."""
        agreement = Agreement(node, number, phase, self.stance, self.settings, self.entropy, now, random)
        self.agreements[node] = agreement
        return agreement

    def settle(self, agreement: Agreement, now: float) -> None:
        """Put down what became of an agreement."""
        node = agreement.node
        linked = self.established.get(node) is agreement
        if agreement.ended is None and agreement.phase is not Phase.PARTING:
            if agreement.phase is Phase.ESTABLISHED and not linked:
                self.established[node] = agreement
                self.proposing.forget(node)
                self.accepting.forget(node)
                self._emit(Linked(node))
        else:
            if agreement.ended is not None:
                del self.agreements[node]
                self._pause(agreement, now)
            if linked:
                del self.established[node]
                self._emit(Unlinked(node, agreement.ended or "draining"))
                self.bereft = tuple(sorted(self.graph.get(node, ()))[: self.settings.sample])
                self.seek_at = now
        self.stance.degree = len(self.established)
        self.stance.needy = self.stance.degree < self.least

    def separable(self, link: Agreement) -> bool:
        """Return whether this end can spare a link: enough others stay, and the known graph stays whole."""
        others = [node for node in self.kept if node != link.node]
        if link.random and sum(other.random for other in self.established.values()) <= (
            self.settings.random_links
        ):
            return False
        return len(others) >= self.least and detour(self.graph, self.own, others, link.node)

    def outdated(self, node: bytes, incarnation: int) -> bool:
        """Return whether `node` was heard in a later life; else remember this one."""
        known = self._incarnations.get(node)
        if known is not None and incarnation < known:
            return True
        if known is None and len(self._incarnations) >= self.settings.max_remembered:
            self._incarnations.popitem(last=False)
        self._incarnations[node] = incarnation
        self._incarnations.move_to_end(node)
        return False

    def draw(self, count: int, below: int) -> Iterator[int]:
        """Yield `count` numbers drawn from range(below)."""
        raw = self.entropy(4 * count)
        for start in range(0, len(raw), 4):
            yield int.from_bytes(raw[start : start + 4], "big") % below

    def events(self) -> list[LinkEvent]:
        """Return what happened, and forget it."""
        result = list(self._events)
        self._events.clear()
        return result

    def _emit(self, event: LinkEvent) -> None:
        if len(self._events) >= self.settings.max_events:
            self._events.popleft()
            self.events_lost += 1
        self._events.append(event)

    def _pause(self, agreement: Agreement, now: float) -> None:
        node, longest = agreement.node, self.settings.backoff_max
        match agreement.ended:
            case "lapsed" if agreement.phase is Phase.PENDING:
                self.accepting.strike(node, now)
            case "pruned" | "swapped" | "draining":
                self.proposing.pause(node, now, longest)
            case "silent" | "lost":
                self.proposing.pause(node, now, _REDIAL * self.settings.dead_after)
            case "refused" if agreement.refusal in (Refusal.INCOMPATIBLE, Refusal.DRAINING):
                self.proposing.pause(node, now, longest)
            case "restarted" | "unknown" | "crossed":
                pass
            case _:
                self.proposing.strike(node, now)
