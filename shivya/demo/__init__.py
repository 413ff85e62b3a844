"""The main job on one machine: real daemons, real jobs, one hot node, without and with the mesh."""

from __future__ import annotations


def run(
    nodes: int = 5, seconds: float = 30.0, seed: int = 0, kill: bool = False, as_json: bool = False
) -> int:
    """Run both phases and print what came of them; returns the exit code.

    `nodes` is 2 to 16, `seconds` (arrivals per phase) 5 to 600; `kill` ends a busy node with SIGKILL in the
    middle of each phase. 0: every job done exactly once; 1: a job lost or done twice, or the demo could not
    run; 2: an argument out of range; 130: interrupted.
    """
    # Each worker process imports this package; only the parent needs what follows.
    from shivya.demo.main import run_demo

    return run_demo(nodes, seconds, seed, kill, as_json)
