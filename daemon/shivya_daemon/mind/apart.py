"""`python -m shivya_daemon.mind.apart PART`: compile a part of what a daemon calls into the cache, and end.

To compile the law takes half a minute of processor time and 400 MB, holds the interpreter while it traces,
and leaves 100 MB in the process that did it. So a daemon that finds nothing in the cache has another process
do it, and loads what that left.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from shivya_daemon.mind.sources import sources

_log = logging.getLogger(__name__)


class CompilerKilled(RuntimeError):
    """The other process was killed, and this one would be, too."""


def compiled_apart(part: str, folder: Path) -> bool:
    """Have another process fill the cache in `folder` with a part, "law" or "study", unless that was done.

    Of several daemons that want the same one has it done, and the others wait. Returns whether it was done,
    now or earlier; if not, nothing is lost: whoever needs it compiles it then. Raises CompilerKilled if
    somebody, most likely the kernel for want of memory, killed the other process.
    """
    mark = folder / f"{part}-{sources()}.compiled"
    if mark.exists():
        return True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with mark.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not mark.exists():
                _log.info("another process compiles the %s into %s, once for this version", part, folder)
                code = _run(part)
                if code == -signal.SIGKILL:
                    raise CompilerKilled(
                        f"the process that compiles the {part} was killed, most likely for want of memory:"
                        " allow 512 MB, then start again"
                    )
                if code == 0:
                    mark.touch()
        return mark.exists()
    except OSError as error:
        _log.info("this process compiles the %s itself: %s", part, error)
        return False


def _run(part: str) -> int:
    """Return the exit code of the process, which ends with this one: its input is a pipe that closes then."""
    null = subprocess.DEVNULL
    with subprocess.Popen(_command(part), stdin=subprocess.PIPE, stdout=null, stderr=null) as child:
        return child.wait()


def _command(part: str) -> list[str]:
    return [sys.executable, "-P", "-m", __name__, part]


def main(part: str) -> None:
    """Compile a part, in the process that is there for it."""
    from shivya_daemon.mind import start

    parts: dict[str, Callable[[], None]] = {"law": start.compile_law, "study": start.compile_study}
    Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    parts[part]()


def _end_with(parent: int) -> None:
    """End this process when its input does, compiling or not."""
    while os.read(parent, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
