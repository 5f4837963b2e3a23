"""What a learner imagines: futures, where they begin and end, and targets that look ahead, against loops in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purerl import interaction, load, make
from purerl.algorithms.continuous_control import ddpg, naf, sac
from purerl.algorithms.value_based import dqn
from purerl.experience import Batch, Step
from purerl.models import imagination
from purerl.models.dynamics import DynamicsModel, ensemble_dynamics, true_dynamics
from purerl.models.ensemble import EnsembleConfig
from purerl.models.imagination import Imagination
from purerl.models.time_varying import At, linear_dynamics
from purerl.planning import finite_horizon_lqr, quadratic
from purerl.planning.linear_quadratic import Value, repeat
from purerl.replay import uniform_replay
from purerl.train import train
from purerl.types import Box, Environment, Time, Timestep

DISCOUNT, BLOCK, BLOCKS = 0.9, 4, 3


def line(drift: float = 0.0) -> Environment:
    """A point on a line, pushed by actions; beyond 1 the episode ends."""

    def reset(key):
        x = jax.random.uniform(key, (1,), minval=-0.5, maxval=0.5)
        return x, x

    def step(key, x, action):
        x = x + 0.3 * action + drift
        ended = jnp.abs(x[0]) > 1.0
        return x, Timestep(x, x[0] - action[0] ** 2, ended, jnp.zeros((), bool), {})

    return Environment("line", reset, step, Box(-2.0, 2.0, (1,)), Box(-1.0, 1.0, (1,)), max_steps=9)


def remembered(rng: np.random.Generator) -> Step:
    """Twelve steps of random play, each with the state it began in."""
    x, u = rng.uniform(-0.9, 0.9, (BLOCK * BLOCKS, 1)), rng.uniform(-1, 1, (BLOCK * BLOCKS, 1))
    after = x + 0.3 * u
    floats = lambda z: jnp.asarray(z, jnp.float32)  # noqa: E731
    return Step(
        observation=floats(x),
        action=floats(u),
        reward=floats(after[:, 0] - u[:, 0] ** 2),
        terminated=jnp.asarray(np.abs(after[:, 0]) > 1.0),
        truncated=jnp.zeros(len(x), bool),
        successor=floats(after),
        episode_step=jnp.arange(len(x), dtype=jnp.int32) % 5,
        state=floats(x),
    )


def filled(module: Any, steps: Step, model: Any, **fields: Any) -> tuple[Any, Any, Any]:
    """The functions of an imagination on the line, its first state, and a replay that holds all steps."""
    example = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), steps)
    replay = uniform_replay(BLOCK * BLOCKS, BLOCK, example)
    stored = replay.init()
    for i in range(BLOCKS):
        stored = replay.add(stored, jax.tree.map(lambda x, i=i: x[i * BLOCK : (i + 1) * BLOCK], steps), jnp.asarray(i))
    plan = module.Imagination(model, **fields)
    functions = module.imagining(plan, line(), model(line()), replay, BLOCK * BLOCKS, BLOCK, DISCOUNT)
    return functions, functions.init(jax.random.key(0)), stored


def as_batch(steps: Step) -> Batch:
    """All of them, as single transitions."""
    slots = jnp.arange(BLOCK * BLOCKS)
    going = DISCOUNT * (1.0 - steps.terminated)
    return Batch(slots, steps.observation, steps.action, steps.reward, going, steps.successor, None, None)


def outward(key, observation):
    """A policy without chance."""
    return jnp.clip(observation + 0.4, -1.0, 1.0)


def walked(x: float, u: float, horizon: int, drift: float = 0.0) -> list[tuple[float, float, float, float, bool]]:
    """(x, u, r, x', ended) of a step and what follows on it, to the end of the episode."""
    rows, alive = [], True
    for i in range(horizon + 1):
        after = x + 0.3 * u + (drift if i else 0.0)
        rows.append((x, u, after - u**2, after, abs(after) > 1.0))
        alive = alive and abs(after) <= 1.0
        if not alive:
            break
        x, u = after, float(np.clip(after + 0.4, -1, 1))
    return rows


def check_expansion(module, learn_imagined=True):
    """Targets over H imagined steps, some of whose episodes end on the way, against the sum of what follows."""
    horizon, steps = 4, remembered(np.random.default_rng(0))
    functions, state, stored = filled(module, steps, true_dynamics, expansion=horizon, learn_imagined=learn_imagined)
    found = functions.expand(state, jax.random.key(1), as_batch(steps), stored, outward, None)
    rows = BLOCK * BLOCKS
    assert found.reward.shape == ((horizon + 1) * rows if learn_imagined else rows,)
    ends = 0
    for n in range(rows):
        path = walked(float(steps.observation[n, 0]), float(steps.action[n, 0]), horizon)
        ends += path[-1][4]
        for t in range(horizon + 1 if learn_imagined else 1):
            row = t * rows + n
            if t >= len(path):
                assert found.weight[row] == 0.0
                continue
            assert found.weight[row] == 1.0
            expected = sum(DISCOUNT ** (i - t) * path[i][2] for i in range(t, len(path)))
            over = path[-1][4]
            np.testing.assert_allclose(found.observation[row, 0], path[t][0], atol=1e-5)
            np.testing.assert_allclose(found.action[row, 0], path[t][1], atol=1e-5)
            np.testing.assert_allclose(found.reward[row], expected, atol=1e-5)
            np.testing.assert_allclose(found.discount[row], 0.0 if over else DISCOUNT ** (horizon + 1 - t), atol=1e-6)
            if not over:
                np.testing.assert_allclose(found.successor[row, 0], path[-1][3], atol=1e-5)
    assert 0 < ends < rows


@pytest.mark.parametrize("learn_imagined", [True, False])
def test_an_expanded_target_is_the_sum_of_what_follows(learn_imagined):
    check_expansion(imagination, learn_imagined)


def expanding(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """DDPG with targets that look two steps ahead: its state, and what `learn` was given while a step was traced."""
    given: dict[str, Any] = {}

    def sized(name: str, call: Any) -> Any:
        def one(learner, batch, key):
            given[name] = batch.reward.shape
            return call(learner, batch, key)

        return one

    def watched(*arguments: Any) -> Any:
        world = interaction.interaction(*arguments)

        def learn(state, key, time, learner, update, improve, act, targets):
            given["act"] = act
            watching = sized("update", update), sized("improve", improve)
            return world.learn(state, key, time, learner, *watching, act, targets)

        return world._replace(learn=learn)

    monkeypatch.setattr(ddpg, "interaction", watched)
    config = ddpg.Config(batch_size=4, replay_capacity=20, warm_up_steps=10, widths=(8,), critic_widths=(8,), **fields)
    learner = ddpg.make(line(), config, Imagination(true_dynamics, expansion=2))
    state = learner.init(jax.random.key(0))
    jax.eval_shape(learner.step, state, Time(jnp.int32(0), jnp.float32(0)))
    return state, given


def test_critics_learn_at_imagined_states_and_the_actor_at_real_ones(monkeypatch):
    _, given = expanding(monkeypatch)
    assert given["update"] == (3 * 4,)
    assert given["improve"] == (4,)


def test_expanded_targets_follow_the_smoothed_target_policy(monkeypatch):
    """What TD3's targets of one step do at their end, those of several do on the way."""
    observation, keys = jnp.linspace(-1, 1, 50)[:, None], jax.random.split(jax.random.key(1))
    state, given = expanding(monkeypatch)
    exact = given["act"](state, keys[0], observation)
    np.testing.assert_array_equal(exact, given["act"](state, keys[1], observation))
    state, given = expanding(monkeypatch, target_noise=0.2, target_noise_clip=0.1)
    noisy = given["act"](state, keys[0], observation)
    assert 0.05 < np.abs(noisy - exact).max() <= 0.1 + 1e-6
    assert np.abs(noisy - given["act"](state, keys[1], observation)).max() > 0.05


@pytest.mark.parametrize("weighting", ["last", "inverse_variance"])
def test_what_is_not_finite_is_not_learned_from(weighting):
    """Beyond 0.6 the model knows no number: a transition whose future goes there weighs 0 and is finite."""
    steps = remembered(np.random.default_rng(5))

    def lost(environment: Environment) -> DynamicsModel:
        def step(key, x, action):
            after, timestep = line().step(key, x, action)
            unknown = jnp.where(x > 0.6, jnp.nan, 0.0)
            return after + unknown, timestep._replace(observation=after + unknown)

        after = lambda model, key, step, member: step.successor  # noqa: E731
        return true_dynamics(environment._replace(step=step))._replace(after=after, members=2)

    functions, state, stored = filled(imagination, steps, lost, expansion=3, weighting=weighting)
    targets = lambda batch, key: (batch.reward + batch.discount * batch.successor[:, 0])[None]  # noqa: E731
    found = functions.expand(state, jax.random.key(1), as_batch(steps), stored, outward, targets)
    paths = [walked(float(x), float(u), 3) for x, u in zip(steps.observation[:, 0], steps.action[:, 0], strict=True)]
    lost_on_the_way = np.array([any(row[0] > 0.6 for row in path[1:]) for path in paths])
    assert 0 < lost_on_the_way.sum() < len(paths)
    np.testing.assert_array_equal(found.weight[: len(paths)], 1.0 - lost_on_the_way)
    assert all(np.isfinite(x).all() for x in (found.reward, found.discount, found.observation, found.successor))


def check_weighting(module):
    """Targets of all horizons as members and critics see them, against loops over each."""
    horizon, members, steps = 3, 3, remembered(np.random.default_rng(1))
    drifts = 0.1 * np.arange(members)

    def opinions(environment: Environment) -> DynamicsModel:
        """Members that see different drifts: the state is the point and who sees it."""

        def step(key, state, action):
            x, member = state
            x, timestep = line().step(key, x + 0.1 * member, action)
            return (x, member), timestep

        return DynamicsModel(
            init=lambda key: (),
            fit=lambda model, key, steps, valid: (model, jnp.zeros(())),
            environment=lambda model: environment._replace(step=step),
            before=lambda step: (step.observation, jnp.zeros(())),
            after=lambda model, key, step, member: (step.successor, member.astype(jnp.float32)),
            members=members,
        )

    slopes = np.array([1.0, 1.5])

    def targets(batch: Batch, key) -> jax.Array:
        return batch.reward + batch.discount * jnp.asarray(slopes)[:, None] * batch.successor[:, 0]

    functions, state, stored = filled(module, steps, opinions, expansion=horizon, weighting="inverse_variance")
    found = functions.expand(state, jax.random.key(1), as_batch(steps), stored, outward, targets)
    for n in range(BLOCK * BLOCKS):
        y = np.zeros((members, horizon + 1, 2))
        for m, drift in enumerate(drifts):
            path = walked(float(steps.observation[n, 0]), float(steps.action[n, 0]), horizon, drift)
            for h in range(horizon + 1):
                known = path[: h + 1]
                earned = sum(DISCOUNT**i * row[2] for i, row in enumerate(known))
                going = 0.0 if known[-1][4] else DISCOUNT ** len(known)
                y[m, h] = earned + going * slopes * known[-1][3]
        weight = 1.0 / (y.var(axis=(0, 2)) + 1e-8)
        np.testing.assert_allclose(found.reward[n], weight @ y.mean(axis=(0, 2)) / weight.sum(), rtol=2e-3, atol=1e-4)
    assert jnp.all(found.discount == 0.0)


def test_horizons_are_weighted_by_the_inverse_of_their_variance():
    check_weighting(imagination)


def check_dreams(module):
    """Imagined steps follow the policy, from recent states to the end of the episode."""
    steps, rollouts, length = remembered(np.random.default_rng(2)), 50, 6
    functions, state, stored = filled(module, steps, true_dynamics, rollouts=rollouts, length=length, recent=BLOCK)
    now = Time(jnp.asarray(0), jnp.asarray(0.0))
    state = functions.dream(state, jax.random.key(1), now, stored, jnp.asarray(BLOCKS), outward)
    rows = jax.lax.bitcast_convert_type(state.fiction["uint32"], jnp.float32)
    batch = functions.fiction(state, jax.random.key(2), now, 5000)
    counted = np.asarray(batch.weight) == 1.0
    x, u = np.asarray(batch.observation)[counted, 0], np.asarray(batch.action)[counted, 0]
    np.testing.assert_allclose(u, np.clip(x + 0.4, -1, 1), atol=1e-6)
    np.testing.assert_allclose(np.asarray(batch.successor)[counted, 0], x + 0.3 * u, atol=1e-6)
    over = np.abs(x + 0.3 * u) > 1.0
    np.testing.assert_allclose(np.asarray(batch.discount)[counted], np.where(over, 0.0, DISCOUNT), atol=1e-6)
    first = np.asarray(rows).reshape(length, rollouts, -1)[0, :, 0]
    newest = np.asarray(steps.observation)[-BLOCK:, 0]
    assert set(np.round(first, 5)) == set(np.round(newest, 5))  # where they begin: each of the newest, and no other
    assert 0.0 < counted.mean() < 1.0
    assert np.all(np.asarray(batch.reward)[~counted] == 0.0)


def test_dreams_follow_the_policy_from_recent_states_and_end_where_episodes_end():
    check_dreams(imagination)


def test_dreams_grow_longer_and_only_what_was_dreamt_is_drawn():
    steps = remembered(np.random.default_rng(3))
    functions, state, stored = filled(
        imagination, steps, true_dynamics, rollouts=20, length=5, first_length=1, lengthen_from=0.25,
        lengthen_until=0.75, remembered=2,
    )  # fmt: skip
    still = lambda key, observation: jnp.zeros_like(observation)  # noqa: E731
    drawn = []
    for iteration, progress in enumerate((0.0, 0.5, 0.9)):
        now = Time(jnp.asarray(iteration), jnp.asarray(progress))
        state = functions.dream(state, jax.random.key(iteration), now, stored, jnp.asarray(BLOCKS), still)
        words = np.asarray(jax.lax.bitcast_convert_type(state.fiction["uint32"], jnp.float32))
        block = words.reshape(2, 5, 20, -1)[iteration % 2]
        drawn.append(np.count_nonzero(np.any(block[..., 0] != 0.0, axis=1)))
    assert drawn == [1, 3, 5]
    batch = functions.fiction(state, jax.random.key(9), now, 4000)
    # of the two iterations kept, one has three of five steps and the other all
    np.testing.assert_allclose(np.mean(np.asarray(batch.weight)), 0.8, atol=0.03)


SMALL = {"widths": (8,), "warm_up_steps": 20, "batch_size": 10, "steps_per_iteration": 10, "replay_capacity": 200}


def test_after_its_end_imagination_changes_nothing_and_costs_no_updates():
    """Adam counts updates: (1 + l) per step while something is imagined, one per step after that."""
    counts = {}
    for until in (20, 40, 0):
        plan = Imagination(true_dynamics, rollouts=10, length=2, updates=3, until=until)
        learner = naf.make(make("Pendulum-v1"), naf.Config(**SMALL), plan)
        state = jax.jit(lambda key, learner=learner: train(learner, key, 6).state)(jax.random.key(0))
        counts[until] = int(next(x for x in jax.tree.leaves(state.optimizer) if x.dtype == jnp.int32))
    assert counts == {20: 20 * 4 + 40, 40: 40 * 4 + 20, 0: 60 * 4}


def test_a_batch_is_real_by_its_ratio():
    """With a ratio of 1 the learner is what it is without imagination, bit for bit; with 0 it is not."""

    def learned(plan: Imagination | None) -> Any:
        config = sac.Config(**SMALL, critic_widths=(8,))
        learner = sac.make(make("Pendulum-v1"), config, plan)
        return jax.jit(lambda key: train(learner, key, 3).state.critics)(jax.random.key(0))

    alone = learned(None)
    real = learned(Imagination(true_dynamics, rollouts=10, real_ratio=1.0))
    fiction = learned(Imagination(true_dynamics, rollouts=10, real_ratio=0.0))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), alone, real)
    assert not np.allclose(jax.tree.leaves(alone)[0], jax.tree.leaves(fiction)[0], rtol=1e-6)


