"""The carrier over loopback: every job arrives once, whatever happens to the connections."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from relay import HOST, Relay
from shivya import job_frames
from shivya.client import Client, Load
from shivya.job_frames import Delivery, Hello, Job
from shivya.transfer import Carrier, Receipt, TransferFailed, TransferInDoubt

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def job(number: int = 0, hops: int = 0, payload: bytes = b"work") -> Job:
    return Job(number.to_bytes(16), payload, hops, "origin")


class Inbox(list[tuple[Job, str]]):
    """What a carrier accepted; can be told to refuse or to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse = False
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def __call__(self, job: Job, source: str) -> None:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse:
            raise RuntimeError("not now")
        self.append((job, source))


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[Carrier, Carrier, str, Inbox]]:
    inbox = Inbox()
    async with (
        asyncio.timeout(30),
        Carrier(Inbox(), name="a", **options) as sender,
        Carrier(inbox, name="b") as receiver,
    ):
        yield sender, receiver, await receiver.start(HOST), inbox


async def test_a_job_arrives_with_one_hop_more_and_a_receipt() -> None:
    async with pair() as (sender, _, address, inbox):
        receipt = await sender.send(address, job(7, hops=2))
        ((taken, source),) = inbox
        assert (replace(taken, age=0.0), source) == (job(7, hops=3), "a")
        assert receipt == Receipt(None, None, None, accepted=1, duplicate=False)
        assert (await sender.send(address, job(8))).accepted == 2


async def test_a_job_grows_older_while_it_waits_to_be_sent_and_no_clock_is_compared() -> None:
    async with pair() as (sender, _, address, inbox):
        loop, start = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        channel = sender._channel(address)
        for _ in range(64):
            await channel.slots.acquire()
        sending = asyncio.create_task(sender.send(address, replace(job(1), age=2.5)))
        await asyncio.sleep(0.02)
        channel.slots.release()
        await sending
        assert 2.5 + 0.019 <= inbox[0][0].age <= 2.5 + (loop.time() - start)


async def test_the_receivers_client_is_told_and_its_load_comes_back(tmp_path: Path) -> None:
    class Told(Client):
        def accepted(self, source: Any, n: int = 1) -> None:
            told.append((source, n))

        def load(self) -> Load:
            return Load(12, 40.0, 0.325)

    told: list[tuple[str, int]] = []
    client = Told(socket=tmp_path / "none.sock")
    async with Carrier(Inbox(), name="b", client=client) as receiver, Carrier(Inbox(), name="a") as sender:
        address = await receiver.start(HOST)
        receipt = await sender.send(address, job())
        await sender.send(address, job())
        assert receipt == Receipt(12, 40.0, 0.325, 1, False)
        assert told == [("a", 1)]


async def test_the_same_job_twice_is_taken_once() -> None:
    async with pair() as (sender, receiver, address, inbox):
        receipts = [await sender.send(address, job()) for _ in range(3)]
        assert [receipt.duplicate for receipt in receipts] == [False, True, True]
        assert [receipt.accepted for receipt in receipts] == [1, 1, 1]
        assert len(inbox) == 1 and receiver.duplicates == 2


async def test_a_duplicate_that_arrives_while_the_first_is_being_taken_waits_for_the_outcome() -> None:
    async with pair() as (sender, _, address, inbox):
        inbox.gate = asyncio.Event()
        async with Carrier(Inbox(), name="c") as other:
            first = asyncio.create_task(sender.send(address, job()))
            await inbox.entered.wait()
            second = asyncio.create_task(other.send(address, job()))
            done, _pending = await asyncio.wait([second], timeout=0.05)
            assert not done
            inbox.gate.set()
            assert sorted([(await first).duplicate, (await second).duplicate]) == [False, True]
        assert len(inbox) == 1


async def test_a_job_that_left_may_come_back() -> None:
    """a -> b -> a -> b: the second visit is no duplicate of the first."""
    at_a, at_b = Inbox(), Inbox()
    async with Carrier(at_a, name="a") as a, Carrier(at_b, name="b") as b:
        address_a, address_b = await a.start(HOST), await b.start(HOST)
        await a.send(address_b, job())
        await b.send(address_a, at_b[-1][0])
        await a.send(address_b, at_a[-1][0])
        assert [taken.hops for taken, _ in at_b] == [1, 3]
        assert not (await b.send(address_a, at_b[-1][0])).duplicate


async def test_a_job_that_comes_back_before_its_acknowledgement_is_taken() -> None:
    """b passes the job on to c, and c passes it back to b while b still waits to hear of c's acceptance."""
    at_b = Inbox()
    returned: list[Receipt] = []

    async def bounce(taken: Job, _: str) -> None:
        returned.append(await c.send(address_b, taken))

    async with (
        Carrier(Inbox(), name="a") as a,
        Carrier(at_b, name="b") as b,
        Carrier(bounce, name="c") as c,
    ):
        address_b, address_c = await b.start(HOST), await c.start(HOST)
        await a.send(address_b, job())
        await b.send(address_c, at_b[0][0])
        assert not returned[0].duplicate
        assert [taken.hops for taken, _ in at_b] == [1, 3]
        assert (await a.send(address_b, job())).duplicate  # it is at b again


async def test_a_job_that_was_passed_on_and_lost_there_can_be_submitted_again() -> None:
    at_b = Inbox()
    async with Carrier(Inbox(), name="a") as a, Carrier(at_b, name="b") as b:
        address = await b.start(HOST)
        await a.send(address, job())
        async with Carrier(Inbox(), name="c") as c:
            await b.send(await c.start(HOST), at_b[0][0])
        assert not (await a.send(address, job())).duplicate


