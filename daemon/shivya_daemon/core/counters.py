"""What passed and what was dropped, by reason; the set of reasons is fixed by the code, so it stays small."""

from __future__ import annotations

from msgspec import Struct, field


class Counters(Struct):
    """Datagrams and bytes each way, and every drop under the word that names its reason."""

    datagrams_received: int = 0
    bytes_received: int = 0
    datagrams_sent: int = 0
    bytes_sent: int = 0
    drops: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count one drop, or several of the same kind."""
        self.drops[reason] = self.drops.get(reason, 0) + count