@pytest.mark.parametrize("fields", [{}, {"head": "implicit_quantile", "exploration": "noisy"}])
def test_deep_q_learning_imagines(fields):
    """With real batches only it is what it is without imagination, with fiction of any model something else."""

    def learned(plan: Imagination | None) -> Any:
        learner = dqn.make(make("CartPole-v1"), dqn.Config(**SMALL | fields), plan)
        return jax.jit(lambda key: train(learner, key, 3).state.params)(jax.random.key(0))

    def networks(environment: Environment) -> DynamicsModel:
        return ensemble_dynamics(environment, EnsembleConfig(members=2, widths=(8,), max_rounds=1))

    alone = learned(None)
    real = learned(Imagination(true_dynamics, rollouts=10, real_ratio=1.0))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), alone, real)
    for model, plan in ((true_dynamics, {"real_ratio": 0.0}), (networks, {"updates": 2})):
        other = jax.tree.leaves(learned(Imagination(model, rollouts=10, **plan)))
        assert all(np.isfinite(x).all() for x in other)
        assert not np.allclose(jax.tree.leaves(alone)[0], other[0], rtol=1e-6)


def test_values_are_learned_from_fiction_alone():
    """Those of a chain of two steps: no update is on what happened."""
    environment = make("probe/discount")
    config = dqn.Config(
        widths=(16,), warm_up_steps=20, batch_size=16, steps_per_iteration=10, replay_capacity=400, discount=0.9,
        learning_rate=1e-2, target_period=10, target_rate=1.0, updates_per_iteration=5,
    )  # fmt: skip
    plan = Imagination(true_dynamics, rollouts=16, length=2, updates=3, real_ratio=0.0, remembered=4)
    learner = dqn.make(environment, config, plan)
    state = jax.jit(lambda key: train(learner, key, 60).state)(jax.random.key(0))
    network = dqn.q_function(environment, config)
    first = environment.reset(jax.random.key(0))[1]
    values: Any = network.apply(state.params, first[None])
    np.testing.assert_allclose(values.mean(), 0.9, atol=0.05)


