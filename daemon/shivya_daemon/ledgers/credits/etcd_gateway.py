"""etcd's JSON gateway: key-value requests by HTTP, to any member that answers.

Members fail over: a request that got no answer goes to the next one, until a deadline. Only requests are made
here that may be made twice: reads, and transactions that recognise what they did before. Bytes are base64
and 64-bit numbers are texts, as the gateway has them (etcd 3.4 and later).
"""

from __future__ import annotations

import json
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from shivya_daemon.ledgers.credits.witness import Unavailable

_PAUSE = 0.05
"""Seconds between two rounds through all members: an election takes about a second."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for a connection, for an answer, and for any answer of any member."""

    connect: float = 1.0
    answer: float = 2.0
    deadline: float = 15.0


@dataclass(frozen=True, slots=True)
class Login:
    """A user of an etcd that asks for one."""

    user: str
    password: str = field(repr=False)


class Gateway:
    """A client of the members at `endpoints` (base URLs). Methods may be called from several threads."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        patience: Patience = Patience(),
        tls: ssl.SSLContext | None = None,
        login: Login | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not endpoints:
            raise ValueError("name at least one member of etcd")
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._turn = 0  # which member is asked first; a race between threads costs one failed attempt
        self._patience = patience
        self._login = login
        self._token: dict[str, str] = {}
        """The header that tells who asks; a race between threads costs one login."""
        self._client = httpx.Client(
            transport=transport,
            verify=tls or True,
            trust_env=False,
            timeout=httpx.Timeout(patience.answer, connect=patience.connect),
        )

    def ask(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of the first member that gives one; raises `Unavailable` after the deadline."""
        end = time.monotonic() + self._patience.deadline
        trouble = "nobody was asked"
        while time.monotonic() < end:
            for _ in self._endpoints:
                turn = self._turn
                endpoint = self._endpoints[turn % len(self._endpoints)]
                try:
                    response = self._post(endpoint, call, body)
                    if response.status_code == httpx.codes.OK:
                        return dict(response.json())
                    trouble = f"{endpoint}: {response.status_code} {response.text[:200]}"
                    if response.is_client_error:  # every member would say so
                        raise Unavailable(f"etcd refuses: {trouble}")
                except (httpx.HTTPError, ValueError) as error:
                    trouble = f"{endpoint}: {error or type(error).__name__}"
                except RuntimeError as error:  # the client is closed
                    raise Unavailable(str(error)) from error
                self._turn = turn + 1
            time.sleep(_PAUSE)
        raise Unavailable(f"no member of etcd answers ({trouble}); see that a majority of them runs")

    def _post(self, endpoint: str, call: str, body: dict[str, Any]) -> httpx.Response:
        """Ask one member, with a token where one is wanted, and with a new one where that has expired."""
        response = self._client.post(f"{endpoint}/v3/{call}", json=body, headers=self._token)
        if self._login is None or not _unknown(response):
            return response
        who = {"name": self._login.user, "password": self._login.password}
        login = self._client.post(f"{endpoint}/v3/auth/authenticate", json=who)
        if login.status_code != httpx.codes.OK:
            return login
        self._token = {"Authorization": str(login.json()["token"])}
        return self._client.post(f"{endpoint}/v3/{call}", json=body, headers=self._token)

    def first_event(self, body: dict[str, Any]) -> None:
        """Return when a watch reports its first event, or nothing for as long as answers may take."""
        endpoint = self._endpoints[self._turn % len(self._endpoints)]
        try:
            with self._client.stream(
                "POST", f"{endpoint}/v3/watch", json=body, headers=self._token
            ) as response:
                for line in response.iter_lines():
                    if json.loads(line).get("result", {}).keys() & {"events", "canceled"}:
                        return
        except (httpx.HTTPError, ValueError, RuntimeError):
            time.sleep(_PAUSE)  # it says nothing; whoever waits looks, and the next request fails over

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _unknown(response: httpx.Response) -> bool:
    """Whether etcd does not know who asks: no token, or one that has expired."""
    if response.status_code == httpx.codes.OK:
        return False
    return response.status_code == httpx.codes.UNAUTHORIZED or "user name is empty" in response.text


def b64(data: bytes) -> str:
    """Return bytes as the gateway has them."""
    return b64encode(data).decode()


def pairs(answer: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the answer to a range request."""
    for pair in answer.get("kvs", ()):
        yield b64decode(pair["key"]), b64decode(pair.get("value", ""))


def put(key: bytes, value: bytes) -> dict[str, Any]:
    """Return the request that sets a key."""
    return {"key": b64(key), "value": b64(value)}


def span(start: bytes, end: bytes = b"", limit: int = 0) -> dict[str, Any]:
    """Return the request for one key, or for the first `limit` of those from `start` to before `end`."""
    return {"key": b64(start), "range_end": b64(end), "limit": str(limit)}


def absent(key: bytes) -> dict[str, Any]:
    """Return the condition that a key does not exist."""
    return {"target": "CREATE", "result": "EQUAL", "key": b64(key), "create_revision": "0"}


def present(key: bytes) -> dict[str, Any]:
    """Return the condition that a key exists."""
    return {"target": "CREATE", "result": "GREATER", "key": b64(key), "create_revision": "0"}


def unchanged(key: bytes, revision: str) -> dict[str, Any]:
    """Return the condition that a key was last changed at a revision."""
    return {"target": "MOD", "result": "EQUAL", "key": b64(key), "mod_revision": revision}
