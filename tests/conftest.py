"""What every test shares: one compile cache, JAX told to stay on the CPU, and a Ctrl-C that is heard."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# jaxlib 0.10.2 can deadlock where two batched LAPACK calls wait for each other's threads (docs/design.md).
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
# Tests compile much and run little: what is compiled in a quarter of the time may run a little longer
# (docs/design.md).
_QUICK = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_THREAD} {_QUICK}".strip()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# The same examples in every run: what turns red is the change, not the draw. Other draws: HYPOTHESIS=explore.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.register_profile("explore")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS", "repeatable"))

# A shell starts what runs in its background with SIGINT ignored, and children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the independent golden values."""
    return GOLDEN


@pytest.fixture
def coordinator() -> Iterator[str]:
    """Where processes of JAX's may meet: a port given to nobody else, which they can share (SO_REUSEPORT)."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Count no lines in a test marked `no_cover`; pytest-cov cannot in a worker, where it counts twice."""
    if not item.get_closest_marker("no_cover"):
        return (yield)
    counting = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(counting)


# What this machine lacks is skipped, and said at the end; with SHIVYA_REQUIRE=all nothing may be lacking.

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")


def _insist(report: Report) -> Report:
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SHIVYA_REQUIRE") == "all":
        report.longrepr = f"required by SHIVYA_REQUIRE=all, but skipped: {_why(report)}"
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _insist((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _insist((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    yield
    reasons = Counter(map(_why, terminalreporter.stats.get("skipped", [])))
    if reasons:
        terminalreporter.section("SKIPPED")
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"SKIPPED {count} test{'s' * (count > 1)}: {reason}")
