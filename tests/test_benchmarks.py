"""What the benchmark against peers computes without them: settings and their translations, tables, the picture."""

import pytest
from benchmarks.peers import LIBRARIES, check_updates, on_cores, refusal
from benchmarks.pictures import against, draw
from benchmarks.settings import CLASSIC, SETTINGS, Setting, overridden, updates_of
from benchmarks.tables import in_words, summary, title_of
from benchmarks.workers.translations import for_brax, for_rejax, for_stable_baselines

from purerl import load

ROW = {"steps": 1000, "compiling": 2.0, "memory_mb": 500.0, "returns": [7.0]}
SMALL = Setting("dqn", "CartPole-v1", 1000, 100, {"num_envs": 10, "warm_up_steps": 200})  # 80 updates


def a_table() -> dict:
    rows = {
        "purerl": [ROW | {"running": seconds} for seconds in (1.0, 2.0, 4.0)],
        "stable-baselines3": [ROW | {"running": 5.0}],
    }
    return summary(rows, 4, SMALL)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_one_of_purerl_and_of_every_library_that_has_its_algorithm(name):
    setting = SETTINGS[name]
    load(setting.algorithm).Config(**setting.fields)
    translated = {
        "rejax": for_rejax,
        "brax": for_brax,
        "stable-baselines3": lambda setting: for_stable_baselines(setting, "stable_baselines3"),
        "sbx": lambda setting: for_stable_baselines(setting, "sbx"),
    }
    peers = [library for library in translated if refusal(library, setting) is None]
    assert ("brax" in peers, "rejax" in peers) == (name not in CLASSIC, name in CLASSIC)
    for library in peers:
        assert setting.fields["learning_rate"] == translated[library](setting._asdict())["learning_rate"]


def test_updates_are_counted_from_the_setting():
    found = {name: updates_of(SETTINGS[name]) for name in (*CLASSIC, "ppo_hopper", "sac_hopper")}
    assert found == {
        "ppo": 256 * 16,
        "dqn": 9_900,
        "pqn": 128 * 64,
        "sac": 9_000,
        "td3": 9_000,
        "ppo_hopper": 256 * 128,
        "sac_hopper": 12_288,
    }


def test_noises_and_rates_are_in_the_units_of_each_library():
    td3, dqn = SETTINGS["td3"]._asdict(), SETTINGS["dqn"]._asdict()
    theirs = for_rejax(td3, action_scale=2.0)
    assert (theirs["exploration_noise"], theirs["target_noise"], theirs["target_noise_clip"]) == (0.2, 0.4, 1.0)
    assert theirs["polyak"] == pytest.approx(0.995)
    assert for_rejax(dqn)["polyak"] == 0.0
    assert for_stable_baselines(td3, "sbx")["target_policy_noise"] == 0.2
    assert for_stable_baselines(dqn, "stable_baselines3")["tau"] == 1.0
    assert for_stable_baselines(dqn, "stable_baselines3")["max_grad_norm"] == 10.0
    assert "max_grad_norm" not in for_stable_baselines(dqn, "sbx")


def test_batches_have_the_same_number_of_steps():
    ppo, hopper, sac = (SETTINGS[name]._asdict() for name in ("ppo", "ppo_hopper", "sac_hopper"))
    assert for_stable_baselines(ppo, "sbx")["batch_size"] == 8 * 128 // 4
    theirs = for_brax(hopper)
    assert theirs["batch_size"] * theirs["num_minibatches"] == theirs["num_envs"] == 128
    assert for_brax(sac)["grad_updates_per_step"] == 32


def test_widths_that_a_library_does_not_have_are_refused():
    setting = SETTINGS["td3"]._asdict()
    with pytest.raises(ValueError, match="two layers of 64"):
        for_rejax(setting | {"fields": setting["fields"] | {"widths": (32,)}})


def test_a_capacity_is_another_setting_where_there_is_a_replay():
    assert overridden("dqn", replay_capacity=100_000).fields["replay_capacity"] == 100_000
    assert SETTINGS["dqn"].fields["replay_capacity"] == 10_000
    assert overridden("ppo", replay_capacity=100_000) == SETTINGS["ppo"]
    assert overridden("ppo", quick=True).steps == SETTINGS["ppo"].quick_steps
    assert overridden("ppo", steps=4096, quick=True).steps == 4096
    with pytest.raises(ValueError, match="1,000 steps are too few"):
        overridden("dqn", steps=1000)
    with pytest.raises(ValueError, match="99,968 would do"):
        overridden("sac_hopper", replay_capacity=100_000)
    with pytest.raises(ValueError, match="1,000 would do"):
        overridden("dqn", replay_capacity=100)


def test_an_algorithm_that_a_library_lacks_is_refused_in_words():
    assert refusal("sbx", SETTINGS["pqn"]) == "sbx has no pqn"
    assert refusal("rejax", SETTINGS["ppo_hopper"]) == "brax/hopper is not run in rejax"
    assert refusal("brax", SETTINGS["ppo"]) == "CartPole-v1 is not run in brax"
    assert all(refusal("purerl", setting) is None for setting in SETTINGS.values())


def test_other_updates_than_wanted_are_an_error():
    check_updates("rejax", SMALL, {"steps": 1000, "updates": 80})
    check_updates("purerl", SMALL, {"steps": 1000, "updates": None})
    with pytest.raises(RuntimeError, match="made 40 updates in dqn, wanted 80"):
        check_updates("rejax", SMALL, {"steps": 1000, "updates": 40})


def test_more_cores_than_there_are_is_an_error():
    assert on_cores(None) is None
    with pytest.raises(ValueError, match="--cores"):
        on_cores(100_000)


def test_agents_without_vmap_take_their_time_one_after_the_other():
    table = a_table()
    assert table["purerl"]["steps per second"] == 4 * 1000 / 2.0
    assert table["purerl"]["range"] == [1000.0, 4000.0]
    assert table["purerl"]["updates per second"] == 4 * 80 / 2.0
    assert table["purerl"]["whole seconds"] == 4.0
    assert table["stable-baselines3"]["steps per second"] == 1000 / 5.0
    assert table["stable-baselines3"]["updates per second"] == 80 / 5.0
    assert table["stable-baselines3"]["whole seconds"] == 22.0


def test_the_table_in_words():
    words = in_words("dqn", a_table())
    assert "| stable-baselines3 | 200 | 200 to 200 | 16 | 10.0 | 2.0 | 22.0 | 500 | 7 |" in words
    assert title_of("dqn", 16, 100_000, 1) == "dqn, 16 agents, replay of 100,000, 1 core"
    assert title_of("ppo", 1, steps=4096) == "ppo, 1 agent, 4,096 steps"


def test_the_ratio_in_words():
    assert against(200.0, 100.0) == "purerl is 2.0 times as fast"
    assert against(100.0, 125.0) == "it is 1.2 times as fast"
    assert against(101.0, 100.0) == "as fast as purerl"
    assert against(1000.0, 10.0) == "purerl is 100 times as fast"


def test_the_picture_of_two_tables(tmp_path):
    picture = draw({"dqn, 4 agents": a_table(), "pqn, 1 agent": {"rejax": a_table()["purerl"]}}, tmp_path / "peers.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_requirements_are_pinned():
    for library in LIBRARIES.values():
        assert all("==" in requirement or requirement == "six" for requirement in library.requirements)