@pytest.mark.parametrize(
    ("name", "environment"),
    [("td3", "Pendulum-v1"), ("soft_q", "Pendulum-v1"), ("qt_opt", "Pendulum-v1"), ("sac", "CartPole-v1")],
)
def test_every_off_policy_learner_imagines(name, environment):
    """With fiction and with expanded targets it learns, and something else than without."""
    small = SMALL | ({} if name == "qt_opt" else {"critic_widths": (8,)})

    def learned(plan: Imagination | None) -> Any:
        module = load(name)
        learner = module.make(make(environment), module.Config(**small), plan)
        state = jax.jit(lambda key: train(learner, key, 2).state)(jax.random.key(0))
        return jax.tree.leaves(state.replace(interaction=None, key=None))

    alone = learned(None)
    for plan in (Imagination(true_dynamics, rollouts=5, updates=1), Imagination(true_dynamics, expansion=2)):
        found = learned(plan)
        assert all(np.isfinite(x).all() for x in found)
        assert any(not np.array_equal(x, y) for x, y in zip(alone, found, strict=True))


def linear_steps(rng: np.random.Generator, episodes: int, horizon: int) -> Step:
    """Episodes of the double integrator, from about (1, 0), with random actions."""
    a, b = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
    rows = []
    for _ in range(episodes):
        x = np.array([1.0, 0.0]) + 0.1 * rng.normal(size=2)
        for t in range(horizon):
            u = rng.uniform(-1, 1, 1)
            after = a @ x + b @ u
            rows.append((x, u, -(x @ x + 0.1 * u @ u), after, t))
            x = after
    x, u, r, after, t = (np.stack(part) for part in zip(*rows, strict=True))
    no = jnp.zeros(len(t), bool)
    floats = lambda z: jnp.asarray(z, jnp.float32)  # noqa: E731
    return Step(floats(x), floats(u), floats(r), no, no, floats(after), episode_step=jnp.asarray(t, jnp.int32))


