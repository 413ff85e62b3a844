from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shivya.demo.messages import MAX_LINE, Done, Finish, Message, Moved, Ready, Task, decode, encode

COUNTERS = st.integers(0, 2**64 - 1)
AGES = st.floats(0, 1e9)
MESSAGES = st.one_of(
    st.builds(Task, COUNTERS, st.floats(0, 1e9), COUNTERS, COUNTERS, AGES),
    st.builds(Ready, st.sampled_from([None, "127.0.0.1:65535"])),
    st.builds(Done, COUNTERS),
    st.builds(Moved, COUNTERS, COUNTERS, COUNTERS, st.just("127.0.0.1:1"), st.booleans()),
    st.just(Finish()),
)


@given(MESSAGES)
def test_what_is_written_is_read_again(message: Message) -> None:
    line = encode(message)
    assert decode(line) == message
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and len(line) <= MAX_LINE


@given(st.builds(Task, COUNTERS, st.floats(0, 1e9), COUNTERS, COUNTERS, AGES))
def test_a_task_travels_between_workers(task: Task) -> None:
    assert Task.from_transfer(task.attempt_id, task.payload, task.hops, task.age) == task
    assert len(task.attempt_id) == 16


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[]\n",
        b"null\n",
        b"{}\n",
        b'{"kind": "nothing"}\n',
        b'{"kind": []}\n',
        b'{"kind": "done"}\n',
        b'{"kind": "done", "id": 1, "more": 2}\n',
        b'{"kind": "done", "id": -1}\n',
        b'{"kind": "done", "id": true}\n',
        b'{"kind": "done", "id": 1.0}\n',
        b'{"kind": "done", "id": 18446744073709551616}\n',
        b'{"kind": "task", "id": 1, "size": NaN, "attempt": 0, "hops": 0}\n',
        b'{"kind": "task", "id": 1, "size": -1.0, "attempt": 0, "hops": 0}\n',
        b'{"kind": "task", "id": 1, "size": 1.0, "attempt": 0, "hops": 0, "age": -1.0}\n',
        b'{"kind": "task", "id": 1, "size": 1.0, "attempt": 0, "hops": 0, "age": 1e10}\n',
        b'{"kind": "moved", "id": 1, "attempt": 0, "hops": 1, "to": null}\n',
        b'{"kind": "moved", "id": 1, "attempt": 0, "hops": 1, "to": "x", "sure": 1}\n',
        b"\xff\xfe\n",
        b"[" * 1000,
    ],
)
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(line)


@pytest.mark.parametrize(
    ("name", "payload"),
    [(b"", b"\0" * 8), (b"\0" * 16, b""), (b"\0" * 15, b"\0" * 8), (b"\0" * 16, b"\x7f\xf8" + b"\0" * 6)],
)
def test_a_malformed_hand_over_is_refused(name: bytes, payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Task.from_transfer(name, payload, 0, 0.0)
    assert math.isfinite(Task.from_transfer(b"\0" * 16, b"\0" * 8, 0, 0.0).size)
