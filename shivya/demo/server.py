"""One server and the line in front of it: jobs in the order in which they were born, one at a time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from shivya.demo.messages import Task
from shivya.waiting import Waiting

_BLOCK = bytes(1 << 16)  # hashlib releases the interpreter lock for blocks of this size


class Server:
    """Serves jobs in `size / rate` seconds each and calls `finished` for each.

    With `burn` a job costs that much CPU time of one thread; without, it only takes the time.
    """

    def __init__(self, rate: float, burn: bool, finished: Callable[[Task], None]) -> None:
        self._rate = rate
        self._burn = burn
        self._finished = finished
        self._waiting: Waiting[tuple[Task, float]] = Waiting()  # bounded by the generator's plan
        """Jobs, and when each came."""
        self.idle = asyncio.Event()
        """Set while there is nothing to do."""
        self.idle.set()
        self._arrived = asyncio.Event()
        self._serving = 0

    @property
    def held(self) -> int:
        """Jobs here, the one in service included."""
        return len(self._waiting) + self._serving

    def add(self, task: Task, born: float) -> None:
        """Put a job that was born at a time of the loop's clock in its place in the line."""
        self._waiting.add((task, asyncio.get_running_loop().time()), born)
        self.idle.clear()
        self._arrived.set()

    def ahead(self, born: float) -> int:
        """How many waiting jobs a job born then would have ahead of it."""
        return self._waiting.ahead(born)

    def take_middle(self) -> tuple[Task, float] | None:
        """Give up the job in the middle of the line, with its birth; None when no job waits."""
        if not self._waiting:
            return None
        (task, _), born = self._waiting.pop_middle()
        return task, born

    async def run(self) -> None:
        """Serve until cancelled."""
        with ThreadPoolExecutor(max_workers=1) as thread:
            loop = asyncio.get_running_loop()
            free_at = loop.time()
            while True:
                while not self._waiting:  # what woke it may have been given away by now
                    self.idle.set()
                    self._arrived.clear()
                    await self._arrived.wait()
                (task, came), _ = self._waiting.pop_first()
                self._serving = 1
                seconds = task.size / self._rate
                if self._burn:
                    await loop.run_in_executor(thread, burn_cpu, seconds)
                else:
                    # Counting from the planned end of the job before keeps the rate free of wake-up delays;
                    # but no job begins before it came.
                    free_at = max(free_at, came) + seconds
                    await asyncio.sleep(free_at - loop.time())
                self._serving = 0
                self._finished(task)


def burn_cpu(seconds: float) -> None:
    """Keep the calling thread computing for `seconds` of its own CPU time, the interpreter lock released."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.blake2b(_BLOCK)
