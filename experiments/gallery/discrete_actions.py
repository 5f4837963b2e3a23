"""Experiments on value-based learners and policy gradients, most of them with discrete actions."""

import numpy as np

from .entries import Entry, Measure, at, at_least, at_most, difference, median_of_steps, over, ratio

MATCHED = "replay, final return on Breakout"
LARGEST = "target, largest mean value on CartPole"


def cliff(kind: str) -> Measure:
    """How many times more updates uniform replay needs than a prioritised one, on the longest cliff walk."""
    return Measure(ratio(at("median_updates", "uniform", "13"), at("median_updates", kind, "13")), at_least(10.0))


def actions(count: int, bounds: tuple[float, float]) -> Measure:
    """How many times fewer updates a dueling network needs."""
    return Measure(at(f"{count} actions", "ratio of medians"), bounds, at_least(1.2) if count == 5 else None)


def rainbow(variant: str, name: str) -> dict[str, Measure]:
    """The interquartile mean of a variant of Rainbow and its interval."""
    path = ("variants", variant, "interquartile mean")
    return {name: Measure(at(*path, 0)), f"{name}_low": Measure(at(*path, 1)), f"{name}_high": Measure(at(*path, 2))}


def trick(variant: str, bounds: tuple[float, float]) -> Measure:
    """Normalised return of PPO with one of its details changed."""
    return Measure(at("variants", variant, "interquartile mean", 0), bounds)


def stale(size: int, staleness: int, bounds: tuple[float, float]) -> Measure:
    """A3C's return by the position of its learning rate and of its staleness."""
    return Measure(at("interquartile mean", size, staleness, 0), bounds)


def masked(kind: str, position: int, bounds: tuple[float, float]) -> Measure:
    """CartPole without velocities: the return of a seed, from the worst to the best."""
    return Measure(lambda numbers: sorted(numbers[kind]["final_return"])[position], bounds)


def trpo_variance(critic: str, estimator: str, what: str = "variance") -> Measure:
    """Q-Prop: variance of an estimator as a share of the plain one's, or its bias."""
    path = ("gradients", critic, estimator, what)
    return Measure(at(*path, 0) if what == "variance" else at(*path))


def beside_brax(task: str, library: str, bounds: tuple[float, float]) -> Measure:
    """Mean return of PPO."""
    return Measure(at(task, library, "mean", 0), bounds)


