"""What a node advertises between two control steps: W and its slope anew, when its own wait has jumped.

The formulas are those of `shivya_kernels.flow.placement`, in plain Python, for one node and the neighbours of
its table; what else the last step found stands until the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from shivya_daemon.placement import Table, forecast, view, waiting_time
from shivya_daemon.verdict import Verdict
from shivya_daemon.world import Vertex

LEAST_SLOPE = 1e-4
"""Floor of an advertised slope, seconds per job, as in the kernel."""


def renewed(verdict: Verdict, own: Vertex, table: Table, slope_share: float) -> Verdict:
    """Return `verdict` with placement as of now.

    `own` is this node, which serves at a rate above 0, `table` its live neighbours; `slope_share` is the
    rise of W over which the slope is taken, as a share of gap + the shortest hop.
    """
    rate = own.service_rate
    waiting = waiting_time(own.queue, own.servers, rate, own.overrun)
    reach = [view(row, row.out, forecast(table, row, 0.0)) + row.hop + table.gap for row in table.neighbours]
    slopes = [max(row.slope, LEAST_SLOPE) for row in table.neighbours]
    window = slope_share * (table.gap + min((row.hop for row in table.neighbours), default=0.0))
    free = max(own.servers - own.queue - 1, 0)  # beside the next job

    def rise(level: float, with_own: bool, ways: Iterable[int]) -> float:
        top = level + window
        room = (top - waiting) * rate + free if with_own and waiting < top else 0.0
        room += math.fsum((top - reach[k]) / slopes[k] for k in ways if reach[k] < top)
        return min(1 / rate, window / room if room > 0.0 else math.inf)

    everyone = range(len(reach))
    best = min(everyone, key=reach.__getitem__, default=None)
    stays = best is None or waiting <= reach[best]
    rest = [k for k in everyone if stays or k != best]
    level = waiting if stays or best is None else reach[best]
    other = min((reach[k] for k in rest), default=math.inf)
    alone = stays and not rest
    second = waiting if alone else other if stays else min(waiting, other)
    return replace(
        verdict,
        waiting=waiting,
        potential=level,
        slope=rise(level, True, everyone),
        next_hop=None if stays or best is None else bytes.fromhex(table.neighbours[best].id),
        second_potential=second,
        second_slope=rise(second, not stays or alone, rest),
    )
