"""The commonest mistakes of a newcomer: every one gets a sentence that says what was wrong and what to do.

Nothing here compiles a training: a mistake is met where it enters.
"""

import json
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purerl
from purerl import devices, dqn, evaluate, make, ppo, run, saved, sweep, train, trees, vectorize
from purerl.algorithms import ALGORITHMS, load
from purerl.cli import main
from purerl.host import memory

KEY = jax.random.key(0)
CARTPOLE = make("CartPole-v1")
PENDULUM = make("Pendulum-v1")
SPACE = {"algorithm": "ppo", "env": "CartPole-v1"}


def changed(**fields):
    """CartPole, as somebody might write it: with these fields of its timestep made by functions of it."""

    def step(key, state, action):
        state, timestep = CARTPOLE.step(key, state, action)
        return state, timestep._replace(**{name: field(timestep) for name, field in fields.items()})

    return CARTPOLE._replace(step=step)


def returning(result):
    """CartPole whose step returns `result(state, timestep)`."""
    return CARTPOLE._replace(step=lambda *arguments: result(*CARTPOLE.step(*arguments)))


def branching(state, timestep):
    return (state, timestep) if timestep.terminated else (state, timestep._replace(reward=jnp.zeros(())))


def over_ints(**fields):
    """Vmap over a field with the values 1 and 2."""
    (name,) = fields
    return jax.vmap(lambda value: ppo.make(CARTPOLE, ppo.Config(**{name: value})).init(KEY))(fields[name])


