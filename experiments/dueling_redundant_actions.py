"""With many actions that do the same, a dueling network evaluates a policy in fewer updates than a single stream.

    python experiments/dueling_redundant_actions.py              # about a minute on one core
    python experiments/dueling_redundant_actions.py --quick      # 20 seconds, most of it compiling

The claim of Wang et al. (2016, figure 3): a corridor with 5 actions (four moves and standing still), and with every
action copied 2 and 4 times. An epsilon-greedy policy, whose values are known from its Bellman equation, is evaluated by
temporal differences on its own transitions, with a network of one stream (hidden layers 50, 50) and a dueling one of
about the same size (50 shared, 25 in each stream). What is learned of V serves all actions at once, so the dueling
network is at least as good with 5 actions and needs less than half of the updates to the same squared error with 20.
Both get the best of the same learning rates of stochastic gradient descent.

Measured, medians of five seeds, to 1 % of the mean square of Q: 1.8 times fewer updates with 5 actions, 2.4 with 10 and
3.0 with 20. The gain is one of the beginning: at a tenth of that error the curves cross, and at the same step size the
dueling network, whose V every sample moves, stays noisier. Adam closes the gap (1.0 times with 20 actions): it scales
up the rare gradients of the rarely taken copies.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from matplotlib.axes import Axes

from purerl.networks.q_network import QNetwork
from purerl.operators.temporal_difference import half_square
from purerl.report.pictures.learning_curve import COLOURS, DASHES
from purerl.types import Array, Discrete

CORRIDOR = ("#........#", "#.######.#", "#.######.#", "#.######.#", "S.######.G")  # up, along and down
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0), (0, 0))  # left, down, right, up, stay: (rows, columns)
COPIES = (1, 2, 4)
OPTIMIZERS = {"sgd": (optax.sgd, (0.1, 0.3, 1.0)), "adam": (optax.adam, (1e-3, 3e-3, 1e-2))}
NETWORKS = {"single stream": ((50, 50), False), "dueling": ((50, 25), True)}
DISCOUNT, EPSILON, BATCH = 0.95, 0.1, 32
POINTS, SHARE = 100, 0.01  # measurements of the error, and the one to reach as a share of the mean square of Q


def corridor(copies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The policy and what it meets, for S cells, the last of them the goal, and A = 5 `copies` actions.

    Returns the successors `[S, A]`, rewards `[S, A]` (1 for arriving at the goal), policy `[S, A]` (the best actions
    equally likely, and any with probability epsilon), its values Q `[S, A]`, and the share of time `[S]` it spends in
    each cell when the goal leads back to the start.
    """
    cells = [(i, j) for i, row in enumerate(CORRIDOR) for j, kind in enumerate(row) if kind in "S."]
    start = next(k for k, (i, j) in enumerate(cells) if CORRIDOR[i][j] == "S")
    cells.append(next((i, row.index("G")) for i, row in enumerate(CORRIDOR) if "G" in row))
    number, goal = {cell: k for k, cell in enumerate(cells)}, len(cells) - 1
    entered = [[number.get((i + down, j + right), k) for down, right in MOVES] for k, (i, j) in enumerate(cells)]
    successor = np.tile(np.array(entered), (1, copies))
    successor[goal] = goal
    reward = ((successor == goal) & (np.arange(goal + 1) != goal)[:, None]).astype(float)

    def action_values(values: np.ndarray) -> np.ndarray:
        return reward + DISCOUNT * np.where(successor == goal, 0.0, values[successor])

    values = np.zeros(goal + 1)
    for _ in range(10 * goal):
        values = action_values(values).max(1)
    best = np.isclose(action_values(values), values[:, None])
    policy = (1 - EPSILON) * best / best.sum(1, keepdims=True) + EPSILON / best.shape[1]
    share = np.eye(goal + 1)[start]
    leads_to = np.einsum("sa,sat->st", policy, np.eye(goal + 1)[np.where(successor == goal, start, successor)])
    for _ in range(20_000):
        values = (policy * action_values(values)).sum(1)
        share = 0.5 * share + 0.5 * share @ leads_to
    return successor, reward, policy, action_values(values), share


