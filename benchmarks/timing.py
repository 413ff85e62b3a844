"""How every benchmark measures, and the form in which it publishes.

Processor time of the whole process, all threads included, is the figure to compare: wall time depends on who
else uses the machine. Minimum and median are over repeats; a repeat makes enough calls to last a while.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
Row = dict[str, Any]

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
}
"""One thread for every library that can be told so, as in the daemon, and every compilation a real one."""

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


@dataclass(frozen=True)
class Timing:
    """Seconds per call: processor time and wall time, least and median over the repeats."""

    cpu: float
    cpu_median: float
    wall: float
    wall_median: float


def fix_environment(one_core: bool = False) -> None:
    """Start the script again where libraries would use several threads: they decide when imported.

    `one_core` keeps the process on a single core, as XLA has a pool of threads that no flag turns off.
    """
    if one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if any(os.environ.get(name) != value for name, value in _ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_ENVIRONMENT})


def measure(
    call: Callable[[], Any],
    *,
    finish: Callable[[Any], Any] = lambda result: None,
    repeats: int = 15,
    least_seconds: float = 0.05,
) -> Timing:
    """Time `call`, after one call that is not counted.

    `finish` waits for what a call left under way (`jax.block_until_ready`) and is timed with it. A repeat
    makes as many calls as fill `least_seconds`.
    """
    finish(call())
    begun = time.perf_counter()
    finish(call())
    calls = max(1, int(least_seconds / max(time.perf_counter() - begun, 1e-9)))
    cpu, wall = [], []
    gc.collect()
    for _ in range(repeats):
        wall_begun, cpu_begun = time.perf_counter(), time.process_time()
        for _ in range(calls):
            finish(call())
        cpu.append((time.process_time() - cpu_begun) / calls)
        wall.append((time.perf_counter() - wall_begun) / calls)
    return Timing(min(cpu), statistics.median(cpu), min(wall), statistics.median(wall))


def once(call: Callable[[], Any]) -> tuple[Any, Timing]:
    """The result of one call, and what it took: for work that is done once, such as compiling."""
    wall_begun, cpu_begun = time.perf_counter(), time.process_time()
    result = call()
    cpu, wall = time.process_time() - cpu_begun, time.perf_counter() - wall_begun
    return result, Timing(cpu, cpu, wall, wall)


def run_process(
    command: Sequence[str], *, expected: int = 0, environment: Mapping[str, str] | None = None
) -> tuple[str, Timing]:
    """What one process printed, and what it took from start to end.

    Raises RuntimeError when it ends with another exit code than `expected`.
    """
    begun = time.perf_counter()
    child = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    with child.stdout as stream:
        output = stream.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != expected:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}, not {expected}")
    cpu = usage.ru_utime + usage.ru_stime
    return output, Timing(cpu, cpu, wall, wall)


def least(timings: Sequence[Timing]) -> Timing:
    """Several timings of the same work as one: the least and the median of each figure."""
    cpu, wall = [t.cpu for t in timings], [t.wall for t in timings]
    return Timing(min(cpu), statistics.median(cpu), min(wall), statistics.median(wall))


def publish(name: str, rows: Sequence[Row]) -> None:
    """Write results/`name`.json and print its rows as a table."""
    document = {
        "machine": machine(),
        "commit": commit(),
        "command": f"python {Path(sys.argv[0]).resolve().relative_to(ROOT)}",
        "rows": list(rows),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = table(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Rows as text, a heading first; a column for every key, in the order of first appearance."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [[key.replace("_", " ") for key in keys], *([_text(row.get(key)) for key in keys] for row in rows)]


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, memory, system, versions. No host name."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        **{name: _version(name) for name in _PACKAGES},
    }


def commit() -> str:
    """The commit measured, marked where the working tree differs from it beyond results and report."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git(
            "status",
            "--porcelain",
            "--",
            ".",
            ":!benchmarks/results",
            ":!docs/benchmarks.md",
            ":!docs/images",
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} with changes" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