async def test_nobody_there_is_a_failure_not_a_doubt() -> None:
    async with pair() as (sender, receiver, address, _):
        await receiver.close()
        with pytest.raises(TransferFailed) as failure:
            await sender.send(address, job(3))
        assert failure.value.job == job(3)
        for nonsense in ("", "host", "host:", ":7", "host:x", "host:0", "host:65536"):
            with pytest.raises(TransferFailed, match="is not host:port"):
                await sender.send(nonsense, job())


async def test_a_refused_job_stays_with_its_sender_and_may_be_offered_again() -> None:
    async with pair() as (sender, _, address, inbox):
        inbox.refuse = True
        with pytest.raises(TransferFailed, match="refused"):
            await sender.send(address, job())
        inbox.refuse = False
        assert not (await sender.send(address, job())).duplicate
        assert len(inbox) == 1


async def test_no_job_is_lost_or_taken_twice_over_connections_that_break() -> None:
    rng = random.Random(5)
    async with pair(patience=20.0) as (sender, receiver, target, inbox):
        proxy = Relay(target)
        proxy.cut_after = lambda: (rng.randint(40, 4000), rng.randint(40, 2000))
        async with proxy as address:
            jobs = [job(n, payload=rng.randbytes(rng.randint(0, 300))) for n in range(200)]
            receipts: list[Receipt] = []

            async def insist(one: Job) -> None:
                while True:
                    try:
                        receipts.append(await sender.send(address, one))
                        return
                    except TransferFailed:  # the greeting was cut: surely not delivered
                        await asyncio.sleep(0)

            await asyncio.gather(*(insist(one) for one in jobs))
        assert proxy.cuts > 5 and receiver.duplicates > 0
        assert len(receipts) == len(inbox) == 200
        assert {(taken.id, taken.payload) for taken, _ in inbox} == {(one.id, one.payload) for one in jobs}


async def test_a_receiver_that_vanished_with_the_job_leaves_doubt() -> None:
    async with pair(patience=0.3) as (sender, _, target, inbox):
        proxy = Relay(target)
        greeting = len(job_frames.encode(Hello(0, "b")))
        proxy.cut_after = lambda: (1 << 60, greeting + 1)  # no acknowledgement passes whole
        async with proxy as address:
            inbox.gate = asyncio.Event()
            sending = asyncio.create_task(sender.send(address, job(9)))
            await inbox.entered.wait()
            proxy.refusing = True
            inbox.gate.set()
            with pytest.raises(TransferInDoubt) as doubt:
                await sending
            assert doubt.value.job == job(9)
            assert len(inbox) == 1
            proxy.refusing = False
            proxy.cut_after = lambda: (1 << 60, 1 << 60)
            assert (await sender.send(address, job(9))).duplicate  # asking again settles it


async def test_a_receiver_that_does_not_answer_leaves_doubt() -> None:
    async with pair(patience=0.2) as (sender, _, address, inbox):
        inbox.gate = asyncio.Event()
        with pytest.raises(TransferInDoubt):
            await sender.send(address, job())
        inbox.gate.set()


async def test_a_receiver_that_restarted_is_another_one() -> None:
    """The new process knows nothing of the job, but the old one may have done it."""
    async with pair() as (sender, receiver, address, inbox):
        inbox.gate = asyncio.Event()
        sending = asyncio.create_task(sender.send(address, job()))
        await inbox.entered.wait()
        successor_inbox = Inbox()
        async with Carrier(successor_inbox, name="b") as successor:
            await receiver.close()
            await successor.start(HOST, int(address.rsplit(":", 1)[1]))
            with pytest.raises(TransferInDoubt, match="restarted"):
                await sending
            assert not successor_inbox


async def test_closing_the_sender_ends_what_is_on_its_way() -> None:
    async with pair() as (sender, _, address, inbox):
        inbox.gate = asyncio.Event()
        sending = asyncio.create_task(sender.send(address, job()))
        await inbox.entered.wait()
        await sender.close()
        with pytest.raises(TransferInDoubt):
            await sending
        with pytest.raises(TransferFailed, match="closed"):
            await sender.send(address, job())
        inbox.gate.set()


async def test_jobs_in_flight_to_one_address_are_bounded() -> None:
    async with pair() as (sender, _, address, inbox):
        inbox.gate = asyncio.Event()
        sends = [asyncio.create_task(sender.send(address, job(n))) for n in range(200)]
        await inbox.entered.wait()
        channel = sender._channels[address]
        assert channel.users == 200
        assert channel._connection is not None and len(channel._connection.waiting) <= 64
        inbox.gate.set()
        assert len({(await sent).accepted for sent in sends}) == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">2sBBI", b"SJ", 1, 1, 9) + bytes(9),
        struct.pack(">2sBBI", b"SJ", 2, 1, 1 << 31),
        job_frames.encode(Delivery(1, job())),
        job_frames.encode(Hello(1, "x")) + job_frames.encode(Hello(1, "x")),
        job_frames.encode(Hello(1, "x")) + struct.pack(">2sBBI", b"SJ", 2, 2, 5) + b"short",
        job_frames.encode(Hello(1, "x"))[:-1],
    ],
)
async def test_malformed_input_closes_that_connection_only(garbage: bytes) -> None:
    async with pair() as (sender, receiver, address, inbox):
        host, port = address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        writer.write_eof()
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
        writer.close()
        assert receiver.malformed == 1
        await sender.send(address, job())
        assert len(inbox) == 1


async def test_a_server_that_is_no_carrier_is_a_failure() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server, Carrier(Inbox(), name="a") as sender:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TransferFailed, match="not job carrier"):
            await sender.send(f"{HOST}:{port}", job())
