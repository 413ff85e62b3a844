"""Does L2's law foretell what a daemon senses next better than "same as last time"?

Each law is fitted on the first two thirds of a trace and judged on the last third, which nothing else sees.
The traces are of four daemons that ran for 32 minutes under different rhythms of load (record_traces.py). The
flag `--from DIR` takes the records of another run and keeps their senses in benchmarks/data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

import timing
from shivya_daemon.mind.record import read
from shivya_kernels import formula
from shivya_kernels.fitting import fit
from shivya_kernels.prediction import names

ROOT = Path(__file__).resolve().parent.parent
DATA = (ROOT / "benchmarks" / "data", ROOT / "tests" / "data")
SENSES = ("wait", "utilisation", "cpu", "memory")
ROUNDS = 20


def senses(path: Path) -> NDArray[np.float64]:
    """What the law sensed of its own node at each tick: log1p(waiting), utilisation, cpu, memory."""
    rows = []
    for tick in read(path)[1]:
        own = tick.worlds[0].own
        waiting = (max(0, own.queue + 1 - own.servers) + own.servers) / own.service_rate
        rows.append((np.log1p(waiting), own.arrival_rate / own.service_rate, *tick.host[:2]))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="folder", type=Path)
    given = parser.parse_args()
    for record in sorted(given.folder.glob("*.gz")) if given.folder else []:
        name = f"trace-{record.name.removesuffix('.gz')}.npz"
        np.savez_compressed(DATA[0] / name, senses=senses(record).astype(np.float32))
    files = sorted(path for folder in DATA for path in folder.glob("trace-*.npz"))
    traces = {path.stem.removeprefix("trace-"): np.load(path)["senses"].astype(np.float64) for path in files}
    rows = []
    with jax.enable_x64(True):
        for name, trace in traces.items():
            found = fit(trace, jax.random.key(0), ROUNDS)
            ratio = np.asarray(found.ratio)
            for sense, label in enumerate(SENSES):
                law = jax.tree.map(lambda leaf, at=sense: leaf[at], found.laws)
                rows.append(
                    {
                        "trace": name,
                        "minutes": round(len(trace) / 600, 1),
                        "sense": label,
                        "error_ratio": round(float(ratio[sense]), 3),
                        "law": formula.text(law, names(SENSES)),
                    }
                )
    timing.publish("predictor", rows)


if __name__ == "__main__":
    main()
