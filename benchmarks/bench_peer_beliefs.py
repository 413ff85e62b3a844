"""One tick of an agent of active inference: ours beside pymdp.

A tick takes an observation and a prior, and gives the posterior, the expected free energy of four policies,
the action chosen and the prior of the next tick. The models are not the same: ours is Gaussian with 8 latent
dimensions, 4 senses and exact inference; pymdp's is discrete, tables over 8 factors and 4 senses of 5 levels,
the first factor controlled, with utility and information gain in the expected free energy. Compare the cost
of an agent of that size, not the answers. Where a sense depends on one factor pymdp's fixed point is exact
after one iteration; where it depends on two, they couple as our dimensions do, and the library's default of
16 iterations stands. Models are arguments of the compiled programs, not constants in them; a batch is one
call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from peers import Entrant, Peer, compiled, contest, load
from shivya_kernels import beliefs, policy
from timing import Row, fix_environment, publish

SENSES, DIMENSIONS, LEVELS = 4, 8, 5
AGENTS = (1, 64, 1024)
FORGETTING = 0.05
MODELS = ((1, 1), (2, 16))
"""Factors that a sense of pymdp's agent depends on, and iterations of its inference."""


def main() -> None:
    peer = load("inferactively-pymdp", "pymdp.agent")
    rows = []
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            rows += [row for agents in AGENTS for row in rows_of(agents, dtype, peer)]
    publish("peer_beliefs", rows)


def rows_of(agents: int, dtype: str, peer: Peer) -> Iterator[Row]:
    """Microseconds are per agent and tick."""
    head = {"agents": agents, "dtype": dtype}
    program, compiling = compiled(*gaussian(agents))
    entrants = [Entrant("shivya", program, compiling=compiling, per_call=agents)]
    if peer.module is not None:
        for factors, iterations in MODELS:
            program, compiling = compiled(*discrete(peer.module, agents, factors, iterations))
            method = f"{peer.name}, {factors} per sense, {iterations} iter."
            entrants.append(Entrant(method, program, compiling=compiling, per_call=agents))
    yield from contest(head, entrants)
    if peer.module is None:
        yield peer.absent(head)


def gaussian(agents: int) -> tuple[Any, ...]:
    """Our tick, and what it is called with."""
    rng = np.random.default_rng(agents)
    sharpen, move = policy.effects(SENSES, DIMENSIONS)
    agent = beliefs.Agent(
        mu_prior=jnp.zeros(DIMENSIONS),
        sigma_prior=jnp.eye(DIMENSIONS),
        G=jnp.eye(SENSES, DIMENSIONS),
        sigma_s0=0.01 * jnp.eye(SENSES),
        W=sharpen,
        m=move,
        mu_pref=jnp.zeros(SENSES),
        sigma_pref=jnp.eye(SENSES),
    )
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (agents, *leaf.shape)), agent)
    many = replace(many, mu_prior=jnp.asarray(rng.normal(size=(agents, DIMENSIONS))))

    def tick(agent: beliefs.Agent, policies: jax.Array, seen: jax.Array) -> tuple[jax.Array, ...]:
        found = beliefs.infer(agent, seen, policies[0])
        chosen = policy.choose(agent, found.mean, found.covariance, policies)
        spread = found.covariance + FORGETTING * (agent.sigma_prior - found.covariance)
        expected = found.mean + agent.m @ policies[chosen.action]
        return chosen.action, chosen.energies, found.free_energy, expected, spread

    seen = jnp.asarray(rng.normal(size=(agents, SENSES)))
    return jax.vmap(tick, in_axes=(0, None, 0)), many, policy.repertoire(), seen


def discrete(module: Any, agents: int, factors: int, iterations: int) -> tuple[Any, ...]:
    """pymdp's tick, and what it is called with."""
    rng = np.random.default_rng(agents)

    def tables(*shape: int) -> jax.Array:
        """Distributions over the first of these axes, one set for each agent."""
        drawn = rng.dirichlet(np.ones(shape[0]), (agents, *shape[1:]))
        return jnp.asarray(np.moveaxis(drawn, -1, 1))

    actions = [len(policy.Action)] + [1] * (DIMENSIONS - 1)
    agent = module.Agent(
        A=[tables(*[LEVELS] * (1 + factors)) for _ in range(SENSES)],
        B=[tables(LEVELS, LEVELS, count) for count in actions],
        C=[tables(LEVELS) for _ in range(SENSES)],
        D=[tables(LEVELS) for _ in range(DIMENSIONS)],
        A_dependencies=[[factors * sense + part for part in range(factors)] for sense in range(SENSES)],
        B_dependencies=[[factor] for factor in range(DIMENSIONS)],
        num_iter=iterations,
        batch_size=agents,
    )
    arrays, structure = jax.tree.flatten(agent)
    seen = [jnp.asarray(rng.integers(LEVELS, size=(agents, 1))) for _ in range(SENSES)]

    def tick(arrays: list[Any], seen: list[jax.Array]) -> tuple[Any, ...]:
        agent = jax.tree.unflatten(structure, arrays)
        believed = agent.infer_states(seen, agent.D)
        likely, energies = agent.infer_policies(believed)
        action = agent.sample_action(likely)
        return action, energies, believed, agent.update_empirical_prior(action, believed)

    return tick, arrays, seen


if __name__ == "__main__":
    fix_environment(one_core=True)
    main()
