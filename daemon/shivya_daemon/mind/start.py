"""Brings the law up: XLA told to keep to one thread, the compile cache found, the step compiled once; and the
learner, which compiles later."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from shivya_daemon.mind.apart import compiled_apart
from shivya_daemon.settings import LawSettings
from shivya_daemon.world import Vertex, World

if TYPE_CHECKING:
    from shivya_daemon.guard.arbiter import Engine
    from shivya_daemon.mind.law import Law
    from shivya_daemon.mind.learn import Learner, Study

_THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
"""What OpenBLAS asks, in that order, for how many threads it may use; else it is one per processor."""


def start_law(settings: LawSettings, own: bytes) -> Law:
    """Import JAX, compile the step (or load it from the cache) and return a law that is ready to judge."""
    prepare()
    compiled_apart("law", cache_folder())
    return _law(settings, own)


def _law(settings: LawSettings, own: bytes) -> Law:
    from shivya_daemon.mind.law import Law

    law = Law(settings, seed=int.from_bytes(own[:4]))
    alone = World("default", (Vertex(own, 0, 1, 1.0, 0.0, 0.0),), (), settings.stale_after)
    law.judge((alone,), 0.0, 0.0, 0.0)
    law.judge((), 0.0, 0.0, 0.0)  # forget the rehearsal
    trim()
    return law


def prepare() -> None:
    """Tell JAX how to behave in a daemon; wants to be called before it is imported."""
    os.environ["JAX_PLATFORMS"], os.environ["XLA_FLAGS"] = platforms(), xla_flags()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compile_cache()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def platforms() -> str:
    """Return where JAX is to compute: on the processor, unless the environment says otherwise."""
    return os.environ.get("JAX_PLATFORMS", "cpu")


def xla_flags() -> str:
    """Return XLA's flags: those of the environment, and threads turned off unless these say otherwise.

    A step of this size gains nothing from threads, and a daemon is a guest on its machine. Besides, two
    batched LAPACK calls of jaxlib 0.10.2 can wait for each other's threads for ever.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" in flags:
        return flags
    return f"{flags} --xla_cpu_multi_thread_eigen=false".strip()


def blas_threads() -> int:
    """Return how many threads NumPy's products and inverses are shared among: their rounding goes with it."""
    tied = hasattr(os, "sched_getaffinity")
    most = len(os.sched_getaffinity(0)) if tied else os.cpu_count() or 1
    for name in _THREADS:
        wanted = os.environ.get(name, "")
        if wanted.isdecimal() and int(wanted):
            return min(int(wanted), most)
    return most


def start_learner(own: bytes) -> Learner:
    """Return a learner whose lessons compile nothing before the first one is due."""
    from shivya_daemon.mind.learn import Learner

    executor = ThreadPoolExecutor(1, "learner", initializer=step_back)
    return Learner(partial(_load_study, int.from_bytes(own[:4])), executor, time.monotonic, time.sleep)


def start_guard() -> Engine:
    """Return the guard's compiled part, compiled (or loaded from the cache)."""
    from shivya_daemon.mind import beat

    beat.rehearse()
    trim()
    return beat


def _load_study(seed: int) -> Study:
    compiled_apart("study", cache_folder())
    from shivya_daemon.mind import study
    from shivya_daemon.mind.law import CAPACITY

    study.rehearse(CAPACITY.program)
    let_go()
    return partial(study.study, CAPACITY.program, seed)


def compile_law() -> None:
    """Compile what a daemon calls from its first tick on."""
    prepare()
    _law(LawSettings(), bytes(20))
    start_guard()


def compile_study() -> None:
    """Compile what a lesson calls, with its priority."""
    prepare()
    step_back()
    from shivya_daemon.mind import study
    from shivya_daemon.mind.law import CAPACITY

    study.rehearse(CAPACITY.program)


def step_back() -> None:
    """Lower the priority of the calling thread, where the system has priorities of threads.

    A little only: while it traces a program it holds the interpreter, and a tick would wait for it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)


def let_go() -> None:
    """Forget what was traced, a sixth of JAX's memory; what was not compiled ahead is traced again."""
    import jax

    jax.clear_caches()  # type: ignore[no-untyped-call]
    trim()


def trim() -> None:
    """Hand back to the system what the compiler has freed, where the C library can: some 100 MB, or 500."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def cache_folder() -> Path:
    """Return the folder that JAX was told of."""
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


def compile_cache() -> Path:
    """Return the folder of compiled steps, shared by all daemons of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "shivya" / f"jaxlib-{version('jaxlib')}-{cpu_key()}"


def cpu_key() -> str:
    """Return a key of the processor: a program compiled for another may crash, or round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
