"""How long jobs have been in service, from queue lengths and completions; beside the kernels' formulas."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from shivya_daemon import placement
from shivya_daemon.in_service import MAX_SERVERS, InService
from shivya_kernels import flow

KAPPA = 0.3


def test_one_server_is_known_exactly() -> None:
    clock = InService()
    clock.occupy(3, 1, 0.0)
    assert clock.overrun(1, 10.0, KAPPA, 9.0) == 0.0, "nobody reports completions"
    clock.complete(1, 2, 1, 9.0)
    assert clock.overrun(1, 10.0, KAPPA, 9.2) == 0.0
    assert clock.overrun(1, 10.0, KAPPA, 10.0) == pytest.approx(0.3 - 0.1)
    clock.occupy(5, 1, 10.0)
    assert clock.overrun(1, 10.0, KAPPA, 10.0) == pytest.approx(0.3 - 0.1), "those who wait change nothing"
    clock.complete(1, 0, 1, 11.0)
    assert clock.overrun(1, 10.0, KAPPA, 50.0) == 0.0, "idle"


def test_a_free_server_ends_every_overrun() -> None:
    clock = InService()
    clock.occupy(4, 4, 0.0)
    clock.complete(1, 3, 4, 5.0)
    assert clock.overrun(4, 40.0, KAPPA, 6.0) == 0.0
    clock.occupy(4, 4, 6.0)
    late = sum(max(0.0, KAPPA * elapsed - 0.1) for elapsed in (7.0, 7.0, 7.0, 1.0)) / 4 / 4
    assert clock.overrun(4, 40.0, KAPPA, 7.0) == pytest.approx(late)


def test_many_servers_are_not_followed() -> None:
    clock = InService()
    clock.complete(1, 10**6, MAX_SERVERS + 1, 0.0)
    assert clock.overrun(MAX_SERVERS + 1, 10.0, KAPPA, 1e6) == 0.0
    clock.occupy(10**6, 2, 1.0)
    assert clock.overrun(2, 10.0, KAPPA, 101.0) > 0.0, "fewer servers now"


def test_a_clock_that_went_back_and_a_rate_of_nothing_are_harmless() -> None:
    clock = InService()
    clock.complete(1, 2, 1, 5.0)
    assert clock.overrun(1, 10.0, KAPPA, 1.0) == 0.0
    assert clock.overrun(1, 0.0, KAPPA, 9.0) == 0.0


def test_the_formulas_are_those_of_the_kernels() -> None:
    rng = np.random.default_rng(1)
    elapsed, done = rng.uniform(0, 1e3, 500), rng.uniform(0, 1e4, 500)
    rate, busy = np.exp(rng.uniform(-7, 7, (2, 500)))
    with jax.enable_x64(True):
        residual = np.asarray(flow.residual_time(elapsed, rate, KAPPA))
        measured = np.asarray(flow.measured_rate(done, busy, rate, 10.0))
    for n in range(500):
        assert placement.residual_time(elapsed[n], rate[n], KAPPA) == pytest.approx(residual[n], rel=1e-15)
        assert placement.measured_rate(done[n], busy[n], rate[n], 10.0) == pytest.approx(
            measured[n], rel=1e-14
        )


@pytest.mark.parametrize("servers", [1, 2, 5])
def test_waiting_with_an_overrun_is_residual_plus_queue_as_in_simulated_fleets(servers: int) -> None:
    """A = resid + (jobs waiting + servers) / mu, tail = A - 1 / mu: `fleet.views.here`."""
    rng, now = np.random.default_rng(servers), 100.0
    elapsed, rate = rng.uniform(0, 20, (200, servers)), np.exp(rng.uniform(-7, 7, 200))
    with jax.enable_x64(True):
        left = np.asarray(flow.residual_time(elapsed, rate[:, None] / servers, KAPPA))
    for n, rest in enumerate(left.mean(axis=1) / servers):
        clock = InService()
        clock.complete(1, 0, servers, 0.0)
        for held, time in enumerate(sorted(now - elapsed[n]), 1):
            clock.occupy(held, servers, time)
        overrun = clock.overrun(servers, rate[n], KAPPA, now)
        for waiting in (0, 1, 7):
            queue = servers + waiting
            own = rest + queue / rate[n]
            assert placement.waiting_time(queue, servers, rate[n], overrun) == pytest.approx(own)
            assert placement.tail_time(queue, servers, rate[n], overrun) == pytest.approx(own - 1 / rate[n])