def test_ilqg_in_linear_models_is_the_controller_of_the_system():
    """With quadratic costs and no limit reached it is LQR: gains, plan and covariance Q_uu^-1."""
    horizon = 12
    steps = linear_steps(np.random.default_rng(4), 30, horizon)
    environment = line()._replace(
        observation_space=Box(-9.0, 9.0, (2,)), action_space=Box(-1.0, 1.0, (1,)), max_steps=horizon
    )
    cost = lambda o, a, after: -0.1 * (o @ o + 0.5 * a @ a)  # noqa: E731
    model = linear_dynamics(environment, episodes=30, prior=0.0, ridge=1e-7, reward=cost, control_iterations=8)
    fit = jax.jit(model.fit)
    state, error = fit(model.init(jax.random.key(0)), jax.random.key(1), steps, jnp.ones(30 * horizon, bool))
    assert error < 1e-3
    truth = (jnp.array([[1.0, 0.1], [0.0, 1.0]]), jnp.array([[0.0], [0.1]]), jnp.zeros(2), jnp.zeros((2, 2)))
    linear = type(state.dynamics)(*repeat(truth, horizon))
    exact = finite_horizon_lqr(
        linear,
        repeat(quadratic(0.2 * jnp.eye(2), 0.1 * jnp.eye(1)), horizon),
        Value(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(())),
    )
    controllers = exact.controllers
    np.testing.assert_allclose(state.controller.gain, controllers.gain, atol=0.02)
    np.testing.assert_allclose(state.controller.root[..., 0, 0] ** 2, 1 / controllers.curvature[..., 0, 0], rtol=0.02)
    x = jnp.array([0.8, 0.1])
    actions = jax.vmap(lambda key: model.control(state, key, x, jnp.asarray(3)))(
        jax.random.split(jax.random.key(2), 4000)
    )
    assert jnp.all(jnp.abs(actions) <= 1.0)
    world = model.environment(state)
    place, timestep = world.step(jax.random.key(3), At(x, jnp.asarray(3)), jnp.array([0.5]))
    np.testing.assert_allclose(timestep.observation, [0.81, 0.15], atol=5e-3)
    assert place.time == 4


