"""Gaussian active inference: what a vertex believes, and how surprised it is (the seeds' Gibbs flux agent).

Generative model of one agent with latent state x [D], observation s [S], action a [A]:

    x ~ N(mu_prior, sigma_prior),    s | x ~ N(G x, Sigma_s(a)),    Sigma_s(a) = sigma_s0 + diag(exp(-W a)).

Everything is computed in the whitened coordinates of the prior, ``x = mu_prior + L z`` with ``sigma_prior =
L L^T``: the posterior precision of z is ``I + A^T A`` with ``A = Sigma_s^-1/2 G L``, never worse
conditioned than the problem itself, so a nearly singular prior costs no accuracy. Matrices that are
singular or indefinite are stabilised once (``linalg.stabilise``) and the same matrix enters mean,
covariance and free energy.

Sources: Friston, Trujillo-Barreto, Daunizeau 2008 (variational free energy of Gaussian models); Parr,
Pezzulo, Friston 2022 (expected free energy as risk plus ambiguity). Values that are not finite in an
observation or an action are taken as zero, and ``posterior`` and ``descend`` set NON_FINITE_INPUT.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt32

from shivya_kernels import lanes
from shivya_kernels.linalg import Stabilised, cholesky, log_determinant, solve_lower, stabilise
from shivya_kernels.shapes import as_float
from shivya_kernels.status import Status, flag

_LOG_2PI = float(np.log(2.0 * np.pi))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Agent:
    """Generative model and preferences of one agent; for ``infer``, of one in every lane (``lanes``). Fields
    may be given as nested lists; they become arrays."""

    mu_prior: Float[Array, "D *L"]
    sigma_prior: Float[Array, "D D *L"]
    G: Float[Array, "S D *L"]
    sigma_s0: Float[Array, "S S *L"]
    W: Float[Array, "S A *L"]
    m: Float[Array, "D A *L"]
    mu_pref: Float[Array, "S *L"]
    sigma_pref: Float[Array, "S S *L"]

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            # Only what a caller writes down: jax rebuilds agents around placeholders that must pass
            # untouched.
            if isinstance(value, list | tuple | np.ndarray):
                object.__setattr__(self, item.name, as_float(np.asarray(value)))


class _Model(NamedTuple):
    """One agent with one observation and one action, stabilised and whitened."""

    prior: Stabilised
    noise: Stabilised
    sensor: Float[Array, "S D *L"]
    """Sigma_s^-1/2 G."""
    error: Float[Array, "S *L"]
    """Prediction error of the prior, in units of the noise."""
    status: UInt32[Array, "*L"]


class _Posterior(NamedTuple):
    """The posterior of a whitened model."""

    shift: Float[Array, "D *L"]
    """Its mean less the prior's."""
    covariance: Float[Array, "D D *L"]
    explained: Float[Array, "D *L"]
    """What of the prediction error the shift accounts for: its square is the fit gained."""
    precision: Float[Array, "D D *L"]
    """Factor of I + A^T A."""


class Inference(NamedTuple):
    """An exact posterior and the free energy there, which is minus the log evidence."""

    mean: Float[Array, "D *L"]
    covariance: Float[Array, "D D *L"]
    free_energy: Float[Array, "*L"]
    status: UInt32[Array, "*L"]


@jax.jit
def infer(agent: Agent, observation: ArrayLike, action: ArrayLike) -> Inference:
    """Posterior and its free energy in one pass: ``variational_free_energy`` there gives the same number.

    All arrays may have trailing axes, the same ones: a lane for each of many agents, several times faster
    than ``vmap``.
    """
    model = _model(agent, observation, action)
    found = _posterior(model)
    fit = lanes.total(model.error**2) - lanes.total(found.explained**2)
    volume = log_determinant(model.noise.factor) + log_determinant(found.precision)
    free_energy = 0.5 * (model.error.shape[0] * _LOG_2PI + volume + fit)
    return Inference(agent.mu_prior + found.shift, found.covariance, free_energy, model.status)