MISTAKES = {
    # environments by name
    "Gymnasium's version": (lambda: make("CartPole-v0"), "'CartPole-v0'. Did you mean CartPole-v1?"),
    "MuJoCo's name": (lambda: make("Hopper-v4"), "Did you mean brax/hopper or mjx/hopper?"),
    "another of MuJoCo's": (lambda: make("InvertedPendulum-v4"), "Did you mean brax/inverted_pendulum?"),
    "a short one of MuJoCo's": (lambda: make("Ant-v4"), "Did you mean brax/ant?"),
    "Atari's name": (lambda: make("BreakoutNoFrameskip-v4"), "Did you mean Breakout-MinAtar?"),
    "an Atari game of Gymnasium": (lambda: make("ALE/MsPacman-v5"), "gymnasium/ALE/MsPacman-v5"),
    "Box2D": (lambda: make("LunarLander-v2"), "Gymnasium, which simulates it on the host: gymnasium/LunarLander-v3"),
    "without a suite": (lambda: make("hopper"), "Did you mean brax/hopper"),
    "misspelt": (lambda: make("CartPol-v1"), "Did you mean CartPole-v1"),
    "a suite's name misspelt": (lambda: make("brax/hoper"), "Did you mean brax/hopper"),
    "nothing like it": (lambda: make("xyzzy"), "`purerl list`"),
    "a parameter misspelt": (
        lambda: make("CartPole-v1", gravty=3.0),
        "no parameter gravty; it has: force_mag, gravity",
    ),
    "a parameter of text": (lambda: make("CartPole-v1", gravity="low"), "gravity must be like its default 9.8"),
    "an object for a name": (lambda: make(gymnax.make("CartPole-v1")[0]), "make takes the name of an environment"),
    # algorithms by name
    "in capitals": (lambda: load("PPO"), "did you mean ppo?"),
    "with a dash": (lambda: load("QR-DQN"), "did you mean qr_dqn?"),
    "a setting of another": (lambda: load("double_dqn"), "did you mean dqn with double=True?"),
    "another one's table": (lambda: load("qrdqn"), "did you mean qr_dqn"),
    "unknown": (lambda: load("impala"), "it must be one of: a2c, a3c, "),
    # actions
    "dqn, continuous": (lambda: dqn.make(PENDULUM, dqn.Config()), "Pendulum-v1 has continuous ones"),
    "td3, discrete": (lambda: load("td3").make(CARTPOLE, load("td3").Config()), "CartPole-v1 has discrete ones"),
    # fields of a Config
    "an int field vmapped": (lambda: over_ints(num_envs=jnp.array([2, 4])), "num_envs chooses a program"),
    "a bool field vmapped": (lambda: over_ints(clip_value=jnp.array([True, False])), "let purerl.sweep do so"),
    "a tuple of traced": (
        lambda: jax.jit(lambda n: ppo.make(CARTPOLE, ppo.Config(widths=(n,))).init(KEY))(8),
        "widths chooses a program",
    ),
    "ints over a float": (lambda: over_ints(clip=jnp.array([1, 2])), "clip is a float, but values of type int32"),
    "several at once": (lambda: ppo.make(CARTPOLE, ppo.Config(clip=[0.1, 0.2])), "vmap over them or use purerl.sweep"),
    "text for a number": (lambda: ppo.make(CARTPOLE, ppo.Config(clip="0.1")), "clip must be a number, got '0.1' (str)"),
    "nothing": (lambda: ppo.make(CARTPOLE, ppo.Config(clip=None)), "clip must be a number, got None"),
    "text for an int": (lambda: ppo.make(CARTPOLE, ppo.Config(num_envs="8")), "num_envs must be of type int, got '8'"),
    "an int of NumPy": (lambda: ppo.make(CARTPOLE, ppo.Config(num_envs=np.int64(8))), "write int(...)"),
    "a list": (lambda: ppo.make(CARTPOLE, ppo.Config(widths=[8])), "write tuple(...)"),
    "negative": (lambda: ppo.make(CARTPOLE, ppo.Config(learning_rate=-1.0)), "learning_rate must be > 0, got -1.0"),
    "zero": (lambda: ppo.make(CARTPOLE, ppo.Config(num_envs=0)), "num_envs must be > 0, got 0"),
    "not a number": (lambda: ppo.make(CARTPOLE, ppo.Config(clip=float("nan"))), "clip must be a finite number"),
    "no fraction": (lambda: ppo.make(CARTPOLE, ppo.Config(discount=99.0)), "discount must be in [0, 1], got 99.0"),
    "an unknown word": (lambda: ppo.make(CARTPOLE, ppo.Config(activation="rellu")), "must be one of 'relu', 'tanh'"),
    "misspelt field": (lambda: ppo.Config(learnin_rate=1.0), "learnin_rate"),
    "batch over replay": (lambda: dqn.make(CARTPOLE, dqn.Config(batch_size=99_999)), "raise replay_capacity or lower"),
    "no whole blocks": (lambda: dqn.make(CARTPOLE, dqn.Config(replay_capacity=1001)), "try 1000"),
    "minibatches": (lambda: ppo.make(CARTPOLE, ppo.Config(minibatches=7)), "must divide num_envs x rollout_length"),
    # one thing for another
    "another's Config": (lambda: ppo.make(CARTPOLE, dqn.Config()), "dqn.Config has no clip"),
    "the other way round": (lambda: ppo.make(ppo.Config(), CARTPOLE), "the environment comes first"),
    "a dictionary": (lambda: ppo.make(CARTPOLE, {"clip": 0.1}), "needs its Config, but got a dict"),
    "gymnax's": (lambda: ppo.make(gymnax.make("CartPole-v1")[0], ppo.Config()), "pass purerl.make('CartPole-v1')"),
    "gymnax's pair": (lambda: dqn.make(gymnax.make("CartPole-v1"), dqn.Config()), "the pair that gymnax.make returns"),
    "vectorised before": (lambda: ppo.make(vectorize(CARTPOLE, 2), ppo.Config()), "vectorised already"),
    "vectorize a name": (lambda: vectorize("CartPole-v1", 2), "vectorize needs a purerl.Environment"),
    "run an environment": (lambda: run(CARTPOLE, total_steps=9), "got the environment CartPole-v1; pass an algorithm"),
    "run a module": (lambda: run(ppo, total_steps=9), "pass what it makes, ppo.make(environment, ppo.Config())"),
    "train a name": (lambda: train("ppo", KEY, 1), "train needs an Algorithm, but got the string 'ppo'"),
    "train a Config": (lambda: train(ppo.Config(), KEY, 1), "train needs an Algorithm, but got a Config"),
    "evaluate an algorithm": (
        lambda: evaluate(ppo.make(CARTPOLE, ppo.Config()), CARTPOLE, KEY),
        "pass algorithm.policy(state)",
    ),
    # keys, numbers of steps, seeds
    "a seed for a key": (lambda: train(ppo.make(CARTPOLE, ppo.Config()), 7, 1), "pass jax.random.key(7)"),
    "many keys": (lambda: train(ppo.make(CARTPOLE, ppo.Config()), jax.random.split(KEY, 3), 1), "jax.vmap over"),
    "traced iterations": (
        lambda: jax.vmap(lambda n: train(ppo.make(CARTPOLE, ppo.Config()), KEY, n).best.score)(jnp.array([1, 2])),
        "iterations chooses a program",
    ),
    "no budget": (lambda: run(ppo.make(CARTPOLE, ppo.Config())), "give either total_steps=200_000 or iterations"),
    "too little": (
        lambda: run(dqn.make(CARTPOLE, dqn.Config()), total_steps=100),
        "an iteration takes 10 steps, after 1000 of warm-up: give 1010",
    ),
    "a budget of text": (lambda: run(ppo.make(CARTPOLE, ppo.Config()), total_steps="9"), "must be a whole number"),
    "half a step": (lambda: run(ppo.make(CARTPOLE, ppo.Config()), total_steps=9.5), "must be a whole number, got 9.5"),
    "no seeds": (lambda: run(ppo.make(CARTPOLE, ppo.Config()), total_steps=9, seeds=0), "seeds must be a positive"),
    "no episodes": (lambda: run(ppo.make(CARTPOLE, ppo.Config()), total_steps=9, episodes=0), "episodes must be at"),
    "too large": (
        lambda: run(dqn.make(CARTPOLE, dqn.Config(replay_capacity=10**10)), total_steps=2000, sinks=()),
        "left: use fewer seeds, a smaller replay or fewer environments",
    ),
    "too many": (
        lambda: run(dqn.make(CARTPOLE, dqn.Config(replay_capacity=10**7)), seeds=10**4, total_steps=2000, sinks=()),
        "the training state of 10000 seeds needs",
    ),
    # directories
    "something is there": (lambda: run(ppo.make(CARTPOLE, ppo.Config()), total_steps=9, directory="full"), "overwrite"),
    "a file": (lambda: run(ppo.make(CARTPOLE, ppo.Config()), total_steps=9, directory="file"), "file is a file"),
    "no run": (lambda: saved.load("nowhere"), "nowhere is not the directory of a purerl run"),
    "one too high": (lambda: saved.load("."), "the newest one in it is: old"),
    "an old format": (lambda: saved.load("old"), "this purerl reads 3: train it again, or read it with"),
    # environments of one's own
    "observation": (
        lambda: vectorize(changed(observation=lambda t: t.observation[:2]), 2),
        "but it is float32 of shape",
    ),
    "reward (1,)": (
        lambda: vectorize(changed(reward=lambda t: t.reward[None]), 2),
        "reward must be float32 of shape ()",
    ),
    "reward of ints": (lambda: vectorize(changed(reward=lambda t: jnp.int32(1)), 2), "but it is int32"),
    "done of floats": (
        lambda: vectorize(changed(terminated=lambda t: t.reward), 2),
        "terminated must be bool of shape",
    ),
    "gymnax's tuple": (lambda: vectorize(returning(lambda s, t: (t, s, 0.0, False, {})), 2), "returns a tuple of 5"),
    "other timestep": (
        lambda: vectorize(returning(lambda s, t: (s, (t, s))), 2),
        "must return (state, purerl.Timestep)",
    ),
    "swapped": (
        lambda: vectorize(CARTPOLE._replace(reset=lambda key: CARTPOLE.reset(key)[::-1]), 2),
        "the observation of reset must be float32 of shape (4,), but it is an EnvState",
    ),
    "a Python if": (lambda: vectorize(returning(branching), 2), "use jnp.where, jax.lax.cond"),
    "a growing state": (
        lambda: vectorize(returning(lambda s, t: ((s, s), t)), 2),
        "must have the structure of that of",
    ),
    "a state that changes type": (
        lambda: vectorize(returning(lambda s, t: (s.replace(x=jnp.int32(0)), t)), 2),
        "state.x is float32 of shape () after reset, but int32",
    ),
    "gymnax's space": (
        lambda: vectorize(CARTPOLE._replace(action_space=gymnax.environments.spaces.Discrete(2)), 2),
        "action_space must be a purerl.Box, Discrete or MultiDiscrete",
    ),
    # sweeps
    "no space": (lambda: sweep(ppo.make(CARTPOLE, ppo.Config())), "a space is a dictionary"),
    "a module in it": (lambda: sweep({**SPACE, "algorithm": ppo}), "'algorithm' must be a name, such as 'ppo'"),
    "an array in it": (lambda: sweep({**SPACE, "clip": np.array([0.1, 0.2])}), "values.tolist()"),
    "a range of ints": (lambda: sweep({**SPACE, "num_envs": purerl.uniform(2, 8)}), "num_envs takes whole numbers"),
    "a field of others": (lambda: sweep({**SPACE, "gamma": 0.9}), "ppo has no field 'gamma': did you mean discount?"),
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A directory to work in, with a file, a directory that is full, and a run of long ago."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("text")
    for name in ("full", "old"):
        Path(name).mkdir()
    Path("full/thesis.txt").write_text("text")
    Path("old/config.json").write_text(json.dumps({"format": 1, "algorithm": "ppo", "purerl": "0.0.1"}))
    return tmp_path


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_answered_by_a_builtin_exception_that_says_what_to_do(what, here):
    mistake, words = MISTAKES[what]
    with pytest.raises((TypeError, ValueError, OSError, MemoryError)) as raised:
        mistake()
    assert words in str(raised.value)
    assert sorted(path.name for path in here.iterdir()) == ["file", "full", "old"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_knows_an_environment_from_its_name_and_a_config_from_its_class(name):
    module = load(name)
    with pytest.raises(TypeError, match=r"got the name 'CartPole-v1'; pass purerl\.make"):
        module.make("CartPole-v1", module.Config())
    with pytest.raises(TypeError, match=rf"{name} needs a Config, but got the class itself; pass .* {name}.Config\(\)"):
        module.make(CARTPOLE, module.Config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "ppo"], "purerl train ppo --env CartPole-v1 (purerl list has all)"),
        (["train", "ppo", "CartPole-v1"], "The environment has a flag: purerl train ppo --env CartPole-v1"),
        (["train", "ppo", "--environment", "CartPole-v1"], "in which environment, not --environment"),
        (["train", "ppo", "--env", "Hopper-v4"], "Did you mean brax/hopper"),
        (["train", "dqn", "--env", "Pendulum-v1"], "use an algorithm for continuous actions, for example ppo"),
        (["train", "ppo", "--env", "CartPole-v1", "--gamma", "0.9"], "no option --gamma: did you mean --discount?"),
        (["train", "ppo", "--env", "CartPole-v1", "--learning-rat", "1"], "did you mean --learning-rate"),
        (["train", "ppo", "--env", "CartPole-v1", "--out", "file"], "file is a file"),
        (["train", "ppo", "--env", "CartPole-v1", "--out", "full"], "is not empty"),
        (["train", "ppo", "--env", "CartPole-v1", "--episodes", "0"], "evaluations=0 evaluates never"),
        (["train", "--resume", "old"], "train it again, or read it with the version that wrote it (0.0.1)"),
        (["sweep", "ppo", "--env", "CartPole-v1", "--clip", "0.1"], "a field of the Config has no dashes"),
        (["sweep", "ppo", "--xyzzy"], "purerl sweep --options lists them"),
        (["search", "ppo", "--xyzzy"], "purerl search --options lists them"),
        (["train", "ppo", "--resume", "old"], "purerl train --resume old"),
        (["sweep", "ppo", "--file", "nothing.toml"], "--file nothing.toml cannot be read"),
        (["evaluate", "full"], "full is not the directory of a purerl run"),
        (["evaluate", "."], "the newest one in it is: old"),
    ],
)
def test_the_command_line_answers_in_one_line(words, message, here, capsys):
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert "PURERL_TRACEBACK" not in lines[0]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (["--total-steps", "1e3.5"], "expected one number, got '1e3.5'"),
        (["--num-envs", "4.5"], "must be a whole number, got 4.5"),
        (["--learning-rate", "1e-3,1e-4"], "several values are for purerl sweep"),
    ],
)
def test_a_flag_without_a_number_is_refused(flag, message, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as leaving:
        main(["train", "ppo", "--env", "CartPole-v1", *flag])
    assert leaving.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_million_may_be_written_as_one():
    from purerl.cli.train import parse

    options, config = parse("ppo", ppo.Config, {}, ["--env", "x", "--total-steps", "1e6", "--num-envs", "1_6"])
    assert (options.total_steps, config.num_envs) == (1_000_000, 16)


def test_a_key_of_the_older_kind_is_the_same_seed():
    typed = trees.one_key(jax.random.PRNGKey(3), "train")
    assert typed == jax.random.key(3)
    assert trees.one_key(typed, "train") is typed


def test_keys_of_many_seeds_are_those_of_each():
    seeds = [0, 5, -1, 2**31, 2**40 + 1]
    assert (trees.keys(seeds) == jnp.stack([jax.random.key(seed) for seed in seeds])).all()


def test_running_out_of_memory_says_what_may_help():
    with (
        pytest.raises(
            MemoryError, match=r"3 seeds ran out of memory on .*: use fewer seeds.*\(RESOURCE_EXHAUSTED: Out"
        ),
        memory.explained("3 seeds", jax.local_devices()),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nlong table")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory.explained("x", jax.local_devices()):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_a_gpu_that_jax_cannot_use_is_spoken_of(monkeypatch):
    monkeypatch.setattr(devices, "_has_build", lambda *kinds: "rocm" in kinds)
    monkeypatch.setattr(devices.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    platforms = jax.config.jax_platforms
    try:
        jax.config.update("jax_platforms", "cuda")
        with pytest.raises(ImportError, match=r'JAX_PLATFORMS=cuda.*pip install "purerl\[gpu\]", or JAX_PLATFORMS=cpu'):
            make("CartPole-v1")
        for without in ("rocm", "gpu"):  # a build for GPUs of AMD will do
            jax.config.update("jax_platforms", without)
            devices.require_gpu_build()
        jax.config.update("jax_platforms", None)
        if jax.default_backend() == "cpu":
            assert "no build for a GPU" in devices.idle_gpu()[0]
        jax.config.update("jax_platforms", "cpu")
        assert devices.idle_gpu() == []
    finally:
        jax.config.update("jax_platforms", platforms)