def test_the_controller_acts_in_its_share_of_the_episodes():
    """Episodes of 5 steps: where it acts, a certain plan (temperature 0) repeats itself bit by bit."""
    environment = line()._replace(max_steps=5)

    def step(key, state, action):
        x, time = state
        x, timestep = line().step(key, x, action)
        over = time + 1 >= 5
        return (x, time + 1), timestep._replace(terminated=jnp.zeros((), bool), truncated=over)

    def reset(key):
        x, observation = line().reset(key)
        return (x, jnp.zeros((), jnp.int32)), observation

    environment = environment._replace(reset=reset, step=step)
    reward = lambda o, a, after: -jnp.square(after[0] - 0.5) - 0.01 * a[0] ** 2  # noqa: E731
    model = lambda scaled: linear_dynamics(scaled, 20, reward=reward, control_iterations=3, temperature=0.0)  # noqa: E731

    def controlled(share: float) -> float:
        plan = Imagination(model, fit_period=50, control_probability=share)
        config = naf.Config(**SMALL | {"num_envs": 10, "warm_up_steps": 100, "replay_capacity": 1000})
        learner = naf.make(environment, config, plan)
        state = jax.jit(lambda key: train(learner, key, 6).state)(jax.random.key(0))
        return float(jnp.mean(state.interaction.controlled))

    assert controlled(0.0) == 0.0
    assert controlled(1.0) == 1.0


