"""From trials to programs: what shares a program, what fits, what is refused before anything is compiled."""

import jax
import pytest

from purerl import log_uniform, trees
from purerl.host.compilation import training_shapes
from purerl.sweeps import plan
from purerl.sweeps.space import expand
from purerl.sweeps.trials import Catalogue, resolve, resolve_all
from tests import toy_learner

SMALL = {"num_envs": 2, "steps_per_iteration": 2, "batch_size": 4, "replay_capacity": 64, "warm_up_steps": 16}
OWN = Catalogue({"toy": toy_learner}, {"corridor": toy_learner.corridor})


def programs(space, seeds=2, samples=1, catalogue=OWN, total_steps=240):
    settings = [{"total_steps": total_steps, **one} for one in expand(space, samples)]
    trials = resolve_all(settings, catalogue, False)
    return plan.programs(trials, range(seeds), catalogue, 2)


def toy(**fields):
    return {"algorithm": "toy", "env": "corridor", **fields}


def test_the_mixed_space_of_the_readme_is_four_programs():
    sizes, seeds = [(8,), (16,)], 5
    space = {"env": "CartPole-v1", "algorithm": ["dqn", "ppo"], "widths": sizes, "learning_rate": log_uniform(1e-4, 1)}
    found = programs(space, seeds, samples=10, catalogue=Catalogue(), total_steps=4096)
    assert [program.agents for program in found] == [50] * 4
    assert {(p.trials[0].algorithm, p.trials[0].config.widths) for p in found} == {
        (algorithm, size) for algorithm in ("dqn", "ppo") for size in sizes
    }
    assert all(program.floats == ("learning_rate",) for program in found)


def test_floats_share_a_program_and_everything_else_does_not():
    assert len(programs(toy(learning_rate=[0.1, 0.2], explode_above=[0.0, 0.5]))) == 1
    assert len(programs(toy(num_envs=[2, 3]))) == 2
    assert len(programs(toy(**{"env.length": [3, 4]}))) == 2
    assert len(programs([toy(), toy(total_steps=480)])) == 2


def test_float_parameters_of_an_environment_share_a_program_if_they_can_be_traced():
    assert (
        len(programs({"algorithm": "ppo", "env": "CartPole-v1", "env.length": [0.4, 0.5]}, catalogue=Catalogue())) == 1
    )

    def looks(half_length=2.0):
        return toy_learner.corridor(int(2 * half_length))  # int() needs to see the number

    catalogue = Catalogue({"toy": toy_learner}, {"corridor": looks})
    assert [p.floats for p in programs(toy(**{"env.half_length": [2.0, 3.0]}), catalogue=catalogue)] == [(), ()]


def test_no_parameter_and_a_number_are_two_programs():
    def stretched(length=None):
        return toy_learner.corridor()._replace(parameters={"length": length})

    catalogue = Catalogue({"toy": toy_learner}, {"corridor": stretched})
    found = programs(toy(**{"env.length": [None, 0.5, 0.7]}), catalogue=catalogue)
    assert sorted((len(program.trials), program.floats) for program in found) == [(1, ()), (2, ("env.length",))]


def test_an_agent_has_one_number_whatever_its_program():
    found = programs(toy(num_envs=[2, 3], learning_rate=[0.1, 0.2]), seeds=3)
    numbers = [program.number(position) for program in found for position in range(program.agents)]
    assert sorted(numbers) == list(range(12))
    for program in found:
        batch = program.batch(range(program.agents))
        for position in range(program.agents):
            trial, seed = divmod(program.number(position), 3)
            of_number = next(t for t in program.trials if t.number == trial)
            assert float(batch.floats["learning_rate"][position]) == pytest.approx(of_number.config.learning_rate)
            assert (jax.random.key_data(batch.keys[position]) == jax.random.key_data(jax.random.key(seed))).all()


