"""Planners that try sequences of actions: random shooting, the cross-entropy method, MPPI, and gradient ascent.

Each draws sequences of H actions, asks the model what they earn (`prediction.mean_return`), and makes a better guess.
All but random shooting begin the next search from this one's plan, moved by one step. Actions are searched in
[-1, 1], whatever the bounds of the environment.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from purerl.environments.wrappers import unscale_action
from purerl.planning.prediction import TerminalValue, mean_return, require_bounded
from purerl.types import Action, Array, Box, Discrete, Environment, EnvState, Key, Memory, Planner, Space

Objective = Callable[[Key, EnvState, Array], Array]  # (key, state, sequences [N, H, ...]) -> what they earn [N]


def random_shooting(
    environment: Environment,
    horizon: int = 20,
    samples: int = 1000,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
    particles: int = 1,
) -> Planner:
    """Draw `samples` sequences uniformly, execute the first action of the best; discrete actions or a bounded box.

    Costs `samples x horizon x particles` steps of the model.
    """
    if isinstance(environment.action_space, Box):
        require_bounded("random_shooting", environment)

    def plan_ahead(key: Key, memory: tuple[()], state: EnvState) -> tuple[tuple[()], Action]:
        draw_key, model_key = jax.random.split(key)
        actions = _draw(draw_key, environment.action_space, (samples, horizon))
        earned = mean_return(environment, model_key, state, actions, discount, value, particles)
        return memory, actions[jnp.argmax(earned)]

    return _planner(lambda key: (), plan_ahead)


def cem(
    environment: Environment,
    horizon: int = 20,
    samples: int = 200,
    elites: int = 20,
    iterations: int = 5,
    smoothing: float | Array = 0.1,
    deviation: float | Array = 0.5,
    floor: float | Array = 0.01,
    warm_start: bool = True,
    constrained_variance: bool = False,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
    particles: int = 1,
) -> Planner:
    """The cross-entropy method as of PETS (Chua et al., 2018): execute the first action of the last mean.

    Each iteration draws from a Gaussian, truncated at two deviations, and fits it to the `elites` best: mean and
    variance become `(1 - smoothing) * theirs + smoothing * the old`. Draws are clipped to the box. The next search
    starts at this mean, moved by one step, and at the full `deviation` again. Costs `samples x iterations x horizon x
    particles` steps.

    Args:
        environment: the model; actions in a bounded `Box`.
        horizon: H, steps.
        samples: sequences per iteration.
        elites: how many of them the next Gaussian is fitted to.
        iterations: of drawing and fitting.
        smoothing: alpha, how much of the old Gaussian is kept, in [0, 1).
        deviation: of the first Gaussian, in units of half the box.
        floor: the least deviation of a fitted Gaussian.
        warm_start: begin where the last plan ended; otherwise in the middle of the box.
        constrained_variance: as PETS, draw with a variance of at most `(distance to the nearer bound / 2)^2`, which
            keeps draws inside the box without clipping. A mean near a bound then hardly leaves it again: where the best
            actions are on the bounds and change sides, this costs much (Pendulum: -188 instead of -150).
        discount, value, particles: of `prediction.mean_return`.

    Raises TypeError unless actions are in a bounded box, ValueError unless `1 <= elites <= samples`.
    """
    space, size = _box("cem", environment)
    if not 1 <= elites <= samples:
        raise ValueError(f"cem needs 1 <= elites <= samples, got {elites} and {samples}")
    earn = _objective(environment, space, discount, value, particles)

    def plan_ahead(key: Key, memory: Array, state: EnvState) -> tuple[Array, Action]:
        draw_key, model_key = jax.random.split(key)
        noise = jax.random.truncated_normal(draw_key, -2.0, 2.0, (iterations, samples, horizon, size))

        def iterate(carry: tuple[Array, Array], noise: Array) -> tuple[tuple[Array, Array], None]:
            mean, variance = carry
            spread = jnp.sqrt(variance)
            if constrained_variance:
                spread = jnp.minimum(spread, (1.0 - jnp.abs(mean)) / 2)
            actions = jnp.clip(mean + spread * noise, -1.0, 1.0)
            _, best = jax.lax.top_k(earn(model_key, state, actions), elites)
            mean = (1 - smoothing) * jnp.mean(actions[best], axis=0) + smoothing * mean
            variance = (1 - smoothing) * jnp.var(actions[best], axis=0) + smoothing * variance
            return (mean, jnp.maximum(variance, floor**2)), None

        start = memory if warm_start else jnp.zeros_like(memory)
        (mean, _), _ = jax.lax.scan(iterate, (start, jnp.full_like(start, deviation**2)), noise)
        return shift(mean), unscale_action(space, mean)

    return _planner(lambda key: jnp.zeros((horizon, size)), plan_ahead)


def mppi(
    environment: Environment,
    horizon: int = 20,
    samples: int = 1000,
    iterations: int = 1,
    temperature: float | Array = 0.1,
    deviation: float | Array = 0.5,
    filtering: float | Array = 1.0,
    relative_temperature: bool = False,
    control_cost: bool = False,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
    particles: int = 1,
) -> Planner:
    """Model-predictive path integrals (Williams et al., 2017): a mean of all sequences, the better the heavier.

    Sequence k is the plan plus noise, `a_t + n_t^k`, with `n_t = filtering e_t + (1 - filtering) n_{t-1}`, e normal
    with `deviation` (`filtering` below 1 is the smooth noise of Nagabandi et al., 2019), clipped to the box. With
    weights `w_k ~ exp((J_k - max J) / temperature)` the plan becomes `a_t + sum_k w_k n_t^k`: for a temperature towards
    0 the best sequence, towards infinity the old plan. Costs `samples x iterations x horizon x particles` steps.

    Args:
        environment: the model; actions in a bounded `Box`.
        horizon: H, steps.
        samples: K, sequences.
        iterations: of drawing and averaging.
        temperature: lambda, in units of return.
        deviation: of the noise, in units of half the box.
        filtering: beta, in (0, 1].
        relative_temperature: the temperature counts in standard deviations of J over the sequences instead.
        control_cost: the information-theoretic cost `lambda a_t' n_t / deviation^2` is taken from J, as in the paper;
            it pulls the plan towards zero.
        discount, value, particles: of `prediction.mean_return`.

    Raises TypeError unless actions are in a bounded box.
    """
    space, size = _box("mppi", environment)
    earn = _objective(environment, space, discount, value, particles)

    def smooth(noise: Array) -> Array:
        def filter_one(last: Array, new: Array) -> tuple[Array, Array]:
            mixed = filtering * new + (1 - filtering) * last
            return mixed, mixed

        _, mixed = jax.lax.scan(filter_one, jnp.zeros_like(noise[:, 0]), noise.swapaxes(0, 1))
        return mixed.swapaxes(0, 1)

    def plan_ahead(key: Key, memory: Array, state: EnvState) -> tuple[Array, Action]:
        draw_key, model_key = jax.random.split(key)
        noise = deviation * jax.random.normal(draw_key, (iterations, samples, horizon, size))

        def iterate(mean: Array, noise: Array) -> tuple[Array, None]:
            actions = jnp.clip(mean + smooth(noise), -1.0, 1.0)
            moved = actions - mean
            earned = earn(model_key, state, actions)
            scale = jnp.std(earned) + 1e-8 if relative_temperature else 1.0
            if control_cost:
                earned = earned - temperature * scale * jnp.sum(mean * moved, axis=(1, 2)) / deviation**2
            weights = jax.nn.softmax(earned / (temperature * scale))
            return mean + jnp.tensordot(weights, moved, axes=1), None

        mean, _ = jax.lax.scan(iterate, memory, noise)
        return shift(mean), unscale_action(space, mean)

    return _planner(lambda key: jnp.zeros((horizon, size)), plan_ahead)


def gradient_shooting(
    environment: Environment,
    horizon: int = 20,
    samples: int = 8,
    iterations: int = 20,
    step_size: float | Array = 0.1,
    discount: float | Array = 1.0,
    value: TerminalValue | None = None,
    particles: int = 1,
) -> Planner:
    """Adam on the actions, through the derivatives of the model, from the last plan and `samples - 1` random ones.

    Sequences are clipped to the box after every step; the first action of the best is executed, and its sequence is
    the next plan. Costs `samples x (iterations + 1) x horizon x particles` steps, most of them with derivatives, of
    which the model must have useful ones: contacts and ends have none.

    Raises TypeError unless actions are in a bounded box.
    """
    space, size = _box("gradient_shooting", environment)
    earn = _objective(environment, space, discount, value, particles)
    optimiser = optax.adam(step_size)

    def plan_ahead(key: Key, memory: Array, state: EnvState) -> tuple[Array, Action]:
        draw_key, model_key = jax.random.split(key)
        others = jax.random.uniform(draw_key, (samples - 1, horizon, size), minval=-1.0, maxval=1.0)
        start = jnp.concatenate([memory[None], others])

        def total_loss(actions: Array) -> Array:
            return -jnp.sum(earn(model_key, state, actions))

        def climb(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], None]:
            actions, optimiser_state = carry
            updates, optimiser_state = optimiser.update(jax.grad(total_loss)(actions), optimiser_state)
            return (jnp.clip(actions + jnp.asarray(updates), -1.0, 1.0), optimiser_state), None

        (actions, _), _ = jax.lax.scan(climb, (start, optimiser.init(start)), None, iterations)
        best = actions[jnp.argmax(earn(model_key, state, actions))]
        return shift(best), unscale_action(space, best)

    return _planner(lambda key: jnp.zeros((horizon, size)), plan_ahead)


def _planner(
    init: Callable[[Key], Memory], plan_ahead: Callable[[Key, Memory, EnvState], tuple[Memory, Action]]
) -> Planner:
    """The planner that executes the first action of each plan."""

    def plan(key: Key, memory: Memory, state: EnvState) -> tuple[Memory, Action]:
        memory, actions = plan_ahead(key, memory, state)
        return memory, actions[0]

    return Planner(init, plan, plan_ahead)


def _box(planner: str, environment: Environment) -> tuple[Box, int]:
    """The bounded box of the actions and its size A."""
    space = require_bounded(planner, environment)
    if len(space.shape) != 1:
        raise TypeError(f"{planner} needs actions that are vectors, and those of {environment.name} are {space.shape}")
    return space, space.shape[0]


def _objective(
    environment: Environment, space: Box, discount: float | Array, value: TerminalValue | None, particles: int
) -> Objective:
    """What sequences in [-1, 1] earn."""

    def earn(key: Key, state: EnvState, actions: Array) -> Array:
        return mean_return(environment, key, state, unscale_action(space, actions), discount, value, particles)

    return earn


def _draw(key: Key, space: Space, shape: tuple[int, ...]) -> Action:
    """Uniform actions with the leading axes `shape`, drawn at once where the space allows it."""
    if isinstance(space, Box):
        return unscale_action(space, jax.random.uniform(key, (*shape, *space.shape), minval=-1.0, maxval=1.0))
    if isinstance(space, Discrete):
        return jax.random.randint(key, shape, 0, space.n)
    return jax.random.randint(key, (*shape, *space.shape), 0, jnp.asarray(space.sizes))


def shift(plan: Array) -> Array:
    """The plan one step later: what was second is first, and the last action is repeated."""
    return jnp.concatenate([plan[1:], plan[-1:]])