def test_what_does_not_go_together_is_refused():
    pendulum = make("Pendulum-v1")
    with pytest.raises(ValueError, match="uniform"):
        ddpg.make(pendulum, ddpg.Config(sampling="rank"), Imagination(true_dynamics, rollouts=1))
    with pytest.raises(ValueError, match="hindsight"):
        sac.make(make("goal/point_robot"), sac.Config(hindsight=True), Imagination(true_dynamics, rollouts=1))
    with pytest.raises(ValueError, match="n_step"):
        ddpg.make(pendulum, ddpg.Config(n_step=3), Imagination(true_dynamics, expansion=2))
    with pytest.raises(ValueError, match="members"):
        ddpg.make(pendulum, ddpg.Config(), Imagination(true_dynamics, expansion=2, weighting="inverse_variance"))
    with pytest.raises(ValueError, match="rollouts"):
        naf.make(pendulum, naf.Config(), Imagination(true_dynamics, updates=2))
    with pytest.raises(ValueError, match="first_length"):
        naf.make(pendulum, naf.Config(), Imagination(true_dynamics, rollouts=2, length=2, first_length=3))
    pole = make("CartPole-v1")
    with pytest.raises(ValueError, match="expansion"):
        dqn.make(pole, dqn.Config(), Imagination(true_dynamics, expansion=2))
    with pytest.raises(ValueError, match="ensemble"):
        dqn.make(pole, dqn.Config(members=2), Imagination(true_dynamics, rollouts=1))
    with pytest.raises(ValueError, match="share_observations"):
        dqn.make(pole, dqn.Config(share_observations=True), Imagination(true_dynamics, rollouts=1))
    with pytest.raises(ValueError, match="elites"):
        ensemble_dynamics(pendulum, EnsembleConfig(members=3), elites=4)
    with pytest.raises(ValueError, match="mixture must"):
        linear_dynamics(pendulum, episodes=5, components=3, background=4)
    with pytest.raises(ValueError, match="components"):
        linear_dynamics(pendulum, components=5000)
    with pytest.raises(TypeError, match="vectors"):
        linear_dynamics(make("CartPole-v1"))
