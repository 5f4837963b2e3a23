"""The front door of the environments: names, parameters, errors, and what is imported when."""

import subprocess
import sys

import pytest

from purerl import environments


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("CartPole-v0", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("Breakout", "Breakout-MinAtar"),
        ("probe/trunctation", "probe/truncation"),
        ("RoboPark", "RoboParking"),
        ("brax/hoper", "brax/hopper"),
        ("cartpole_swingup", "mjx/cartpole_swingup"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(wrong, meant):
    with pytest.raises(ValueError, match=meant):
        environments.make(wrong)


def test_a_name_like_nothing_is_answered_with_where_to_look():
    with pytest.raises(ValueError, match=r"names\(\)"):
        environments.make("§§§")


@pytest.mark.parametrize("name", ["Nope", "xyzzy", "Foo-v1"])
def test_an_unrelated_word_gets_no_suggestion(name):
    with pytest.raises(ValueError, match="purerl list") as raised:
        environments.make(name)
    assert "Did you mean" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("Pendulum-v1", "max_torque"),
        ("DeepSea-bsuite", "size"),
        ("RoboParking", "friction"),
        ("mjx/hopper", "max_steps"),
        ("probe/memory", "steps"),
        ("probe/action", "it has none"),
    ],
)
def test_an_unknown_parameter_is_answered_with_the_valid_ones(name, valid):
    with pytest.raises(ValueError, match=valid):
        environments.make(name, max_torq=1.0)


@pytest.mark.parametrize(
    ("name", "package", "command"),
    [
        ("CartPole-v1", "gymnax", "pip install gymnax six"),
        ("CartPole-v1", "six", "pip install gymnax six"),
        ("brax/ant", "brax", "pip install brax"),
        ("mjx/hopper", "mujoco", "pip install mujoco mujoco-mjx"),
        ("mjx/hopper", "mujoco.mjx", "pip install mujoco mujoco-mjx"),
        ("playground/CheetahRun", "mujoco_playground", r'pip install "playground>=0.2.0,<0.3"'),
    ],
)
def test_a_missing_package_is_answered_with_the_command_that_installs_it(monkeypatch, name, package, command):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=command):
        environments.make(name)


def test_name_and_parameters_are_recorded_as_given_so_that_it_can_be_made_again():
    for name, parameters in [("DeepSea-bsuite", {"size": 5}), ("RoboParking", {"push": 2.0}), ("probe/memory", {})]:
        environment = environments.make(name, **parameters)
        assert (environment.name, environment.parameters) == (name, parameters)
        again = environments.make(environment.name, **environment.parameters)
        assert again.observation_space == environment.observation_space


def test_names_imports_no_suite():
    program = (
        "import sys; from purerl import environments; assert len(environments.names()) > 30;"
        "environments.make('RoboParking');"
        "assert not {'gymnax', 'brax', 'mujoco', 'mujoco.mjx', 'mujoco_playground', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
