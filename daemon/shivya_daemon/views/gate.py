"""Who may ask a server of this host: Host, Origin and token of a request, checked before the rest is read.

A browser on this machine can be made to ask by any site it visits: across origins, or with a name that was
rebound to 127.0.0.1. An exact list of hosts ends rebinding, an exact list of origins ends the rest, and the
token keeps other users of the machine out. Nothing here can raise on what a request holds.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs

_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Gate:
    """The values that a request may carry."""

    hosts: frozenset[str] | None
    """Exact values of Host; None lets any pass, for addresses that are public anyway."""
    origins: frozenset[str]
    token: str | None = None
    framed: Callable[[str], bool] | None = None
    """Whether a path is for frames without an origin, which say "null"; None if there are none."""

    def refusal(
        self, hosts: Sequence[str], origins: Sequence[str], path: str = "/"
    ) -> tuple[HTTPStatus, str] | None:
        """Return why a request with these headers is refused, or None.

        `hosts` and `origins` are all values of these headers. No Origin is allowed: a browser sends one with
        every request that another site caused and whose answer that site could read.
        """
        if self.hosts is not None and (len(hosts) != 1 or hosts[0].lower() not in self.hosts):
            return HTTPStatus.MISDIRECTED_REQUEST, "This address serves requests for its own name only.\n"
        if len(origins) > 1 or any(not self._passes(origin, path) for origin in origins):
            return HTTPStatus.FORBIDDEN, "Requests that other sites make are refused.\n"
        return None

    def _passes(self, origin: str, path: str) -> bool:
        return origin in self.origins or (origin == "null" and self.framed is not None and self.framed(path))

    def knows(self, query: str) -> bool:
        """Return whether `query` has the one right token."""
        if self.token is None:
            return True
        try:
            given = parse_qs(query, max_num_fields=8).get("token", [])
        except ValueError:
            return False
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), self.token.encode())


def loopback_gate(port: int, token: str | None = None, framed: Callable[[str], bool] | None = None) -> Gate:
    """Return the gate of a server on 127.0.0.1."""
    hosts = frozenset(f"{host}:{port}" for host in _LOOPBACK)
    return Gate(hosts, frozenset(f"http://{host}" for host in hosts), token, framed)
