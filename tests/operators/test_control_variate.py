"""Control variates against sums written out, and against the two things the theory says of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl.operators import control_variate as operators

SIZE, ACTIONS = 40, 3


def drawn(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"slope": (SIZE, ACTIONS), "action": (SIZE, ACTIONS), "mean": (SIZE, ACTIONS), "advantage": (SIZE,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def check_linear_advantage(module) -> None:
    given = drawn()
    found = module.linear_advantage(given["slope"], given["action"], given["mean"])
    for n in range(SIZE):
        expected = sum(given["slope"][n, d] * (given["action"][n, d] - given["mean"][n, d]) for d in range(ACTIONS))
        np.testing.assert_allclose(found[n], expected, rtol=1e-4, atol=1e-5)


def check_weights(module) -> None:
    given = drawn(1)
    advantage, control = given["advantage"], 0.5 * given["advantage"] + given["slope"][:, 0]
    products = [float(a) * float(c) for a, c in zip(advantage, control, strict=True)]
    for sign in (1.0, -1.0):  # with -A_bar every covariance changes its sign
        covariance, variance = sign * sum(products) / SIZE, sum(float(c) ** 2 for c in control) / SIZE
        assert sign * covariance > 0.1
        weights = {
            ("none", "sample"): [0.0] * SIZE,
            ("full", "sample"): [1.0] * SIZE,
            ("conservative", "sample"): [1.0 if sign * p > 0 else 0.0 for p in products],
            ("conservative", "batch"): [1.0 if covariance > 0 else 0.0] * SIZE,
            ("aggressive", "sample"): [1.0 if sign * p > 0 else -1.0 for p in products],
            ("aggressive", "batch"): [1.0 if covariance > 0 else -1.0] * SIZE,
            ("adaptive", "sample"): [covariance / variance] * SIZE,
            ("adaptive", "batch"): [covariance / variance] * SIZE,
        }
        for (kind, of), expected in weights.items():
            found = module.control_weight(advantage, sign * control, kind, of)
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=f"{kind}, {of}")
    np.testing.assert_array_equal(module.control_weight(advantage, 0.0 * control, "adaptive"), 0.0)


def check_surrogate(module) -> None:
    """The value of the objective, term by term, away from the old policy."""
    given, rng = drawn(2), np.random.default_rng(3)
    log_probability, old_log_probability = rng.normal(size=(2, SIZE)).astype(np.float32)
    new_mean = rng.normal(size=(SIZE, ACTIONS)).astype(np.float32)
    arguments = given["slope"], given["action"], given["mean"], given["advantage"]
    control = module.control_variate(*arguments, "aggressive")
    found = module.controlled_surrogate(log_probability, old_log_probability, given["advantage"], control, new_mean)
    total = 0.0
    for n in range(SIZE):
        ratio = np.exp(float(log_probability[n] - old_log_probability[n]))
        along = float(given["slope"][n] @ (given["action"][n] - given["mean"][n]))
        eta = np.sign(float(given["advantage"][n]) * along)
        total += ratio * (float(given["advantage"][n]) - eta * along)
        total += eta * float(given["slope"][n] @ (new_mean[n] - given["mean"][n]))
    np.testing.assert_allclose(found, total / SIZE, rtol=1e-4)


class Bandit:
    """Gaussian policies N(mu, sigma^2) for A(a) = 2 a - a^2 / 2, and a critic with another slope."""

    mu, log_sigma, slope, noise = jnp.float32(0.3), jnp.log(jnp.float32(0.5)), 1.2, 0.5

    @classmethod
    def gradients(cls, module, kind: str, covariance: str = "sample", batch: int = 50, batches: int = 4_000):
        """`[batches, 2]`: the gradient by mu and log sigma, from batches of samples with noise on the advantage."""

        def log_probability(params, action):
            return -0.5 * jnp.square((action - params[0]) / jnp.exp(params[1])) - params[1]

        def estimate(key):
            params = jnp.stack([cls.mu, cls.log_sigma])
            draw, noise = jax.random.normal(key, (2, batch))
            action = cls.mu + jnp.exp(cls.log_sigma) * draw
            advantage = cls.noise * noise + 2.0 * action - 0.5 * action**2 - (2.0 * cls.mu - 0.5 * cls.mu**2)
            center = jnp.full((batch, 1), cls.mu)
            slope = jnp.full((batch, 1), cls.slope)
            control = module.control_variate(slope, action[:, None], center, advantage, kind, covariance)
            old = log_probability(params, action)

            def objective(params):
                mean = jnp.full((batch, 1), params[0])
                return module.controlled_surrogate(log_probability(params, action), old, advantage, control, mean)

            return jax.grad(objective)(params)

        return np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(0), batches)), np.float64)

    exact = np.array([2.0 - 0.3, -(0.5**2)])  # of E[A] = 2 mu - (mu^2 + sigma^2) / 2 by mu and log sigma


def standard_errors_off(found: np.ndarray) -> np.ndarray:
    return np.abs(found.mean(0) - Bandit.exact) / (found.std(0) / np.sqrt(len(found)))


def check_unbiased(module) -> None:
    """With a wrong slope, too, and less variance than without it."""
    plain, full = Bandit.gradients(module, "none"), Bandit.gradients(module, "full")
    assert standard_errors_off(plain).max() < 3
    assert standard_errors_off(full).max() < 3
    assert full.var(0).sum() < 0.4 * plain.var(0).sum()


def test_the_slope_times_what_the_action_is_off():
    check_linear_advantage(operators)  # asserts


def test_how_far_the_critic_is_trusted():
    check_weights(operators)  # asserts


def test_the_objective_term_by_term():
    check_surrogate(operators)  # asserts


def test_the_gradient_keeps_its_expectation_and_loses_variance():
    check_unbiased(operators)  # asserts


@pytest.mark.parametrize("kind", ["conservative", "aggressive", "adaptive"])
def test_weights_of_the_batch_bring_no_bias(kind):
    assert standard_errors_off(Bandit.gradients(operators, kind, "batch", batch=1000, batches=1000)).max() < 3


def test_weights_of_single_samples_bring_a_bias():
    """They depend on the action: near the mean, where A_bar is small, the product is negative more often."""
    assert standard_errors_off(Bandit.gradients(operators, "aggressive", "sample"))[0] > 10


def test_shapes_are_checked():
    given = drawn()
    with pytest.raises(AssertionError):
        operators.linear_advantage(given["slope"], given["action"], given["mean"][:1])
    with pytest.raises(AssertionError):
        operators.control_weight(given["advantage"], given["slope"], "full")
    with pytest.raises(AssertionError):
        operators.controlled_surrogate(
            given["advantage"],
            given["advantage"],
            given["advantage"][:, None],
            operators.control_variate(given["slope"], given["action"], given["mean"], given["advantage"], "full"),
            given["mean"],
        )