ENTRIES = (
    Entry(
        "replay_and_target_ablation",
        "deep Q-learning needs its replay and its target network",
        "Breakout after 100k steps: {replay:.1f} with a replay, {latest:.1f} from only the latest steps of 32 "
        "environments; CartPole without a target network: values of {bare:.0f} where 100 is the bound, with one "
        "{copied:.0f}",
        {
            "replay": Measure(over(np.median, MATCHED, "replay of 100k steps"), at_least(7.0)),
            "latest": Measure(over(np.median, MATCHED, "only the latest 4 steps of 32 environments"), at_most(5.0)),
            "bare": Measure(over(np.median, LARGEST, "no target network"), at_least(1000)),
            "copied": Measure(over(np.median, LARGEST, "copied every 500 steps"), at_most(120)),
        },
        ("dqn",),
    ),
    Entry(
        "prioritised_cliffwalk",
        "replaying surprising transitions needs an order of magnitude fewer updates",
        "a cliff walk of 13 steps: {proportional:.1f} (proportional) and {rank:.1f} (by rank) times fewer updates than "
        "uniform replay",
        {"proportional": cliff("proportional"), "rank": cliff("rank-based")},
        ("dqn",),
    ),
    Entry(
        "dueling_redundant_actions",
        "a dueling network is ahead by more, the more actions do the same",
        "{five:.1f}, {ten:.1f} and {twenty:.1f} times fewer updates with 5, 10 and 20 actions",
        {
            "five": actions(5, at_least(1.2)),
            "ten": actions(10, at_least(1.8)),
            "twenty": actions(20, at_least(2.2)),
        },
        ("dqn",),
    ),
    Entry(
        "distributional_returns",
        "each distributional head learns the distribution of the return, quantiles with an error that falls with their "
        "number",
        "Wasserstein distance to the true return on a chain {c51:.2f} for C51, {qr_dqn:.2f} for QR-DQN, {iqn:.2f} for "
        "IQN; of QR-DQN on a grid {two:.1f} with 2 quantiles, {eight:.1f} with 8, {many:.1f} with 32",
        {
            "c51": Measure(over(np.mean, "chain", "wasserstein", "C51"), at_most(0.3)),
            "qr_dqn": Measure(over(np.mean, "chain", "wasserstein", "QR-DQN"), at_most(0.6)),
            "iqn": Measure(over(np.mean, "chain", "wasserstein", "IQN"), at_most(0.6)),
            "two": Measure(over(np.mean, "wasserstein of QR-DQN on the grid, by quantiles", "2")),
            "eight": Measure(over(np.mean, "wasserstein of QR-DQN on the grid, by quantiles", "8")),
            "many": Measure(over(np.mean, "wasserstein of QR-DQN on the grid, by quantiles", "32"), at_most(5.5)),
        },
        ("c51", "qr_dqn", "iqn", "dqn"),
    ),
    Entry(
        "rainbow_ablation",
        "what each of Rainbow's six components brings",
        "MinAtar after 100k steps, DQN at 5M being 1: the whole {whole:.2f} [{whole_low:.2f}, {whole_high:.2f}], "
        "without its distribution {plain:.2f} [{plain_low:.2f}, {plain_high:.2f}], DQN {dqn:.2f} [{dqn_low:.2f}, "
        "{dqn_high:.2f}]: so early the distribution costs more than it brings",
        rainbow("Rainbow", "whole")
        | rainbow("without the distribution", "plain")
        | rainbow("DQN", "dqn")
        | {
            "cost": Measure(
                difference(rainbow("without the distribution", "x")["x"].read, rainbow("Rainbow", "x")["x"].read),
                at_least(0.05),
            )
        },
        ("rainbow", "dqn"),
    ),
    Entry(
        "pqn_layernorm",
        "LayerNorm lets Q-learning do without a target network and a replay",
        "Breakout after 500k steps, medians of three seeds: {with_norm:.1f} with LayerNorm, {without:.1f} without",
        {
            "with_norm": Measure(over(np.median, "with LayerNorm", "final_return"), at_least(12.0)),
            "without": Measure(over(np.median, "without LayerNorm", "final_return"), at_most(8.0)),
        },
        ("pqn",),
    ),
    Entry(
        "memory_chain",
        "recurrent learners remember a cue, and stored states with burn-in keep Q what it was",
        "a cue 30 steps ago, worst of five seeds: R2D2 {r2d2:.2f}, recurrent PQN {pqn:.2f}; the best memoryless DQN "
        "{dqn:.2f}; replaying from zero states without burn-in changes Q by {zero:.2f} of itself, from stored states "
        "with burn-in by {stored:.2f}",
        {
            "r2d2": Measure(over(np.min, "learners", "R2D2", "returns", -1, 1), at_least(0.99)),
            "pqn": Measure(over(np.min, "learners", "PQN, recurrent", "returns", -1, 1), at_least(0.99)),
            "dqn": Measure(over(np.max, "learners", "DQN", "returns", -1, 1), at_most(0.4)),
            "zero": Measure(at("delta_q", "R2D2: zero, no burn-in", 1), at_least(0.4)),
            "stored": Measure(at("delta_q", "R2D2: stored, burn-in", 1), at_most(0.2)),
        },
        ("r2d2", "pqn"),
    ),
    Entry(
        "trust_regions",
        "clipping and trust regions bound what an update changes",
        "ten epochs of PPO on CartPole: KL of an update {clipped_kl:.4f} clipped, {free_kl:.2f} unclipped; return "
        "{clipped:.0f} against {free:.0f} [{free_low:.0f}, {free_high:.0f}], worst seed {worst:.0f}; TRPO {trpo:.0f}",
        {
            "clipped_kl": Measure(at("PPO, clipped", "kl", "median"), at_most(0.01)),
            "free_kl": Measure(at("PPO, unclipped", "kl", "median"), at_least(0.05)),
            "clipped": Measure(at("PPO, clipped", "interquartile mean", 0), at_least(490)),
            "free": Measure(at("PPO, unclipped", "interquartile mean", 0), at_most(475)),
            "free_low": Measure(at("PPO, unclipped", "interquartile mean", 1)),
            "free_high": Measure(at("PPO, unclipped", "interquartile mean", 2)),
            "worst": Measure(over(np.min, "PPO, unclipped", "return of each seed")),
            "trpo": Measure(at("TRPO", "interquartile mean", 0), at_least(475)),
        },
        ("ppo", "trpo", "npg", "a2c"),
    ),
    Entry(
        "q_prop",
        "an off-policy critic as control variate of TRPO's gradient",
        "variance of TRPO's gradient on Pendulum, fitted critic: {full:.2f} of the plain one's with eta = 1, "
        "{conservative:.2f} conservative with a bias of {bias:.2f} by the paper's one-sample sign, {adaptive:.2f} "
        "adaptive without; to -250 with 1000 steps a batch {adaptive_steps:.0f} steps (adaptive), TRPO "
        "{trpo_steps:.0f}: the paper's gain is not reproduced",
        {
            "full": trpo_variance("fitted, 0.97", "full"),
            "conservative": trpo_variance("fitted, 0.97", "conservative"),
            "bias": trpo_variance("fitted, 0.97", "conservative", "bias"),
            "adaptive": trpo_variance("fitted, 0.97", "adaptive, of the batch"),
            "adaptive_steps": Measure(median_of_steps("learning", "adaptive", "steps_to_threshold")),
            "trpo_steps": Measure(median_of_steps("learning", "TRPO", "steps_to_threshold")),
            "unbiased": Measure(at("gradients", "fitted, 0.97", "full", "bias"), (-0.05, 0.05), (-0.3, 0.3)),
        },
        ("q_prop", "trpo"),
    ),
    Entry(
        "ppo_tricks_ablation",
        "which of PPO's details matter",
        "PPO on four tasks, normalised return after 100k steps with all details {all:.2f} [{all_low:.2f}, "
        "{all_high:.2f}]; without scaled rewards {raw_rewards:.2f}, with relu {relu:.2f}, with raw advantages "
        "{raw_advantages:.2f}, with a constant learning rate {constant:.2f}",
        {
            "all": trick("all details", at_least(0.9)),
            "all_low": Measure(at("variants", "all details", "interquartile mean", 1)),
            "all_high": Measure(at("variants", "all details", "interquartile mean", 2)),
            "raw_rewards": trick("raw rewards", at_most(0.7)),
            "relu": trick("relu", at_most(0.85)),
            "raw_advantages": trick("raw advantages", at_most(0.85)),
            "constant": trick("constant learning rate", at_least(0.9)),
        },
        ("ppo",),
    ),
    Entry(
        "asynchrony",
        "stale gradients need smaller steps",
        "A3C on CartPole after 150k steps, four seeds: a step size of 0.003 bears gradients 15 updates old "
        "({three:.0f}) and not 63 ({three_63:.0f}); 0.01 none of 15 ({ten:.0f})",
        {
            "three": stale(1, 2, at_least(400)),
            "three_63": stale(1, 3, at_most(300)),
            "ten": stale(2, 2, at_most(100)),
        },
        ("a3c", "a2c"),
    ),
    Entry(
        "masked_cartpole",
        "memory makes up for hidden velocities",
        "CartPole without velocities, PPO after 250k steps, worst of eight seeds: GRU {gru:.0f}, LSTM {lstm:.0f}, last "
        "four observations {stack:.0f}; no memory, best seed {none:.0f}; a GRU with standardised advantages {raw:.0f}",
        {
            "gru": masked("GRU", 0, at_least(475)),
            "lstm": masked("LSTM", 0, at_least(475)),
            "stack": masked("last four observations", 0, at_least(400)),
            "none": masked("no memory", -1, at_most(60)),
            "raw": masked("GRU, standardised advantages", 0, at_least(300)),
        },
        ("ppo",),
    ),
    Entry(
        "ppo_against_brax",
        "PPO earns what brax's own earns after as many steps",
        "spring backend, same steps, purerl against brax's own PPO: inverted pendulum {pendulum:.0f}, "
        "{brax_pendulum:.0f}; reacher {reacher:.0f}, {brax_reacher:.0f}; hopper {hopper:.0f}, {brax_hopper:.0f}; "
        "halfcheetah {cheetah:.0f}, {brax_cheetah:.0f} (means of two to six seeds)",
        {
            "pendulum": beside_brax("inverted_pendulum", "purerl", at_least(500)),
            "brax_pendulum": Measure(at("inverted_pendulum", "brax", "mean", 0)),
            "reacher": beside_brax("reacher", "purerl", at_least(-150)),
            "brax_reacher": Measure(at("reacher", "brax", "mean", 0)),
            "hopper": beside_brax("hopper", "purerl", at_least(400)),
            "brax_hopper": Measure(at("hopper", "brax", "mean", 0)),
            "cheetah": beside_brax("halfcheetah", "purerl", at_least(1800)),
            "brax_cheetah": Measure(at("halfcheetah", "brax", "mean", 0)),
            "cheetah_ahead": Measure(
                difference(at("halfcheetah", "purerl", "mean", 0), at("halfcheetah", "brax", "mean", 0)), at_least(-300)
            ),
        },
        ("ppo",),
    ),
    Entry(
        "gymnasium_evaluation",
        "policies earn in Gymnasium what they earn in purerl",
        "of {policies:.0f} policies of PPO on CartPole, Acrobot, MountainCar and Pendulum, early, middle and final, "
        "Gymnasium's mean over 400 episodes is in purerl's 95 % interval for {inside:.0f} (ten or eleven are to be "
        "expected of equal worlds); the interval of the difference holds 0 for {agree:.0f}",
        {
            "policies": Measure(at("policies")),
            "inside": Measure(at("inside"), at_least(9)),
            "agree": Measure(at("agree"), at_least(11)),
        },
        ("ppo",),
    ),
)
