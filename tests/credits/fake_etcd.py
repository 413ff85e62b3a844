"""What a ledger uses of etcd's JSON gateway, in memory, with faults: another reading of its reference."""

from __future__ import annotations

import json
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass
class Value:
    data: bytes
    created: int
    modified: int


class FakeEtcd(httpx.BaseTransport):
    """`before` and `after` are called around each request with its host and path, and may raise."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Value] = {}
        self.revision = 1
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda host, call: None
        self.after: Callable[[str, str], None] = lambda host, call: None
        self.status = 200
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        host, call = request.url.host, request.url.path.removeprefix("/v3/")
        self.requests.append((host, call))
        self.before(host, call)
        if self.status != 200:
            return httpx.Response(self.status, json={"error": "etcdserver: no leader"})
        with self._lock:
            answer = {
                "kv/range": self._range, "kv/put": self._put, "kv/deleterange": self._delete,
                "kv/txn": self._txn, "kv/compaction": lambda body: {}, "watch": self._watch,
            }[call](body)  # fmt: skip
        self.after(host, call)
        header = {"header": {"revision": str(self.revision)}}
        return httpx.Response(200, content=json.dumps(header | answer).encode() + b"\n")

    def _found(self, body: dict[str, Any]) -> list[bytes]:
        key, end = b64decode(body["key"]), b64decode(body.get("range_end", ""))
        return sorted(k for k in self.keys if k == key or (end and key <= k < end))

    def _range(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self._found(body)
        limit = int(body.get("limit", 0)) or len(found)
        rows = []
        for key in found[:limit]:
            value = self.keys[key]
            row = {
                "key": text(key),
                "create_revision": str(value.created),
                "mod_revision": str(value.modified),
            }
            if value.data and not body.get("keys_only"):
                row["value"] = text(value.data)
            rows.append(row)
        return {"kvs": rows, "count": str(len(found))} if rows else {}

    def _put(self, body: dict[str, Any]) -> dict[str, Any]:
        self.revision += 1
        key = b64decode(body["key"])
        created = self.keys[key].created if key in self.keys else self.revision
        self.keys[key] = Value(b64decode(body.get("value", "")), created, self.revision)
        return {}

    def _delete(self, body: dict[str, Any]) -> dict[str, Any]:
        for key in self._found(body):
            del self.keys[key]
        return {}

    def _txn(self, body: dict[str, Any]) -> dict[str, Any]:
        holds = all(map(self._holds, body.get("compare", ())))
        responses = []
        for request in body.get("success" if holds else "failure", ()):
            ((name, inner),) = request.items()
            work = {
                "request_range": self._range, "request_put": self._put, "request_delete_range": self._delete,
            }[name]  # fmt: skip
            responses.append({name.replace("request", "response"): work(inner)})
        return ({"succeeded": True} if holds else {}) | {"responses": responses}

    def _holds(self, compare: dict[str, Any]) -> bool:
        value = self.keys.get(b64decode(compare["key"]))
        if compare["target"] == "CREATE":
            found, wanted = (value.created if value else 0), int(compare["create_revision"])
        else:
            found, wanted = (value.modified if value else 0), int(compare["mod_revision"])
        return {"EQUAL": found == wanted, "GREATER": found > wanted}[compare["result"]]

    def _watch(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"result": {"events": []}}


def text(data: bytes) -> str:
    return b64encode(data).decode()
