"""Who is owed what for levelling queues: Shapley shares of the pooling gain of a small game."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shivya_kernels.coalition import LOCAL_PLAYERS, pooling_gain, shapley_values


def pooling_shares(players: Sequence[tuple[float, float]]) -> list[float]:
    """Return the shares of up to 8 players, of which the backlogs (jobs) and rates (jobs/s) are given.

    Job seconds; they add up to what pooling saves, and half of that is waiting that jobs are spared.
    """
    drawn = np.zeros((LOCAL_PLAYERS, 2))
    drawn[: len(players)] = players
    values = pooling_gain(drawn[:, 0], drawn[:, 1], np.arange(LOCAL_PLAYERS) < len(players))
    return [float(share) for share in np.asarray(shapley_values(values))[: len(players)]]
