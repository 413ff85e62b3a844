"""The lab leaves nothing behind, not even when its process was killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import Host, Lab, Refused

PATIENCE = 60.0  # seconds; a bound against hanging, not a claim
KILLED = """
import os, signal, subprocess
from namespaces import Lab
host = Lab().host("left", "10.0.0.1/24")
sleep = host.command("sh", "-c", "echo there; exec sleep 600")
sleeper = subprocess.Popen(sleep, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
sleeper.stdout.readline()
print(host.namespace, sleeper.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_swept_away(lab: Lab) -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    namespace, pid = done.stdout.split()
    left, sleeper = Host("left", namespace), os.pidfd_open(int(pid))
    try:
        assert "10.0.0.1" in left.ip("addr")
        Lab().close()
        with pytest.raises(Refused):
            left.ip("addr")
        assert select.select([sleeper], [], [], PATIENCE)[0], "the process in it has ended"
    finally:
        os.close(sleeper)
    assert lab.host("a", "10.0.0.1/24").ip("addr"), "labs of processes that live stay"
