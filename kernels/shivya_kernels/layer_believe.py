"""L1 and L2 of a tick: what each vertex is like, how surprising that is, and what to do about it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from shivya_kernels import beliefs, growth, lanes, policy, prediction
from shivya_kernels.observation import Observation
from shivya_kernels.params import Params
from shivya_kernels.sensing import SENSES, offering, sense
from shivya_kernels.state import Memory

_TOLERANCE = (0.05, 1.0, 1.0, 1.0)
"""Variance of what an agent would like to observe: the waiting of its neighbourhood, closely, and an idle
processor. The other two senses no action shifts."""


class Believed(NamedTuple):
    """What L1 found. Fields as in ``Info``."""

    vertex_free_energy: Float[Array, "V"]
    waiting: Float[Array, "V"]
    senses: Float[Array, "V S"]
    dimensions: Int[Array, "V"]
    novel: Bool[Array, "V"]
    opening: Float[Array, "V"]
    """Factor on the conductance of each vertex's links, by the action in force."""
    status: UInt32[Array, ""]


def believe(params: Params, state: Memory, observation: Observation) -> tuple[Memory, Believed]:
    """The exact posterior of every vertex sensed this tick; the others keep their prior.

    The prior mean of a vertex sensed is the last posterior's, moved by the change that the law of each sense
    foretells; "as before" foretells none. A share ``forgetting`` of the way back to the broad prior is added
    to the covariance, so that a silent vertex grows uncertain and never unboundedly so. A new vertex starts
    broad. Prediction errors decide about growth, and every own cell chooses what to do next.
    """
    present = observation.complex.vertex_mask
    # The child of a split keeps what it inherited until the host has started it.
    kept = present | (observation.slots & state.cells.active & (state.cells.refractory > 0.0))
    seen, held = observation.sensed & present, state.known & kept
    waiting, senses = sense(observation)
    policies = policy.repertoire(params.probe)
    in_force = policy.modulate(state.action, policies, params.opening)
    mean, covariance = _prior(params, state, held, seen)
    found = _infer(params, state, mean, covariance, senses, in_force.values, seen)
    energy = jnp.where(seen, found.free_energy, jnp.where(held, state.free_energy, 0.0))
    grown, growing = growth.update(
        state.growth,
        senses - mean[:, :SENSES],
        covariance[:, :SENSES, :SENSES] + jax.vmap(jnp.diag)(_noise(params, in_force.values)),
        found.free_energy,
        seen,
        kept,
        base=SENSES,
        rule=growth.GrowthRule(params.novelty, params.growth_margin, variance=params.growth_variance),
    )
    after = replace(
        state,
        mean=found.mean,
        covariance=found.covariance,
        known=held | seen,
        free_energy=energy,
        history=prediction.remember(state.history, senses, seen, held),
        growth=grown,
    )
    after = replace(after, action=_choose(params, after, observation, policies))
    bits = jnp.where(seen, found.status, 0) | growing.status
    return after, Believed(
        jnp.where(present, energy, 0.0),
        waiting,
        senses,
        jnp.where(present, growing.dimensions, 0),
        growing.novel & present,
        in_force.conductance,
        jnp.bitwise_or.reduce(bits),
    )


def _prior(
    params: Params, state: Memory, held: Bool[Array, "V"], seen: Bool[Array, "V"]
) -> tuple[Float[Array, "V D"], Float[Array, "V D D"]]:
    """Mean and covariance expected of this tick's state, of the permanent dimensions."""
    change = prediction.predict(state.laws, state.history) - state.history.recent[0]
    moved = state.mean.at[:, :SENSES].add(jnp.where(seen[:, None], change, 0.0))
    broad = jnp.diag(jnp.where(jnp.arange(state.mean.shape[1]) < SENSES, params.prior_variance, 1.0))
    spread = state.covariance + params.forgetting * (broad - state.covariance)
    return jnp.where(held[:, None], moved, 0.0), jnp.where(held[:, None, None], spread, broad)


