"""`python -m shivya.demo.tether PARENT COMMAND...`: become COMMAND, and die when the process PARENT does.

Nothing a demo starts may outlive it, even when it is killed. Linux can tie a child to its parent, and the tie
holds across exec; on other systems the command simply runs (workers also end when their pipe does).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replace this process by the command; returns only when the parent is already gone."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else it died before the tie held
        os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
