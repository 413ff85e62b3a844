"""The commands that compute, and what can be typed after them: from `shivya reconcile` to `shivya demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shivya import commands, simulate, tune, whatif
from shivya.arguments import (
    AddCommand,
    choose_daemon,
    choose_json,
    counting,
    names,
    positive,
    positives,
    whole,
)


def add(verbs: Any, command: AddCommand) -> None:
    """Add them to the subparsers `verbs`."""
    reconcile = command(verbs, "reconcile", commands.reconcile, example="shivya reconcile mesh.json --json")
    reconcile.add_argument("file", metavar="FILE", help="mesh as JSON; - reads standard input")
    choose_json(reconcile)

    replay = command(verbs, "replay", commands.replay, example="shivya replay edge-1.record.gz")
    replay.add_argument("file", metavar="FILE", type=Path, help="what shivya daemon --record wrote")
    choose_json(replay)

    fleets = command(
        verbs,
        "simulate",
        simulate.simulate,
        example="shivya simulate --nodes 64 --load .5,.85 --laws sed,shivya,oracle --seeds 3 --plot p99.svg",
    )
    fleets.add_argument(
        "file", metavar="SCENARIO.toml", nargs="?", type=Path, help="the fleet, its load and its faults"
    )
    fleets.add_argument("--nodes", type=counting, help="nodes of each fleet (default 64)")
    fleets.add_argument("--seconds", type=positive, help="measured time, after the warm-up (default 60)")
    fleets.add_argument(
        "--load", type=positives, help="arrivals over service rate, one or several by commas (default .85)"
    )
    fleets.add_argument(
        "--laws",
        type=names,
        default=["none", "sed", "shivya", "oracle"],
        help="laws by commas (default none,sed,shivya,oracle): " + ", ".join(simulate.LAWS),
    )
    fleets.add_argument("--seeds", type=counting, default=3, help="fleets per law and load (default 3)")
    fleets.add_argument("--seed0", type=whole, default=0, metavar="K", help="the first seed (default 0)")
    fleets.add_argument(
        "--coordinator", metavar="HOST:PORT", help="share the seeds with other hosts: where host 0 listens"
    )
    fleets.add_argument(
        "--hosts", type=counting, metavar="N", help="how many there are in all; each is a process"
    )
    fleets.add_argument("--host", type=whole, metavar="I", help="which one this is; 0 prints and writes")
    fleets.add_argument("--csv", metavar="FILE", type=Path, help="write the rows to a file, too")
    fleets.add_argument("--plot", metavar="FILE.svg", type=Path, help="draw p99 of every law to a file, too")
    choose_json(fleets)

    tuned = command(verbs, "tune", tune.tune, example="shivya tune scenario.toml -o params.toml --minutes 15")
    tuned.add_argument("file", metavar="SCENARIO.toml", type=Path, help="the fleet, its load and its faults")
    tuned.add_argument(
        "-o", "--output", metavar="FILE", type=Path, required=True, help="file for the parameters"
    )
    tuned.add_argument("--minutes", type=positive, default=15.0, help="time allowed (default 15)")
    tuned.add_argument("--seed", type=whole, default=0, help="which worlds (default 0)")
    tuned.add_argument(
        "--only", type=names, metavar="NAME,NAME", help="parameters to tune (default: those of a daemon)"
    )
    choose_json(tuned)

    twins = command(
        verbs,
        "whatif",
        whatif.whatif,
        example="shivya whatif --fail edge-3 --load 1.5 --port 8086",
    )
    twins.add_argument(
        "--fail",
        metavar="NODE",
        action="append",
        default=[],
        help="name or id of a node that ends; repeatable",
    )
    twins.add_argument("--load", type=positive, default=1.0, metavar="X", help="multiply all arrivals by X")
    twins.add_argument("--service", default="default", help="kind of job (default: default)")
    twins.add_argument("--twins", type=counting, default=64, help="how many futures are drawn (default 64)")
    twins.add_argument("--seconds", type=positive, default=60.0, help="how far they go (default 60)")
    twins.add_argument("--seed", type=whole, default=0, help="of the first twin (default 0)")
    choose_daemon(twins)
    choose_json(twins)

    demo = command(verbs, "demo", commands.demo, example="shivya demo --nodes 5 --seconds 30 --kill")
    demo.add_argument("--nodes", type=counting, default=5, help="daemons to start (default 5)")
    demo.add_argument("--seconds", type=positive, default=30.0, help="length of each phase (default 30)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the arrivals (default 0)")
    demo.add_argument("--kill", action="store_true", help="kill one node without warning in mid-phase")
    choose_json(demo)
