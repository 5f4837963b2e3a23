"""Experiments on off-policy learners of continuous actions."""

from functools import partial

import numpy as np

from .entries import NO_BOUND, Entry, Measure, at, at_least, at_most, median_of_steps, over, ratio, solved


def bias(variant: str, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """Mean over seeds of what a critic believes less what its policy earns."""
    return Measure(over(np.mean, variant, "bias per seed"), bounds)


def part(task: str, learner: str, **more: float):
    """Find one record of a list of them."""

    def read(parts: list) -> dict:
        wanted = {"task": task, "learner": learner} | more
        return next(record for record in parts if all(record[key] == value for key, value in wanted.items()))

    return read


def final(task: str, learner: str, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """Mean over seeds of the last evaluation."""
    find = part(task, learner)
    return Measure(lambda parts: float(np.mean([curve[-1] for curve in find(parts)["returns"]])), bounds)


def steps(learner: str, updates: int, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """Median of the steps to -200 with so many updates per step."""
    find = part("Pendulum-v1", learner, ratio=updates)
    return Measure(lambda parts: median_of_steps("steps to threshold")(find(parts)), bounds)


def episodes(task: str, learner: str) -> Measure:
    """Median of the episodes until a task is solved."""
    find = part(task, learner)
    return Measure(lambda numbers: median_of_steps("episodes to threshold")(find(numbers["parts"])))


def best(task: str, learner: str) -> Measure:
    """The mean over seeds of each one's best evaluation."""
    return Measure(at(task, learner, "best", "value"))


def ahead(numbers: dict, task: str) -> float:
    """What DDPG's best is above that of random actions, less the same of NAF, in shares of the greater of the two."""
    row = numbers[task]
    ddpg, naf = (row[learner]["best"]["value"] - row["random"] for learner in ("ddpg", "naf"))
    return (ddpg - naf) / max(ddpg, naf)


def success(task: str, variant: str, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """Median over seeds of the share of goals reached at the end."""
    read = at("success_rate", task, variant)
    return Measure(lambda numbers: float(np.median([seed[-1] for seed in read(numbers)])), bounds)


def entropy_error(numbers: dict) -> float:
    """The largest distance between an agent's entropy and its target."""
    return max(abs(e - float(target)) for target, row in numbers["automatic"].items() for e in row["entropy"])


ENTRIES = (
    Entry(
        "td3_ablation",
        "an actor climbs to where its critic believes too much; the minimum of two critics makes that too little",
        "predicted less achieved return on hopper after 25k to 50k steps, means of five seeds: DDPG {ddpg:.0f}, with "
        "smoothing {smoothing:.0f}, with delay {delay:.0f}, with twins {twins:.0f}; TD3 {td3:.0f}, without the minimum "
        "{mean:.0f}, without delay {no_delay:.0f}, without smoothing {no_smoothing:.0f}",
        {
            "ddpg": bias("DDPG", at_least(10)),
            "smoothing": bias("DDPG with smoothing"),
            "delay": bias("DDPG with delay"),
            "twins": bias("DDPG with twins", at_most(0)),
            "td3": bias("TD3", at_most(0)),
            "mean": bias("TD3 without minimum"),
            "no_delay": bias("TD3 without delay", at_most(0)),
            "no_smoothing": bias("TD3 without smoothing", at_most(0)),
        },
        ("td3", "ddpg"),
    ),
    Entry(
        "sac_temperature",
        "the learned temperature keeps the entropy at its target",
        "Pendulum: the learned temperature keeps the entropy within {error:.2f} nats of targets of -2, -1 and -0.5 in "
        "every agent; a fixed one of 0.01 earns {low:.0f}, of 1 {one:.0f}, of 3 {high:.0f}",
        {
            "error": Measure(entropy_error, at_most(0.1)),
            "low": Measure(at("fixed", "0.01", "return", 0), at_least(-150)),
            "one": Measure(at("fixed", "1.0", "return", 0), at_least(-150)),
            "high": Measure(at("fixed", "3.0", "return", 0), at_least(-160)),
        },
        ("sac",),
    ),
    Entry(
        "multimodal_goals",
        "policies of maximum entropy keep every solution",
        "four goals, all as good: of five seeds the one with the fewest goals reaches {sac:.0f} with SAC, {soft_q:.0f} "
        "with soft Q-learning; with DDPG the one with the most {ddpg:.0f}",
        {
            "sac": Measure(over(np.min, "SAC", "goals reached in 5 % of episodes"), (4, 4)),
            "soft_q": Measure(over(np.min, "soft Q-learning", "goals reached in 5 % of episodes"), (4, 4)),
            "ddpg": Measure(over(np.max, "DDPG", "goals reached in 5 % of episodes"), (1, 1)),
        },
        ("sac", "soft_q", "ddpg"),
    ),
    Entry(
        "hindsight",
        "goals that were reached by chance teach the way to others",
        "DDPG with rewards of 0 at the goal and -1 elsewhere, success after 16,000 steps: point robot {point:.2f} in "
        "hindsight, {point_without:.2f} without; planar arm {arm:.2f} and {arm_without:.2f} within 10 cm, {fine:.2f} "
        "and {fine_without:.2f} within 5 cm",
        {
            "point": success("point robot", "in hindsight", at_least(0.95)),
            "point_without": success("point robot", "without", at_most(0.1)),
            "arm": success("planar arm, within 10 cm", "in hindsight", at_least(0.8)),
            "arm_without": success("planar arm, within 10 cm", "without", at_most(0.2)),
            "fine": success("planar arm, within 5 cm", "in hindsight", at_least(0.4)),
            "fine_without": success("planar arm, within 5 cm", "without", at_most(0.1)),
        },
        ("ddpg",),
    ),
    Entry(
        "update_to_data",
        "more updates per step need fewer steps, as long as the bias is held down",
        "SAC on Pendulum reaches -200 after {one:.0f} steps with one update per step, {four:.0f} with four, "
        "{eight:.0f} with eight (one critic); REDQ {redq:.0f} with one and {redq_four:.0f} with four: the bias that it "
        "is meant for does not grow here",
        {
            "one": steps("one critic", 1),
            "four": steps("one critic", 4, at_most(2500)),
            "eight": steps("one critic", 8, at_most(2000)),
            "redq": steps("REDQ", 1),
            "redq_four": steps("REDQ", 4, at_most(2500)),
        },
        ("sac",),
    ),
    Entry(
        "sac_against_brax",
        "SAC earns about what brax's own SAC earns after as many steps; TD3 does on two tasks of four",
        "same steps and ratio of updates, purerl's SAC, its TD3, brax's own SAC: hopper (spring, 300k steps) "
        "{hopper:.0f}, {hopper_td3:.0f}, {hopper_brax:.0f}; halfcheetah (spring, 1M steps, of SAC 0.9M) {cheetah:.0f}, "
        "{cheetah_td3:.0f}, {cheetah_brax:.0f}; MJX reacher {reacher:.0f}, {reacher_td3:.0f}, {reacher_brax:.0f}; MJX "
        "cart-pole swing-up {cartpole:.0f}, {cartpole_td3:.0f}, {cartpole_brax:.0f} (four or two seeds of purerl, one "
        "of brax)",
        {
            f"{short}{suffix}": final(task, learner, bounds if learner == "sac" else NO_BOUND)
            for short, task, bounds in (
                ("hopper", "brax/hopper", at_least(400)),
                ("cheetah", "brax/halfcheetah", at_least(1800)),
                ("reacher", "mjx/planar_reacher", at_least(100)),
                ("cartpole", "mjx/cartpole_swingup", at_least(380)),
            )
            for suffix, learner in (("", "sac"), ("_td3", "td3"), ("_brax", "brax"))
        },
        ("sac", "td3"),
    ),
    Entry(
        "naf_against_ddpg",
        "NAF needs fewer episodes than DDPG (not reproduced)",
        "median episodes to solve Pendulum, a reacher, a cart-pole swing-up and an arm, ten seeds: NAF "
        "{naf_pendulum:.0f}, {naf_reacher:.0f}, {naf_cartpole:.0f}, {naf_arm:.0f}; DDPG, tuned as much, "
        "{ddpg_pendulum:.0f}, "
        "{ddpg_reacher:.0f}, {ddpg_cartpole:.0f}, {ddpg_arm:.0f}: not what NAF's paper found",
        {
            f"{learner}_{short}": episodes(task, learner)
            for short, task in (
                ("pendulum", "Pendulum-v1"),
                ("reacher", "mjx/planar_reacher"),
                ("cartpole", "mjx/cartpole_swingup"),
                ("arm", "goal/planar_arm"),
            )
            for learner in ("naf", "ddpg")
        }
        | {
            f"{short}_slower": Measure(ratio(episodes(task, "naf").read, episodes(task, "ddpg").read), at_least(1.0))
            for short, task in (
                ("pendulum", "Pendulum-v1"),
                ("cartpole", "mjx/cartpole_swingup"),
                ("arm", "goal/planar_arm"),
            )
        }
        | {
            "naf_on_reacher": Measure(
                lambda n: solved("episodes to threshold")(part("mjx/planar_reacher", "naf")(n["parts"])), (0, 0)
            ),
        },
        ("naf", "ddpg"),
    ),
    Entry(
        "naf_table",
        "NAF earns more than DDPG on precise tasks of arms, DDPG no less on locomotion (not reproduced)",
        "best greedy return of DDPG and of NAF after as many steps, three seeds: cart-pole "
        "{ddpg_cartpole:.0f} and {naf_cartpole:.0f}, reacher {ddpg_reacher:.0f} and {naf_reacher:.0f}, peg "
        "insertion {ddpg_peg:.0f} and {naf_peg:.0f}, gripper {ddpg_gripper:.0f} and {naf_gripper:.0f}, "
        "gripper on a movable base {ddpg_movable:.0f} and {naf_movable:.0f}, hockey stick {ddpg_canada2d:.0f} "
        "and {naf_canada2d:.0f}, half-cheetah {ddpg_cheetah:.0f} and {naf_cheetah:.0f}, swimmer "
        "{ddpg_swimmer6:.0f} and {naf_swimmer6:.0f}, ant {ddpg_ant:.0f} and {naf_ant:.0f}, walker "
        "{ddpg_walker2d:.0f} and {naf_walker2d:.0f}",
        {
            f"{learner}_{task.removeprefix('gripper, ')}": best(task, learner)
            for task in (
                "cartpole",
                "reacher",
                "peg",
                "gripper",
                "gripper, movable",
                "canada2d",
                "cheetah",
                "swimmer6",
                "ant",
                "walker2d",
            )
            for learner in ("ddpg", "naf")
        }
        | {
            f"ahead_on_{task}": Measure(partial(ahead, task=task), at_least(0.2))
            for task in ("reacher", "gripper", "cheetah")
        }
        | {"level_on_peg": Measure(partial(ahead, task="peg"), (-0.1, 0.1))},
        ("naf", "ddpg"),
    ),
)