def _agent(
    params: Params, mean: Float[Array, "D"], covariance: Float[Array, "D D"], coupling: Float[Array, "S D"]
) -> beliefs.Agent:
    """The agent of one vertex, its grown dimensions included. It prefers nothing yet."""
    dtype, size = mean.dtype, mean.shape[0]
    sharpen, move = policy.effects(SENSES, size, attention=params.attention)
    agent = beliefs.Agent(
        mu_prior=mean,
        sigma_prior=covariance,
        G=jnp.eye(SENSES, size, dtype=dtype),
        sigma_s0=params.sensor_variance * jnp.eye(SENSES, dtype=dtype),
        W=sharpen.astype(dtype),
        m=move.astype(dtype),
        mu_pref=jnp.zeros(SENSES, dtype),
        sigma_pref=jnp.diag(jnp.array(_TOLERANCE, dtype)),
    )
    extended: beliefs.Agent = growth.extend(agent, coupling, base=SENSES, variance=params.growth_variance)
    return extended


def _noise(params: Params, actions: Float[Array, "V A"]) -> Float[Array, "V S"]:
    """Variance of each sense under an action, as the agent's Sigma_s has it on its diagonal."""
    sharpen, _ = policy.effects(SENSES, SENSES, attention=params.attention)
    return params.sensor_variance + jnp.exp(-actions @ sharpen.T.astype(actions.dtype))


def _infer(
    params: Params,
    state: Memory,
    mean: Float[Array, "V D"],
    covariance: Float[Array, "V D D"],
    senses: Float[Array, "V S"],
    actions: Float[Array, "V A"],
    seen: Bool[Array, "V"],
) -> beliefs.Inference:
    """The exact posterior of each vertex's agent; the prior, and no free energy, of one not seen."""
    coupling = state.growth.coupling

    def observe(prior: Array, spread: Array) -> beliefs.Inference:
        # One vertex in a lane: all that is read and written has the vertices last.
        mu, sigma, columns = (jnp.moveaxis(given, 0, -1) for given in (prior, spread, coupling))
        agents = jax.vmap(partial(_agent, params), in_axes=-1, out_axes=-1)(mu, sigma, columns)
        found: beliefs.Inference = beliefs.infer(agents, senses.T, actions.T)
        return beliefs.Inference(
            jnp.where(seen, found.mean, mu),
            jnp.where(seen, found.covariance, sigma),
            jnp.where(seen, found.free_energy, 0.0),
            jnp.where(seen, found.status, 0),
        )

    def keep(prior: Array, spread: Array) -> beliefs.Inference:
        energy, status = jnp.zeros(seen.shape, prior.dtype), jnp.zeros(seen.shape, jnp.uint32)
        return beliefs.Inference(prior.T, jnp.moveaxis(spread, 0, -1), energy, status)

    found: beliefs.Inference = jax.lax.cond(lanes.anywhere(seen), observe, keep, mean, covariance)
    return found._replace(mean=found.mean.T, covariance=jnp.moveaxis(found.covariance, -1, 0))


def _choose(
    params: Params, state: Memory, observation: Observation, policies: Float[Array, "P A"]
) -> Int[Array, "V"]:
    """The action of least expected free energy of every own cell, one cell after the other; others hold.

    A cell prefers to wait as long as its neighbourhood does. A choice has no derivative.
    """
    c = observation.complex
    params, rows, mean, covariance, coupling = jax.lax.stop_gradient(
        (params, policies, state.mean, state.covariance, state.growth.coupling)
    )
    level = policy.neighbourhood_mean(c, mean[:, 0], state.known & offering(observation))

    def decide(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        left, actions = carry
        v = jnp.argmax(left)
        agent = _agent(params, mean[v], covariance[v], coupling[v])
        agent = replace(agent, mu_pref=agent.mu_pref.at[policy.WAITING].set(level[v]))
        chosen = policy.choose(agent, mean[v], covariance[v], rows).action
        return left.at[v].set(False), actions.at[v].set(chosen.astype(actions.dtype))

    deciding = observation.own & state.known & c.vertex_mask
    hold = jnp.full(deciding.shape, policy.Action.HOLD, jnp.int32)
    actions: Array = jax.lax.while_loop(lambda carry: carry[0].any(), decide, (deciding, hold))[1]
    return actions