@jax.jit
def posterior(
    agent: Agent, observation: ArrayLike, action: ArrayLike
) -> tuple[Float[Array, "D"], Float[Array, "D D"], UInt32[Array, ""]]:
    """Exact Gaussian posterior (mean [D], covariance [D, D], status bits)."""
    found = infer(agent, observation, action)
    return found.mean, found.covariance, found.status


@jax.jit
def variational_free_energy(
    agent: Agent, observation: ArrayLike, mean: ArrayLike, covariance: ArrayLike, action: ArrayLike
) -> Float[Array, ""]:
    """F in nats of the belief N(mean, covariance): KL from the prior plus expected surprise.

    At the exact posterior it equals minus the log evidence; everywhere else it is larger.
    """
    return _free_energy(agent, _model(agent, observation, action), as_float(mean), as_float(covariance))


@jax.jit
def predict(agent: Agent, action: ArrayLike) -> tuple[Float[Array, "S"], Float[Array, "S S"]]:
    """What the prior expects to observe: mean G mu_prior and covariance G sigma_prior G^T + Sigma_s(a).

    The log density of an observation here is its log evidence, minus the free energy of ``infer``.
    """
    noise, prior = _noise(agent, _finite(as_float(action))), stabilise(agent.sigma_prior)
    return agent.G @ agent.mu_prior, agent.G @ prior.matrix @ agent.G.T + noise.matrix


@partial(jax.jit, static_argnames=("steps", "form"))
def descend(
    agent: Agent,
    observation: ArrayLike,
    mean: ArrayLike,
    action: ArrayLike,
    *,
    rate: ArrayLike,
    steps: int,
    form: Literal["natural", "seed"] = "natural",
) -> tuple[Float[Array, "D"], Float[Array, ""], UInt32[Array, ""]]:
    """Gradient descent on F from ``mean``: (new mean, F there with the exact posterior covariance, status
    bits).

    ``"natural"`` follows the natural gradient ``Sigma_q dF/dmu`` (Amari 1998), which for this model is
    ``mu - mu_q``: stable for 0 < rate < 2, and rate 1 lands in one step. ``"seed"`` is the plain gradient,
    which diverges as soon as ``rate`` exceeds 2 over the largest posterior precision.
    """
    model = _model(agent, observation, action)
    found = _posterior(model)
    target, start = agent.mu_prior + found.shift, as_float(mean)
    if form == "natural":
        result = target + (1.0 - rate) ** steps * (start - target)
    elif form == "seed":
        result = _plain_descent(agent, model, start, rate, steps)
    else:
        raise ValueError(f"form must be 'natural' or 'seed', not {form!r}")
    return result, _free_energy(agent, model, result, found.covariance), model.status


@partial(jax.jit, static_argnames="form")
def expected_free_energy(
    agent: Agent,
    mean: ArrayLike,
    covariance: ArrayLike,
    policies: ArrayLike,
    form: Literal["risk_ambiguity", "seed"] = "risk_ambiguity",
) -> Float[Array, "P"]:
    """Expected free energy in nats of each policy [P, A]; the lowest is to be chosen.

    Both forms start from the risk KL(predicted observation || preference). ``"risk_ambiguity"`` predicts
    with the covariance passed and adds the entropy of the sensor noise; ``"seed"`` predicts with the
    posterior covariance that the policy would give and adds that posterior's entropy.
    """
    if form not in ("risk_ambiguity", "seed"):
        raise ValueError(f"form must be 'risk_ambiguity' or 'seed', not {form!r}")
    believed, given = as_float(mean), as_float(covariance)
    preferred = stabilise(agent.sigma_pref)

    def evaluate(action: Float[Array, "A"]) -> Float[Array, ""]:
        noise = _noise(agent, action)
        if form == "seed":
            # The covariance is the same for every observation; the preferred one is at hand.
            spread = _posterior(_model(agent, agent.mu_pref, action)).covariance
            entropy_factor = cholesky(spread)
        else:
            spread, entropy_factor = given, noise.factor
        predicted_mean = agent.G @ (believed + agent.m @ action)
        predicted = stabilise(agent.G @ spread @ agent.G.T + noise.matrix)
        risk = _divergence(predicted_mean, predicted.factor, agent.mu_pref, preferred.factor)
        entropy = 0.5 * (entropy_factor.shape[0] * (_LOG_2PI + 1.0) + log_determinant(entropy_factor))
        return risk + entropy

    return jax.vmap(evaluate)(as_float(policies))


