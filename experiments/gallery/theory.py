"""Experiments on tables, on operators and on estimators of gradients, most of which are exact or nearly so."""

from collections.abc import Callable

import numpy as np

from .entries import NO_BOUND, Entry, Measure, at, at_least, at_most, difference, over, ratio

EQUAL = "10 equal actions, target older than the replay"
CLIFF = "cliff walking: return of the last 100 of 500 episodes, [mean, standard error]"
BIAS = "maximisation bias: share of runs that go left"
MAZE = "Dyna maze: steps of an episode, [mean, standard error], by planning updates"


def maze(updates: int, episode: int) -> Measure:
    """Steps that the Dyna maze takes in an episode, by planning updates per step."""
    return Measure(at(MAZE, str(updates), f"episode {episode}", 0))


def variance(estimator: str, bounds: tuple[float, float]) -> Measure:
    """Total variance of an on-policy estimator of the gradient."""
    return Measure(at("on_policy", estimator, "total_variance", 0), bounds, bounds)


def gap(dimension: int, search: str, cost: int) -> Measure:
    """How far below the maximum a search ends that asks for so many values."""

    def read(numbers: dict) -> float:
        rows = numbers["rows_by_dimension"][str(dimension)][search]
        return next(row["gap"] for row in rows if row["cost"] == cost)

    return Measure(read)


def steps_of_gradient(kind: str, parameters: str) -> Measure:
    """Steps of the gradient by those of the natural gradient, each at its best step size."""
    constant = "constant step size"
    plain = at(constant, f"gradient by {parameters}", "geometric_mean")
    return Measure(
        ratio(plain, at(constant, f"natural gradient by {parameters}", "geometric_mean")), at_least(2.0), at_least(1.5)
    )


def crossed(
    random: str,
    summary: Callable,
    bounds: tuple[float, float] = NO_BOUND,
    quick: tuple[float, float] | None = None,
) -> Measure:
    """Success after 5,000 transitions with such a share of random actions, over datasets."""
    return Measure(over(summary, "success", random, -1), bounds, quick)


