"""Simulation shared among hosts, by JAX's own distributed runtime.

A host is one process; two on one machine are fine. Every one runs the same command line but for its number;
each takes its share of the seeds, and after every run all rows are gathered, so that host 0 has what one
alone would have.
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
"""Seconds within which all hosts must have met."""


@dataclass(frozen=True)
class Hosts:
    """One of several hosts."""

    coordinator: str
    """Where host 0 listens, as HOST:PORT."""
    count: int
    """How many there are."""
    number: int
    """Of this one, from 0."""

    @classmethod
    def of(cls, options: Namespace) -> Hosts | None:
        """Read the flags; None for one that is alone. Raises `CommandError`."""
        given = (options.coordinator, options.hosts, options.host)
        if given == (None, None, None):
            return None
        if None in given:
            raise CommandError(ExitCode.USAGE, "--coordinator, --hosts and --host go together; give all")
        host, _, port = options.coordinator.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise CommandError(
                ExitCode.USAGE, f"--coordinator must be HOST:PORT of host 0, not {options.coordinator!r}"
            )
        if options.host >= options.hosts:
            raise CommandError(
                ExitCode.USAGE,
                f"--host {options.host} is not among 0 to {options.hosts - 1}; they count from 0",
            )
        if options.seeds < options.hosts:
            raise CommandError(
                ExitCode.USAGE,
                f"{options.hosts} hosts share {options.seeds} seeds; raise --seeds: each needs one",
            )
        return cls(*given)

    @property
    def prints(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.number == 0

    def share(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """The seeds of this host: consecutive ones, so that all shares in a row are all seeds."""
        begin, end = (len(seeds) * number // self.count for number in (self.number, self.number + 1))
        return tuple(seeds[begin:end])

    @contextmanager
    def met(self) -> Iterator[None]:
        """Wait for the others, and at the end until they are done, too. Raises `CommandError`."""
        import jax

        try:
            jax.distributed.initialize(
                self.coordinator, self.count, self.number, initialization_timeout=PATIENCE
            )
        except RuntimeError as error:
            raise CommandError(
                ExitCode.FAILED,
                f"not all {self.count} hosts met at {self.coordinator} in {PATIENCE} s; start all "
                f"of them, with an address of host 0's machine: {str(error).splitlines()[0]}",
            ) from None
        yield
        jax.distributed.shutdown()  # type: ignore[no-untyped-call]

    def gathered(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """The rows of all hosts, in the order of the seeds."""
        import numpy as np
        from jax.experimental import multihost_utils

        text = np.frombuffer(json.dumps(list(rows)).encode(), np.uint8)
        lengths = np.asarray(multihost_utils.process_allgather(np.array([len(text)], np.int32))).reshape(-1)
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: len(text)] = text
        texts = np.asarray(multihost_utils.process_allgather(padded)).reshape(self.count, -1)
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