def test_chunks_hold_every_agent_once_and_are_as_equal_as_possible():
    (program,) = programs(toy(learning_rate=[0.1, 0.2, 0.3, 0.4, 0.5]), seeds=2)
    needed = plan.COPIES * program.agent_bytes
    for fits, size in ((10, 10), (9, 5), (4, 4), (3, 3), (1, 1)):
        assert plan.chunk_size(program, fits * needed, 1) == size
        chunks = plan.positions(program, size)
        assert {len(chunk) for chunk in chunks} == {size}
        new = [position for chunk in chunks for position in dict.fromkeys(chunk)]
        assert new == list(range(10))
    assert plan.chunk_size(program, None, 1) == 10
    assert plan.chunk_size(program, None, 4) == 12  # a multiple of the devices: 2 repeat
    assert plan.chunk_size(program, None, 4, even=True) == 12
    assert plan.chunk_size(program, None, 1, most=9) == 5
    assert plan.chunk_size(program, 5 * needed, 2) == 4  # rather than 5 on one device
    assert plan.chunk_size(program, 10 * needed, 8) == 8
    with pytest.raises(ValueError, match="4 devices of several processes train at least 4 agents"):
        plan.chunk_size(program, needed, 4, even=True)


def test_an_agent_that_cannot_fit_is_refused_with_the_numbers():
    (program,) = programs(toy(memory=10**6))
    with pytest.raises(MemoryError, match=r"one agent of toy on corridor needs 7\.\d MiB, .* may use 1000\.0 KiB"):
        plan.chunk_size(program, 1000 * 1024, 1)
    with pytest.raises(MemoryError, match="more memory"):
        plan.chunk_size(program, 4 * program.agent_bytes, 1, per_agent=5 * program.agent_bytes)


def test_the_bytes_of_an_agent_are_those_of_its_training():
    (program,) = programs(toy(learning_rate=[0.1, 0.2]), seeds=3)
    assert program.agent_bytes * 6 == trees.nbytes(training_shapes(program.learner, program.batch(range(6))))


def test_every_number_is_checked_before_it_is_traced():
    real = Catalogue()
    for space, message in [
        ({"algorithm": "ppo", "env": "CartPole-v1", "learning_rate": [1e-3, -1.0]}, "learning_rate must be > 0"),
        ({"algorithm": "dqn", "env": "CartPole-v1", "discount": [0.9, 1.1]}, "discount must be in"),
        ({"algorithm": "ppo", "env": "CartPole-v1", "learning_rat": [1e-3]}, "did you mean learning_rate"),
        ({"algorithm": ["ppo", "dqn"], "env": "CartPole-v1", "clip": [0.1]}, "needs when"),
        ({"algorithm": "ppo", "env": "CartPole-v1", "epochs": [1.5]}, "ppo.epochs takes whole numbers"),
        ({"algorithm": "ppo", "env": "CartPole-v1", "env.lenth": [1.5]}, "no parameter|has no"),
        ({"algorithm": "ppo", "env": "CartPole-v1", "total_steps": 1.5}, "total_steps must be a whole number"),
        ({"algorithm": "ppo"}, "needs 'env'"),
        ({"env": "CartPole-v1"}, "needs 'algorithm'"),
        ({"algorithm": "ppo", "env": "CartPol-v1"}, "CartPole-v1"),
    ]:
        with pytest.raises(ValueError, match=message):
            programs(space, catalogue=real, total_steps=4096)
    with pytest.raises(ValueError, match="toy: learning_rate must be > 0"):
        programs(toy(learning_rate=[0.1, -0.1]))


def test_presets_fill_in_what_the_space_leaves_open():
    settings = {"algorithm": "ppo", "env": "CartPole-v1", "clip": 0.3}
    tuned, plain = (resolve(0, settings, Catalogue(), preset) for preset in (True, False))
    assert (tuned.config.learning_rate, tuned.config.clip, tuned.total_steps) == (1e-3, 0.3, 500_000)
    assert (plain.config.learning_rate, plain.config.clip, plain.total_steps) == (2.5e-4, 0.3, 500_000)
    assert tuned.value("learning_rate") == 1e-3
    assert tuned.value("env.length") is None


def test_the_shortest_program_comes_first():
    found = programs([toy(total_steps=960), toy(total_steps=240), toy(total_steps=480)])
    assert [program.total_steps for program in found] == [240, 480, 960]
