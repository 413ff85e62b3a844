"""Simulation shared among processes, on one machine or several, by JAX's own distributed runtime.

Every process runs the same command line but for its number; each takes its share of the seeds, and after
every run all rows are gathered, so that process 0 has what one process alone would have.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shivya.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from shivya.experiments import Row

PATIENCE = 300
"""Seconds within which all processes must have met."""


@dataclass(frozen=True)
class Hosts:
    """One of several processes."""

    coordinator: str
    """Where process 0 listens, as HOST:PORT."""
    processes: int
    process: int
    """The number of this one."""

    @classmethod
    def of(cls, options: Namespace) -> Hosts | None:
        """Read the flags; None for a process that is alone. Raises `CommandError`."""
        given = (options.coordinator, options.processes, options.process)
        if given == (None, None, None):
            return None
        if None in given:
            raise CommandError(
                ExitCode.USAGE, "--coordinator, --processes and --process go together; give all"
            )
        host, _, port = options.coordinator.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise CommandError(
                ExitCode.USAGE, f"--coordinator must be HOST:PORT of process 0, not {options.coordinator!r}"
            )
        if options.process >= options.processes:
            raise CommandError(
                ExitCode.USAGE,
                f"--process {options.process} is not among 0 to {options.processes - 1}; they count from 0",
            )
        if options.seeds < options.processes:
            raise CommandError(
                ExitCode.USAGE,
                f"{options.processes} processes share {options.seeds} seeds; raise --seeds: each needs one",
            )
        return cls(*given)

    @property
    def prints(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.process == 0

    def share(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """The seeds of this process: consecutive ones, so that all shares in a row are all seeds."""
        begin, end = (len(seeds) * number // self.processes for number in (self.process, self.process + 1))
        return tuple(seeds[begin:end])

    @contextmanager
    def met(self) -> Iterator[None]:
        """Wait for the others, and at the end until they are done, too. Raises `CommandError`."""
        import jax

        try:
            jax.distributed.initialize(
                self.coordinator, self.processes, self.process, initialization_timeout=PATIENCE
            )
        except RuntimeError as error:
            raise CommandError(
                ExitCode.FAILED,
                f"not all {self.processes} processes met at {self.coordinator} in {PATIENCE} s; start all "
                f"of them, with an address of process 0's machine: {str(error).splitlines()[0]}",
            ) from None
        yield
        jax.distributed.shutdown()  # type: ignore[no-untyped-call]

    def gathered(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """The rows of all processes, in the order of the seeds."""
        import numpy as np
        from jax.experimental import multihost_utils

        text = np.frombuffer(json.dumps(list(rows)).encode(), np.uint8)
        lengths = np.asarray(multihost_utils.process_allgather(np.array([len(text)], np.int32))).reshape(-1)
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: len(text)] = text
        texts = np.asarray(multihost_utils.process_allgather(padded)).reshape(self.processes, -1)
        parts = (bytes(line[:length]) for line, length in zip(texts, lengths, strict=True))
        return tuple(row for part in parts for row in json.loads(part))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Send to standard error what libraries print meanwhile: collectives greet on standard output."""
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
