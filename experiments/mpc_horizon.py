"""How far ahead to plan: Pendulum by horizon, what a value at its end saves, and what a wrong model costs.

    python experiments/mpc_horizon.py              # a quarter of an hour on two cores
    python experiments/mpc_horizon.py --quick      # a minute, most of it compiling

With the true model the cross-entropy method, MPPI and iLQR plan 5 to 40 steps ahead. A horizon shorter than a swing
does not see what swinging is good for, unless a value V of the last state tells: it is fitted here to the discounted
returns of iLQR with 20 steps. The second part plans with a pendulum that is 1.3 times as heavy as the real one, once at
every step and once for the whole episode in advance.

Returns with 5, 10, 15, 20, 30 and 40 steps (standard errors 7 to 60, small where returns are good):

    cross-entropy method  -1056  -356  -170  -153  -153  -177     then V  -164  -166  -159  -158  -158  -163
    MPPI                  -1502  -988  -179  -157  -165  -178     then V  -255  -163  -163  -161  -159  -166
    iLQR                  -1003  -419  -213  -150  -167  -176     then V  -165  -158  -156  -153  -147  -154

With V five steps suffice, nearly so for MPPI (-165 with another fit of V). The wrong mass costs nothing when planning
anew (-150 both), and -1027 instead of -792 in advance; plans of a whole episode are poor with the true mass, too: iLQR
ends in a local optimum.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from purerl import evaluate, make, use_all_cores
from purerl.host.compilation import compiler_options
from purerl.planning import Revealed, as_functions, cem, ilqr, ilqr_planner, mpc, mppi, reveal_state, sequence_return
from purerl.regression import by_gradient
from purerl.report.pictures.learning_curve import COLOURS
from purerl.types import Array, Environment, Key, Planner

DISCOUNT = 0.97  # of the value at the horizon, and of plans that end with it
HEAVY = 1.3
KINDS: dict[str, Callable[..., Planner]] = {
    "cross-entropy method": cem,
    "MPPI": lambda environment, horizon, **rest: mppi(environment, horizon, temperature=1.0, **rest),
    "iLQR": ilqr_planner,
}


def main(
    quick: bool = False,
    horizons: tuple[int, ...] = (5, 10, 15, 20, 30, 40),
    episodes: int = 100,
    out: Path = Path("runs/experiments/mpc_horizon"),
) -> None:
    """Play with every horizon, without and with a value at its end, then with a wrong model.

    Args:
        quick: iLQR alone, two horizons, few episodes.
        horizons: in steps of 0.05 seconds.
        episodes: starts, the same for all.
        out: where the figure and the numbers go.
    """
    use_all_cores()
    kinds = KINDS
    if quick:
        kinds, horizons, episodes, out = {"iLQR": KINDS["iLQR"]}, (5, 15), 8, out / "quick"
    out.mkdir(parents=True, exist_ok=True)
    environment = make("Pendulum-v1")
    numbers: dict[str, Any] = {"episodes": episodes, "horizons": list(horizons)}
    value = fitted_value(environment, jax.random.key(7), steps=300 if quick else 5000)
    for name, kind in kinds.items():
        for with_value, settings in ((False, {}), (True, {"value": value, "discount": DISCOUNT})):
            rows = [played(environment, kind(environment, horizon, **settings), episodes) for horizon in horizons]
            numbers[name + (", then V" if with_value else "")] = rows
            returns = (f"{horizon}: {row[0]:.0f}" for horizon, row in zip(horizons, rows, strict=True))
            print(f"{name:22} {'then V' if with_value else '':6}", *returns, flush=True)
            (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    numbers["wrong model"] = wrong_model(environment, episodes)
    for name, (mean, error) in numbers["wrong model"].items():
        print(f"{name:40} {mean:.1f} ({error:.1f})")
    (out / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers, out / "figure.png")
    print(f"figure: {out / 'figure.png'}")


def played(environment: Environment, planner: Planner, episodes: int) -> tuple[float, float]:
    """Mean return of planning anew at every step, and its standard error."""
    policy, revealed = mpc(planner), reveal_state(environment)
    play = jax.jit(lambda key: evaluate(policy, revealed, key, episodes).returns, compiler_options=compiler_options())
    returns = np.asarray(play(jax.random.key(0)))
    return float(returns.mean()), float(returns.std() / np.sqrt(episodes))


def fitted_value(environment: Environment, key: Key, steps: int, episodes: int = 64) -> Callable[[Array], Array]:
    """A network of observations, fitted to the discounted returns of iLQR with 20 steps on episodes of its own."""
    policy = mpc(ilqr_planner(environment, 20, 10))

    def episode(key: Key) -> tuple[Array, Array]:
        def step(carry: Any, key: Key) -> tuple[Any, tuple[Array, Array]]:
            state, observation, memory = carry
            memory, action = policy.act(key, memory, Revealed(state, observation))
            state, timestep = environment.step(key, state, action)
            return (state, timestep.observation, memory), (observation, timestep.reward)

        state, observation = environment.reset(key)
        start = state, observation, policy.init(key)
        _, (observations, rewards) = jax.lax.scan(step, start, jax.random.split(key, 200))
        _, returns = jax.lax.scan(lambda g, r: (r + DISCOUNT * g,) * 2, jnp.zeros(()), rewards, reverse=True)
        return observations[:100], returns[:100]  # of the first half: nothing is cut off from their returns

    collect = jax.jit(jax.vmap(episode), compiler_options=compiler_options())
    observations, returns = (x.reshape(-1, *x.shape[2:]) for x in collect(jax.random.split(key, episodes)))
    mean, deviation = returns.mean(), returns.std()
    regression = by_gradient(
        environment.observation_space, 1, widths=(64, 64), activation="tanh", layer_norm=False, learning_rate=1e-3,
        l2=0.0, updates=steps, batch_size=256, restart=True,
    )  # fmt: skip
    only = jnp.zeros(len(returns), jnp.int32)  # the network has one output

    def fit(key: Key) -> Any:
        init_key, fit_key = jax.random.split(key)
        return regression.fit(regression.init(init_key), fit_key, observations, only, (returns - mean) / deviation)[0]

    params = jax.jit(fit)(key).params
    missed = returns - mean - deviation * regression.predict(params, observations)[:, 0]
    print(f"V explains {1 - float(jnp.var(missed) / deviation**2):.3f} of the variance of returns")
    return lambda observation: mean + deviation * regression.predict(params, observation)[..., 0]


def wrong_model(environment: Environment, episodes: int) -> dict[str, tuple[float, float]]:
    """iLQR with the true mass and with a wrong one: anew at every step, and the first plan to its end."""
    heavy, found = make("Pendulum-v1", m=HEAVY), {}
    for name, believed in (("true mass", environment), (f"{HEAVY} times the mass", heavy)):
        found[f"{name}, planned anew at every step"] = played(environment, ilqr_planner(believed, 20), episodes)

        def in_advance(key: Key, believed: Environment = believed) -> Array:
            """What the plan of a whole episode earns in the real environment."""
            state, _ = environment.reset(key)
            x, dynamics, cost = as_functions(believed, key, state, 200)
            plan = ilqr(dynamics, cost, lambda x: jnp.zeros(()), x, jnp.zeros((200, 1)), 200, low=-2.0, high=2.0)
            return sequence_return(environment, key, state, plan.actions)

        play = jax.jit(jax.vmap(in_advance), compiler_options=compiler_options())
        returns = np.asarray(play(jax.random.split(jax.random.key(0), episodes)))
        mean, error = float(returns.mean()), float(returns.std() / np.sqrt(episodes))
        found[f"{name}, planned in advance"] = (mean, error)
    return found


def draw(numbers: dict[str, Any], path: Path) -> None:
    """A colour per planner, dashed with a value at the horizon."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for i, kind in enumerate(name for name in KINDS if name in numbers):
        for name, dashes in ((kind, "o-"), (f"{kind}, then V", "o--")):
            means, errors = np.array(numbers[name]).T
            axes.errorbar(numbers["horizons"], means, errors, fmt=dashes, color=COLOURS[i], capsize=2, label=name)
    axes.axhline(-142.4, color="0.5", linewidth=0.8, linestyle=":", label="best known, all starts")
    axes.set(xlabel="steps planned ahead", ylabel="return")
    axes.set_title(f"Pendulum, true model, {numbers['episodes']} episodes (standard errors)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    tyro.cli(main)