def _finite(values: Float[Array, "n *L"]) -> Float[Array, "n *L"]:
    return jnp.where(jnp.isfinite(values), values, 0.0)


def _noise(agent: Agent, action: Float[Array, "A *L"]) -> Stabilised:
    sharpened = lanes.product(agent.W, action[:, None])
    return stabilise(agent.sigma_s0 + lanes.identity(agent.W.shape[0], agent.W) * jnp.exp(-sharpened))


def _model(agent: Agent, observation: ArrayLike, action: ArrayLike) -> _Model:
    seen, chosen = as_float(observation), as_float(action)
    finite = jnp.isfinite(seen).all(axis=0) & jnp.isfinite(chosen).all(axis=0)
    seen, chosen = _finite(seen), _finite(chosen)
    prior, noise = stabilise(agent.sigma_prior), _noise(agent, chosen)
    whitened = solve_lower(noise.factor, jnp.concatenate([agent.G, seen[:, None]], axis=1))
    sensor = whitened[:, :-1]
    error = whitened[:, -1] - lanes.product(sensor, agent.mu_prior[:, None])[:, 0]
    return _Model(
        prior, noise, sensor, error, prior.status | noise.status | flag(~finite, Status.NON_FINITE_INPUT)
    )


def _posterior(model: _Model) -> _Posterior:
    gain = lanes.product(model.sensor, model.prior.factor)
    # Mean and covariance share every product and solve: one more column each, in place of twice the calls.
    normal = lanes.product(lanes.transpose(gain), jnp.concatenate([gain, model.error[:, None]], axis=1))
    precision = cholesky(lanes.identity(gain.shape[1], gain) + normal[:, :-1])
    solved = solve_lower(
        precision, jnp.concatenate([lanes.transpose(model.prior.factor), normal[:, -1:]], axis=1)
    )
    moments = lanes.product(lanes.transpose(solved[:, :-1]), solved)
    return _Posterior(moments[:, -1], moments[:, :-1], solved[:, -1], precision)


def _free_energy(
    agent: Agent, model: _Model, mean: Float[Array, "D"], covariance: Float[Array, "D D"]
) -> Float[Array, ""]:
    belief = stabilise(covariance).factor
    complexity = _divergence(mean, belief, agent.mu_prior, model.prior.factor)
    error = model.error - model.sensor @ (mean - agent.mu_prior)
    spread = model.sensor @ belief
    surprise = error @ error + (spread**2).sum() + log_determinant(model.noise.factor)
    return complexity + 0.5 * (error.shape[0] * _LOG_2PI + surprise)


def _divergence(
    mean: Float[Array, "n"],
    factor: Float[Array, "n n"],
    other: Float[Array, "n"],
    other_factor: Float[Array, "n n"],
) -> Float[Array, ""]:
    """KL(N(mean, .) || N(other, .)) from Cholesky factors."""
    ratio = solve_lower(other_factor, factor)
    shift = solve_lower(other_factor, other - mean)
    # Per dimension, so that one on which both agree adds exactly zero.
    excess = (ratio**2).sum(axis=1) - 1.0 - 2.0 * jnp.log(jnp.diagonal(ratio))
    return 0.5 * (excess.sum() + shift @ shift)


def _plain_descent(
    agent: Agent, model: _Model, start: Float[Array, "D"], rate: ArrayLike, steps: int
) -> Float[Array, "D"]:
    def advance(mean: Float[Array, "D"], _: None) -> tuple[Float[Array, "D"], None]:
        shift = mean - agent.mu_prior
        towards_prior = cho_solve((model.prior.factor, True), shift)
        gradient = towards_prior - model.sensor.T @ (model.error - model.sensor @ shift)
        return mean - rate * gradient, None

    return jax.lax.scan(advance, start, None, length=steps)[0]