ENTRIES = (
    Entry(
        "dynamic_programming",
        "value iteration contracts by the discount; inference as control, exact and variational",
        "the largest error of value iteration over its bound is {bound:.3f} in 200 random problems; on a slippery "
        "corridor the variational posterior promises {promised_exact:.1f} and earns {earned_exact:.1f}; where luck is "
        "inferred as well, {promised:.1f} is promised and {earned:.1f} earned; FrozenLake's optimum is {lake:.4f} with "
        "a discount of 0.99",
        {
            "bound": Measure(
                at("largest error / bound over all sweeps and problems"), at_most(1.0001), at_most(1.0001)
            ),
            "lake": Measure(at("frozen lake", "discount 0.99"), (0.5420, 0.5421), (0.5420, 0.5421)),
            "promised_exact": Measure(at("corridor, variational: promised, earned", 0)),
            "earned_exact": Measure(at("corridor, variational: promised, earned", 1), (-12.3, -12.1), (-12.3, -12.1)),
            "promised": Measure(at("corridor, optimistic: promised, earned", 0), (-7.1, -6.9), (-7.1, -6.9)),
            "earned": Measure(at("corridor, optimistic: promised, earned", 1), at_most(-15.0), at_most(-15.0)),
        },
    ),
    Entry(
        "tabular_control",
        "on the cliff SARSA earns more while it learns; double Q-learning removes the maximisation bias",
        "cliff walking: Q-learning {q:.1f}, SARSA {sarsa:.1f}, expected SARSA {expected:.1f}; maximisation bias: left "
        "in {biased:.0%} of episode 50, with double Q-learning {double:.0%}",
        {
            "q": Measure(at(CLIFF, "q_learning", 0), (-55.0, -45.0), (-60.0, -45.0)),
            "sarsa": Measure(at(CLIFF, "sarsa", 0), (-30.0, -22.0), (-30.0, -22.0)),
            "expected": Measure(at(CLIFF, "expected_sarsa", 0), (-23.0, -18.0), (-24.0, -18.0)),
            "biased": Measure(at(BIAS, "q_learning", "around episode 50"), at_least(0.7), at_least(0.6)),
            "double": Measure(at(BIAS, "double_q_learning", "around episode 50"), at_most(0.3), at_most(0.4)),
        },
        ("q_learning",),
    ),
    Entry(
        "dyna_maze",
        "planning with a learned table saves real steps, and a bonus finds what has changed",
        "Dyna maze: steps in episodes 2, 3, 10, 25: {a2:.0f}, {a3:.0f}, {a10:.0f}, {a25:.0f} without planning, "
        "{b2:.0f}, {b3:.0f}, {b10:.0f}, {b25:.0f} with 5 updates a step, {c2:.0f}, {c3:.0f}, {c10:.0f}, {c25:.0f} with "
        "50; when the wall moves {plain:.0%} of Dyna-Q's runs find the new way, with the bonus of Dyna-Q+ {bonus:.0%}",
        {
            f"{letter}{episode}": maze(updates, episode)
            for letter, updates in zip("abc", (0, 5, 50), strict=True)
            for episode in (2, 3, 10, 25)
        }
        | {
            "plain": Measure(at("blocking maze", "Dyna-Q", "share of runs that recover"), at_most(0.6)),
            "bonus": Measure(
                at("blocking maze", "Dyna-Q+", "share of runs that recover"), at_least(0.95), at_least(0.8)
            ),
            "saved": Measure(
                ratio(at(MAZE, "0", "episode 2", 0), at(MAZE, "50", "episode 2", 0)), at_least(5.0), at_least(2.0)
            ),
        },
        ("dyna_q",),
    ),
    Entry(
        "successor_features",
        "a new task is solved from the policies of old ones, by generalised policy improvement",
        "four policies and exact features earn {kept:.2%} of the optimum on 200 new tasks that are convex mixtures of "
        "theirs, and the best of the four alone {alone:.2%}, so that little was left to gain",
        {
            "kept": Measure(at("exact", "convex", "gpi_mean"), at_least(0.999), at_least(0.99)),
            "alone": Measure(at("exact", "convex", "best_source_mean"), at_most(0.998)),
        },
        ("successor_features",),
    ),
    Entry(
        "divergence",
        "off-policy bootstrapping with functions diverges; normalised layers bound it",
        "Baird's star: the largest weight goes from 10 to {largest:.0f} in 1000 steps of expected updates, on policy "
        "it stays at {on_policy:.0f}; a network diverges on {plain:.0f} of 32 seeds, with LayerNorm and L2 on "
        "{bounded:.0f}",
        {
            "largest": Measure(at("linear, off-policy, expected updates", "largest"), at_least(300), at_least(300)),
            "on_policy": Measure(at("linear, on-policy", "largest"), at_most(10.01), at_most(10.01)),
            "plain": Measure(at("network", "diverged_seeds"), at_least(30)),
            "bounded": Measure(at("network, LayerNorm, L2", "diverged_seeds"), (0, 0), (0, 0)),
        },
    ),
    Entry(
        "fitted_q",
        "a batch of random transitions is enough to balance the pole",
        "10,000 random transitions balance the pole for 200 steps on {seeds:.0f} of 8 seeds within 20 iterations; the "
        "random policy falls after {random:.0f}",
        {
            "seeds": Measure(lambda n: sum(max(seed[:4]) >= 200 for seed in n["returns"]["0"]), (8, 8)),
            "random": Measure(at("random_policy_steps"), (20, 25)),
        },
        ("fitted_iteration",),
    ),
    Entry(
        "least_squares_policy_iteration",
        "random transitions serve every evaluation of LSPI, those of its own good policy do not",
        "of 20 datasets, four rooms crossed in {random:.0%} of the episodes (worst {worst:.0%}) after 5,000 random "
        "transitions, {some:.0%} if 30 % of the actions of a good policy are random, {few:.0%} with 10 %, {none:.0%} "
        "with its own actions alone; on {settled:.0%} of the random datasets the policy has settled after 7 iterations",
        {
            "random": crossed("1", np.mean, (0.98, 1.0), quick=(0.9, 1.0)),
            "worst": crossed("1", np.min, (0.9, 1.0)),
            "some": crossed("0.3", np.mean),
            "few": crossed("0.1", np.mean),
            "none": crossed("0", np.mean, (0.0, 0.6), quick=(0.0, 0.7)),
            "settled": Measure(at("settled"), (0.95, 1.0)),
        },
        ("lspi",),
    ),
    Entry(
        "gradient_variance",
        "what each correction of REINFORCE saves of the gradient's variance",
        "variance of the gradient: total return {total:.0f}, reward to go {to_go:.0f}, with an average baseline "
        "{average:.1f}, with V {value:.1f}, with GAE(0.95) {gae:.1f}; importance ratios over whole episodes multiply "
        "it by {growth:.2f} per step",
        {
            "total": variance("total return", at_least(1500)),
            "to_go": variance("reward to go", (450, 600)),
            "average": variance("reward to go, average", (25, 40)),
            "value": variance("reward to go, V", (25, 40)),
            "gae": variance("GAE(0.95), V", (15, 25)),
            "growth": Measure(at("off_policy", "whole product", "growth_per_step_at_the_end"), at_least(1.1)),
        },
        ("reinforce",),
    ),
    Entry(
        "gae_bias_variance",
        "lambda trades the bias of a wrong value against the variance of long returns",
        "with wrong values the bias falls and the variance rises with lambda; best at {one:.2f}, {hundred:.2f} and "
        "{many:.2f} for batches of 1, 100 and 10,000 episodes",
        {
            name: Measure(
                at("best_by_episodes_per_batch_relative_to_the_gradient", batch, "trace_decay"), bounds, bounds
            )
            for name, batch, bounds in (
                ("one", "1", (0, 0.4)),
                ("hundred", "100", (0.3, 0.8)),
                ("many", "10000", (0.8, 1)),
            )
        },
        ("ppo", "a2c", "trpo"),
    ),
    Entry(
        "natural_gradient_lq",
        "the natural gradient needs fewer steps than the gradient, however the policy is written",
        "linear-quadratic control: at best step sizes the natural gradient needs {by_sigma:.1f} times fewer steps by "
        "(k, sigma), {by_log_sigma:.1f} by (k, log sigma)",
        {
            "by_sigma": steps_of_gradient("gradient", "sigma"),
            "by_log_sigma": steps_of_gradient("gradient", "log sigma"),
        },
        ("npg",),
    ),
    Entry(
        "nuts_and_bolts_of_max_q",
        "how well each search finds the maximum of Q over continuous actions",
        "gap to the maximum of random functions with six actions, in deviations: 64 uniform samples {uniform_64:.2f}, "
        "128 {uniform_128:.2f}, QT-Opt's 2 x 64 {cem:.2f}, gradient ascent of the same cost {gradient:.2f}; with one "
        "action {one_uniform_64:.2f}, {one_uniform_128:.2f}, {one_cem:.4f} and {one_gradient:.2f}",
        {
            "uniform_64": gap(6, "uniform", 64),
            "uniform_128": gap(6, "uniform", 128),
            "cem": gap(6, "cross-entropy, 2 iterations", 128),
            "gradient": gap(6, "gradient, 21 steps", 128),
            "one_uniform_64": gap(1, "uniform", 64),
            "one_uniform_128": gap(1, "uniform", 128),
            "one_cem": gap(1, "cross-entropy, 2 iterations", 128),
            "one_gradient": gap(1, "gradient, 21 steps", 128),
            "saved": Measure(
                difference(gap(6, "uniform", 128).read, gap(6, "cross-entropy, 2 iterations", 128).read), at_least(0.1)
            ),
        },
        ("qt_opt",),
    ),
    Entry(
        "value_overestimation",
        "the maximum over noisy values is too large, and double Q-learning halves that",
        "ten equal actions: DQN believes {dqn:.2f} too much, Double DQN {double:.2f}, if its target is older than the "
        "replay; on {seeds:.0f} of 10 seeds at most half as much",
        {
            "dqn": Measure(over(np.mean, EQUAL, "overestimation per seed", "DQN"), at_least(0.8)),
            "double": Measure(over(np.mean, EQUAL, "overestimation per seed", "Double DQN"), at_most(0.6)),
            "seeds": Measure(at(EQUAL, "seeds on which it does and Double DQN's is at most half"), at_least(8)),
        },
        ("dqn",),
    ),
)