def squared_errors(copies: int, name: str, method: str, seeds: int, updates: int) -> np.ndarray:
    """Mean squared error over all cells and actions `[learning rates, seeds, POINTS]` in the course of the updates."""
    make_optimizer, rates = OPTIMIZERS[method]
    successor, reward, policy, truth, share = (jnp.asarray(x) for x in corridor(copies))
    cells, actions = truth.shape
    goal = cells - 1
    widths, dueling = NETWORKS[name]
    network = QNetwork(Discrete(cells), actions, widths, dueling=dueling)
    everywhere = jnp.arange(cells)
    cumulative = jnp.cumsum(share[:, None] * policy)  # over pairs of state and action

    def loss(params, draws) -> Array:
        pair = jnp.minimum(jnp.searchsorted(cumulative, draws), goal * actions - 1)
        state, action = jnp.divmod(pair, actions)
        after = successor[state, action]
        next_value = jnp.sum(policy[after] * network.apply(params, after).mean(), axis=-1)
        target = reward[state, action] + DISCOUNT * jnp.where(after == goal, 0.0, next_value)
        chosen = network.apply(params, state).of(action)
        return jnp.mean(chosen.loss(chosen.replace(values=jax.lax.stop_gradient(target)), half_square))

    def learn(rate: Array, key) -> Array:
        optimizer = make_optimizer(rate)
        init_key, key = jax.random.split(key)
        params = network.init(init_key, everywhere)

        def update(carry, draws):
            params, state = carry
            changes, state = optimizer.update(jax.grad(loss)(params, draws), state)
            return (optax.apply_updates(params, changes), state), None

        def measure(carry, key):
            error = network.apply(carry[0], everywhere).mean() - truth
            carry, _ = jax.lax.scan(update, carry, jax.random.uniform(key, (updates // POINTS, BATCH)))
            return carry, jnp.mean(jnp.square(error[:-1]))

        return jax.lax.scan(measure, (params, optimizer.init(params)), jax.random.split(key, POINTS))[1]

    keys = jax.random.split(jax.random.key(0), seeds)
    program = jax.vmap(jax.vmap(learn, in_axes=(None, 0)), in_axes=(0, None))
    return np.asarray(jax.jit(program)(jnp.array(rates), keys))


def updates_to(errors: np.ndarray, level: float, step: int) -> np.ndarray:
    """Updates until the error is first at most `level`, `[..., points]` to `[...]`; all of them where it never is."""
    reached = errors <= level
    return np.where(reached.any(-1), step * np.argmax(reached, axis=-1), step * reached.shape[-1])


def compare(times: int, method: str, seeds: int, updates: int, axes: Axes | None = None) -> dict:
    """Updates of both networks to the same error, each at its best learning rate; drawn if there are `axes`."""
    step = updates // POINTS
    level = SHARE * float(np.mean(corridor(times)[3][:-1] ** 2))
    found: dict = {}
    for i, name in enumerate(NETWORKS):
        errors = squared_errors(times, name, method, seeds, updates)
        needed = updates_to(errors, level, step)  # [learning rates, seeds]
        best = int(np.argmin(np.median(needed, axis=1)))
        found[name] = {"updates": needed[best].tolist(), "learning_rate": OPTIMIZERS[method][1][best]}
        if axes:
            low, middle, high = np.percentile(errors[best], [0, 50, 100], axis=0)
            axes.plot(step * np.arange(POINTS), middle, DASHES[i], color=COLOURS[i], label=name)
            axes.fill_between(step * np.arange(POINTS), low, high, color=COLOURS[i], alpha=0.2, linewidth=0)
    single, dueling = (np.median(found[name]["updates"]) for name in NETWORKS)
    print(
        f"{5 * times} actions, {method}: {single:.0f} updates, dueling {dueling:.0f}: {single / dueling:.2f} x",
        flush=True,
    )
    if axes:
        axes.axhline(level, color="black", linewidth=0.8, linestyle=":")
    return found | {"ratio of medians": single / dueling}


def main(
    quick: bool = False,
    seeds: int = 5,
    updates: int = 4000,
    out: Path = Path("runs/experiments/dueling_redundant_actions"),
) -> None:
    """Evaluate the policy with both networks for 5, 10 and 20 actions.

    Args:
        quick: a short run that shows that everything works.
        seeds: of each network, all learning rates and seeds in one program.
        updates: of 32 transitions each.
        out: where the figure and the numbers go.
    """
    seeds, updates, copies = (2, 1000, COPIES[:1]) if quick else (seeds, updates, COPIES)
    out.mkdir(parents=True, exist_ok=True)
    figure, panels = plt.subplots(1, len(copies), figsize=(12, 4), layout="constrained", squeeze=False, sharey=True)
    numbers: dict = {"seeds": seeds, "updates": updates, "error": f"{SHARE:.0%} of the mean square of Q"}
    for axes, times in zip(panels[0], copies, strict=True):
        numbers[f"{5 * times} actions"] = compare(times, "sgd", seeds, updates, axes)
        axes.set(title=f"{5 * times} actions", xlabel="updates", yscale="log")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    if not quick:
        numbers["20 actions with Adam"] = compare(COPIES[-1], "adam", seeds, updates)
    panels[0, 0].set_ylabel("mean squared error of Q")
    panels[0, -1].legend(frameon=False, title=f"median and range of {seeds} seeds")
    figure.savefig(out / "figure.png", dpi=100)
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"figure: {out / 'figure.png'}")


if __name__ == "__main__":
    tyro.cli(main)
