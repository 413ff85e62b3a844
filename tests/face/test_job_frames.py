"""Frames of the job carrier: what cannot be made, and that bytes are a frame or a frame error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shivya import job_frames
from shivya.job_frames import Ack, Ask, Delivery, FrameError, Hello, Job


@pytest.mark.parametrize(
    "make",
    [
        lambda: Job(b"short", b""),
        lambda: Job(bytes(16), bytes(65537)),
        lambda: Job(bytes(16), b"", -1),
        lambda: Job(bytes(16), b"", 0, "x" * 65),
        lambda: Job(bytes(16), b"", 0, "nul\0"),
        lambda: Job(bytes(16), b"", age=-1.0),
        lambda: Job(bytes(16), b"", age=float("nan")),
        lambda: Job(bytes(16), b"", age=2e9),
    ],
)
def test_a_job_that_fits_no_frame_cannot_be_made(make: Callable[[], Job]) -> None:
    with pytest.raises(ValueError):
        make()


names = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64)
counts = st.integers(0, 2**64 - 1)
jobs = st.builds(
    Job,
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=500),
    st.integers(0, 65535),
    names,
    st.floats(0, 1e9),
)
times = st.floats(allow_nan=False, allow_infinity=False)
loads = st.none() | st.tuples(st.integers(0, 2**32 - 1), times, times)
frames = (
    st.builds(Hello, counts, names)
    | st.builds(Delivery, counts, jobs)
    | st.builds(Ask, counts)
    | st.builds(Ack, st.binary(min_size=16, max_size=16), counts, st.booleans(), st.booleans(), loads, counts)
)


def parse(data: bytes) -> job_frames.Frame | None:
    async def feed() -> job_frames.Frame | None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await job_frames.read(reader)

    return asyncio.run(feed())


@given(frames)
def test_frames_survive_the_wire(frame: job_frames.Frame) -> None:
    assert parse(job_frames.encode(frame)) == frame


@given(st.sampled_from([1, 2, 3, 4, 255]), st.binary(max_size=120))
def test_any_bytes_are_a_frame_or_a_frame_error(kind: int, body: bytes) -> None:
    try:
        frame = job_frames.decode(kind, body)
    except FrameError:
        return
    assert job_frames.encode(frame)[8:] == body or kind == job_frames.ACK  # unused bits of an ACK are ignored
