"""What sweeps promise, on PPO and DQN: how many programs, and that every agent is what it is alone."""

import jax
import numpy as np
import pytest

from purerl import dqn, log_uniform, make, ppo, run, sweep
from purerl.host import driver
from purerl.report.sweep_console import silent
from tests.contracts.cases import CASES
from tests.test_run import COMPILE_EVENT

RATES = np.geomspace(1e-4, 1e-2, 8).tolist()


@pytest.fixture
def compiles(monkeypatch):
    """A list that grows with every program that is compiled, by its number of agents."""
    seen = []
    original = driver.compile_programs

    def counting(learner, agents, *arguments, **options):
        seen.append(len(agents.keys))
        return original(learner, agents, *arguments, **options)

    monkeypatch.setattr(driver, "compile_programs", counting)
    return seen


def quiet(space, directory, **options):
    return sweep(space, directory=directory, preset=False, display=silent(), **options)


def deviation(agent, alone):
    """The largest difference between the parameters of an agent of a sweep and of the same one alone."""
    pairs = zip(jax.tree.leaves(agent.last.params), jax.tree.leaves(alone.training.state.params), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)[0]).max()) for x, y in pairs)


def test_256_agents_are_one_program_and_each_is_what_it_is_alone(compiles, tmp_path):
    space = {"algorithm": "ppo", "env": "CartPole-v1", "learning_rate": RATES, "trace_decay": [0.8, 0.9, 0.95, 1.0]}
    sizes = {"epochs": 2, "minibatches": 5, "num_envs": 8, "rollout_length": 80, "widths": (16,)}
    budget = {"total_steps": 640, "evaluations": 1, "episodes": 2}  # one iteration: 10 updates
    result = quiet({**space, **sizes}, tmp_path / "sweep", seeds=8, **budget)
    assert compiles == [256]
    assert len(result.agents()) == 256
    for number in (0, 101, 255):
        agent = result.agent(number)
        algorithm = ppo.make(make("CartPole-v1"), agent.trial.config)
        alone = run(algorithm, iterations=1, seeds=[agent.seed], evaluations=1, episodes=2, sinks=())
        assert deviation(agent, alone) < 1e-5
        assert deviation(result.agent((number + 1) % 256), alone) > 1e-4  # and not another one


def test_a_mixed_space_is_four_programs(compiles, tmp_path):
    small = {name: {k: v for k, v in CASES[name].config.items() if k != "widths"} for name in ("dqn", "ppo")}
    parts = [
        {
            "algorithm": name,
            "env": "CartPole-v1",
            "widths": [(8,), (16,)],
            "learning_rate": log_uniform(1e-4, 1e-2),
            **small[name],
            "total_steps": steps,
        }
        for name, steps in (("dqn", 64), ("ppo", 128))
    ]
    events = []
    listener = lambda event, duration, **_: events.append(event) if event == COMPILE_EVENT else None  # noqa: E731
    result = quiet(parts, tmp_path / "sweep", samples=10, seeds=5, chunk=25, evaluations=1, episodes=2)
    assert compiles == [25] * 4  # each of 50 agents, in two chunks
    assert len(result.agents()) == 2 * 2 * 10 * 5
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        again = quiet(parts, tmp_path / "sweep", samples=10, seeds=5, chunk=25, evaluations=1, episodes=2, resume=True)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert compiles == [25] * 4  # nothing is left to do
    assert again.table().equals(result.table())


def test_physics_is_swept_inside_one_program(compiles, tmp_path):
    config = CASES["dqn"].config
    space = {"algorithm": "dqn", "env": "CartPole-v1", "env.force_mag": [5.0, 20.0], **config, "total_steps": 96}
    result = quiet(space, tmp_path / "sweep", seeds=1, evaluations=1, episodes=2)
    assert compiles == [2]
    for number, force in enumerate((5.0, 20.0)):
        algorithm = dqn.make(make("CartPole-v1", force_mag=force), dqn.Config(**config))
        alone = run(algorithm, total_steps=96, seeds=1, evaluations=1, episodes=2, sinks=())
        assert deviation(result.agent(number), alone) < 1e-5
        assert result.agent(number).environment.parameters == {"force_mag": force}
