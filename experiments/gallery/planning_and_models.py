"""Experiments on planners, tree search and learned models."""

import numpy as np

from .entries import NO_BOUND, Entry, Measure, at, at_least, at_most, difference, median_of_steps, ratio, solved

PENDULUM = "brax/inverted_pendulum"
SWING = "mjx/cartpole_swingup"
STUDY = {"reacher": "mjx/planar_reacher", "peg": "mjx/peg_insertion", "canada2d": "mjx/canada2d"}


def planner(name: str, model_steps: int, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """The return of a planner that asks its model so often per action."""

    def read(numbers: dict) -> float:
        return next(row["return"] for row in numbers[name] if row["model steps per action"] == model_steps)

    return Measure(read, bounds)


def horizon(kind: str, steps: int, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """The return of planning so many steps ahead."""
    return Measure(lambda numbers: numbers[kind][numbers["horizons"].index(steps)][0], bounds)


def losses(simulations: int, bounds: tuple[float, float], quick: tuple[float, float] | None = None) -> Measure:
    """The share of games that UCT loses with the exploration constant 1.4."""
    return Measure(lambda n: n["loss rates"]["1.4"][n["simulations"].index(simulations)], bounds, quick)


def played(after: int, who: str, seed: int) -> Measure:
    """Games of tic-tac-toe lost by a seed of AlphaZero after so many moves."""

    def read(numbers: dict) -> float:
        game = numbers["game/tic_tac_toe"]
        return game[who][game["steps"].index(after)][seed]

    return Measure(read)


def share(problem: str, steps: int, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """Deviation of the gradient through the dynamics over that of the likelihood ratio."""

    def read(numbers: dict) -> float:
        i, rows = numbers["horizons"].index(steps), numbers["deviation"][problem]
        return rows["pathwise"][i] / rows["likelihood_ratio"][i]

    return Measure(read, bounds)


def until_solved(task: str, variant: str, bounds: tuple[float, float] = NO_BOUND) -> Measure:
    """Median steps to a threshold."""
    return Measure(median_of_steps(task, variant, "steps to threshold"), bounds)


def expansion(learner: str, bounds: tuple[float, float] = NO_BOUND, condition: str = "slow targets") -> Measure:
    """The mean of all evaluations of a way of looking ahead."""
    return Measure(at(condition, learner, "area", "value"), bounds)


def too_much(model: str, case: str) -> Measure:
    """Predicted less achieved return of plans, mean over fits."""

    def read(numbers: dict) -> float:
        predicted, achieved = numbers["exploitation"][model][case]
        return float(np.mean(predicted) - np.mean(achieved))

    return Measure(read)


def version(name: str, row: int, bounds: tuple[float, float]) -> Measure:
    """The mean return of a textbook version of planning in a fitted model, by the position of its evaluation."""
    return Measure(lambda numbers: float(np.mean(numbers["versions"][name]["returns"][row])), bounds)


def error_ten_steps_ahead(name: str) -> Measure:
    """The error of predictions ten steps ahead on one's own episodes, mean over seeds."""
    return Measure(lambda numbers: float(np.mean([seed[9] for seed in numbers["versions"][name]["errors"]])))


ENTRIES = (
    Entry(
        "planners_compared",
        "what each planner earns for what it asks of the true model",
        "Pendulum with the true model, 20 steps ahead, 100 starts, from which the optimum (dynamic programming) is "
        "{optimum:.0f}: iLQR {ilqr:.0f} with 300 model steps per action and {ilqr_more:.0f} with 1500, gradient ascent "
        "{gradient:.0f} with 1000, cross-entropy method {cem:.0f}, MPPI {mppi:.0f} and random shooting {shooting:.0f} "
        "with 20,000; collocation {collocation:.0f}: it stays near where its last plan was",
        {
            "optimum": Measure(at("optimal", "return"), (-139.0, -136.5)),
            "ilqr": planner("iLQR", 300, at_least(-160)),
            "ilqr_more": planner("iLQR", 1500, at_least(-152)),
            "gradient": planner("gradient ascent", 1020, at_least(-155)),
            "cem": planner("cross-entropy method", 20000, at_least(-158)),
            "mppi": planner("MPPI", 20000, at_least(-162)),
            "shooting": planner("random shooting", 20000, at_most(-180)),
            "collocation": planner("collocation", 6000),
        },
    ),
    Entry(
        "mpc_horizon",
        "how far ahead must one plan, and what planning anew forgives",
        "Pendulum with the true model, 5, 10, 15, 20 steps ahead: cross-entropy method {five:.0f}, {ten:.0f}, "
        "{fifteen:.0f}, {twenty:.0f}; with a fitted value at the end {v_five:.0f}, {v_ten:.0f}, {v_fifteen:.0f}, "
        "{v_twenty:.0f}; planning with 1.3 times the mass costs nothing when planned anew at every step ({anew:.0f}), "
        "in advance {wrong:.0f} instead of {right:.0f}",
        {
            "five": horizon("cross-entropy method", 5, at_most(-800)),
            "ten": horizon("cross-entropy method", 10),
            "fifteen": horizon("cross-entropy method", 15, at_least(-210)),
            "twenty": horizon("cross-entropy method", 20, at_least(-165)),
            "v_five": horizon("cross-entropy method, then V", 5, at_least(-190)),
            "v_ten": horizon("cross-entropy method, then V", 10),
            "v_fifteen": horizon("cross-entropy method, then V", 15),
            "v_twenty": horizon("cross-entropy method, then V", 20),
            "anew": Measure(at("wrong model", "1.3 times the mass, planned anew at every step", 0), at_least(-170)),
            "wrong": Measure(at("wrong model", "1.3 times the mass, planned in advance", 0), at_most(-900)),
            "right": Measure(at("wrong model", "true mass, planned in advance", 0)),
        },
    ),
    Entry(
        "search_depth",
        "search finds the best move, given simulations",
        "UCT loses against a perfect tic-tac-toe player {few:.1%} of games with 30 simulations a move, {many:.1%} with "
        "1000, {most:.1%} of 1000 games with 3000; on slippery FrozenLake its root value reaches {root:.2f} of V* = "
        "{best:.2f} after 30,000 simulations, with maximum backups {maximum:.2f} after 10,000",
        {
            "few": losses(30, at_least(0.2)),
            "many": losses(1000, at_most(0.02)),
            "most": losses(3000, at_most(0.002)),
            "root": Measure(lambda n: float(np.mean(n["root values"][-1])), at_least(0.3)),
            "best": Measure(at("best value"), (0.5420, 0.5421), (0.5420, 0.5421)),
            "maximum": Measure(lambda n: float(np.mean(n["maximum backups, root values"][-1])), (0.52, 0.56)),
        },
    ),
    Entry(
        "alphazero",
        "a search teaches its own prior and value",
        "tic-tac-toe by self-play against a perfect player, of 200 games: after 20,480 moves the search loses "
        "{first:.0f} and {second:.0f} (two seeds), the prior alone {prior_first:.0f} and {prior_second:.0f}; after "
        "81,920 the search loses {last:.0f}; CartPole ends at {best:.0f} on one seed and at {worst:.0f} on the other",
        {
            "first": played(20480, "search", 0),
            "second": played(20480, "search", 1),
            "prior_first": played(20480, "prior", 0),
            "prior_second": played(20480, "prior", 1),
            "last": Measure(
                lambda n: float(sum(n["game/tic_tac_toe"]["search"][n["game/tic_tac_toe"]["steps"].index(81920)])),
                (0, 0),
            ),
            "best": Measure(lambda n: max(n["CartPole-v1"]["search"][-1])),
            "worst": Measure(lambda n: min(n["CartPole-v1"]["search"][-1]), at_least(450)),
        },
        ("alphazero",),
    ),
    Entry(
        "gradient_through_model",
        "the chain rule through dynamics saves variance on short horizons and explodes where dynamics are chaotic",
        "deviation of the gradient through the true dynamics over that of the likelihood ratio: Pendulum {near:.3f} at "
        "10 steps, {far:.2f} at 200; a chaotic double pendulum {chaos_near:.4f} at 10, {chaos:.0f} at 100, "
        "{chaos_far:.1e} at 200. Pendulum in a learned model, 15 steps, after 5,000 real ones (three seeds): "
        "{through:.1f} [{through_low:.1f}, {through_high:.1f}] through the model, {ratio:.1f} [{ratio_low:.1f}, "
        "{ratio_high:.1f}] by the likelihood ratio",
        {
            "near": share("Pendulum", 10, at_most(0.2)),
            "far": share("Pendulum", 200, at_most(1.0)),
            "chaos_near": share("double pendulum", 10, at_most(0.1)),
            "chaos": share("double pendulum", 100, at_least(5)),
            "chaos_far": share("double pendulum", 200, at_least(1e4)),
            "through": Measure(at("final", "pathwise", "estimate", 0), at_least(-150)),
            "through_low": Measure(at("final", "pathwise", "estimate", 1)),
            "through_high": Measure(at("final", "pathwise", "estimate", 2)),
            "ratio": Measure(at("final", "likelihood_ratio", "estimate", 0), at_least(-150)),
            "ratio_low": Measure(at("final", "likelihood_ratio", "estimate", 1)),
            "ratio_high": Measure(at("final", "likelihood_ratio", "estimate", 2)),
        },
        ("model_policy_gradient", "apg"),
    ),
    Entry(
        "model_exploitation",
        "a search finds a model's errors (an ensemble does not help here)",
        "Pendulum, learned reward: plans in one network fitted to 50 random transitions promise {few:.0f} too much, "
        "with ten iterations of search {search:.0f}, after 500 transitions {many:.0f}; an ensemble promises more "
        "({ensemble:.0f}), not less; returns of the textbook's versions: v0.5 {half:.0f}, v1.0 {one:.0f}, v1.5 "
        "{three_halves:.0f} from 500 steps on, and refitting reduces errors ten steps ahead from {before:.2f} to "
        "{after:.2f}",
        {
            "few": too_much("one network", "50 transitions, 3 iterations"),
            "search": too_much("one network", "50 transitions, 10 iterations"),
            "many": too_much("one network", "500 transitions, 3 iterations"),
            "ensemble": too_much("ensemble of five", "50 transitions, 3 iterations"),
            "harder": Measure(
                difference(
                    too_much("one network", "50 transitions, 10 iterations").read,
                    too_much("one network", "50 transitions, 0 iterations").read,
                ),
                at_least(0),
            ),
            "worse": Measure(
                difference(
                    too_much("ensemble of five", "50 transitions, 3 iterations").read,
                    too_much("one network", "50 transitions, 3 iterations").read,
                ),
                at_least(0),
            ),
            "half": version("v0.5: fitted once", 1, at_most(-200)),
            "one": version("v1.0: refitted", 1, at_least(-200)),
            "three_halves": version("v1.5: refitted, planned anew", 1, at_least(-150)),
            "before": error_ten_steps_ahead("v0.5: fitted once"),
            "after": error_ten_steps_ahead("v1.0: refitted"),
            "saved": Measure(
                ratio(error_ten_steps_ahead("v0.5: fitted once").read, error_ten_steps_ahead("v1.0: refitted").read),
                at_least(2.0),
            ),
        },
        ("pets",),
    ),
    Entry(
        "pets_sample_efficiency",
        "planning in an ensemble needs fewer real steps than SAC with as many updates",
        "Pendulum, steps until greedy returns stay above -200, medians of ten fresh seeds: PETS {pets:.0f}, SAC with "
        "as many updates (8 a step) {sac:.0f}, with one {sac_one:.0f}; PETS needs at most half of SAC's steps on "
        "{seeds:.0f} of 10 seeds",
        {
            "pets": Measure(at("median", "PETS"), at_most(700)),
            "sac": Measure(at("median", "SAC, as many updates")),
            "sac_one": Measure(at("median", "SAC, 1 update")),
            "seeds": Measure(
                at("seeds of PETS with at most half the steps of SAC, as many updates", "the same seed"), at_least(8)
            ),
        },
        ("pets", "sac"),
    ),
    Entry(
        "mbpo_rollout_length",
        "imagined futures make SAC faster by the updates that they allow, and only long ones by more",
        "steps until solved, medians of five seeds, on the inverted pendulum and on Pendulum: SAC with one update per "
        "step {sac:.0f} and {sac_p:.0f}, with ten {ten:.0f} and {ten_p:.0f}; MBPO with ten and futures of one step "
        "{one:.0f} and {one_p:.0f}, of 25 steps {many:.0f} and {many_p:.0f}",
        {
            f"{short}{suffix}": until_solved(task, variant)
            for suffix, task in (("", PENDULUM), ("_p", "Pendulum-v1"))
            for short, variant in (
                ("sac", "SAC, 1 update"),
                ("ten", "SAC, 10 updates"),
                ("one", "MBPO, 1 step"),
                ("many", "MBPO, 25 steps"),
            )
        }
        | {
            "fewer": Measure(
                ratio(until_solved(PENDULUM, "SAC, 1 update").read, until_solved(PENDULUM, "MBPO, 1 step").read),
                at_least(3.0),
            ),
        },
        ("mbpo", "sac"),
    ),
    Entry(
        "naf_model_based_acceleration",
        "imagination makes NAF faster: on the cart-pole, not elsewhere, and under linear models nowhere",
        "median steps to a threshold on reacher, peg insertion and canada2d, eight seeds, at equal numbers of updates: "
        "NAF {naf_reacher:.0f}, {naf_peg:.0f}, {naf_canada2d:.0f}; imagining in the true model {true_reacher:.0f}, "
        "{true_peg:.0f}, {true_canada2d:.0f}, in linear models {linear_reacher:.0f}, {linear_peg:.0f}, "
        "{linear_canada2d:.0f} ({seeds:.0f} of 8 seeds; {seeds_off:.0f} of 8 if imagination ends after 1500 steps); "
        "with half of the updates NAF needs {half_reacher:.0f}, {half_peg:.0f}, {half_canada2d:.0f}; the cart-pole's "
        "swing is found by {naf_cart:.0f} of 8 seeds of NAF, with the true model by {true_cart:.0f} (median {cart:.0f} "
        "of 12,400 steps), with networks by {networks_cart:.0f}, with linear models by {linear_cart:.0f}",
        {
            f"{short}_{name}": until_solved(task, variant)
            for name, task in STUDY.items()
            for short, variant in (
                ("naf", "NAF, 10 updates"),
                ("true", "+ true model"),
                ("linear", "+ linear models"),
                ("half", "NAF, 5 updates"),
            )
        }
        | {
            "seeds": Measure(solved("mjx/canada2d", "+ linear models", "steps to threshold")),
            "seeds_off": Measure(solved("mjx/canada2d", "+ linear, switched off", "steps to threshold"), at_least(4)),
            "harm": Measure(
                difference(
                    solved("mjx/canada2d", "+ linear, switched off", "steps to threshold"),
                    solved("mjx/canada2d", "+ linear models", "steps to threshold"),
                ),
                at_least(2),
            ),
            "naf_cart": Measure(solved(SWING, "NAF, 10 updates", "steps to threshold"), at_most(4)),
            "true_cart": Measure(solved(SWING, "+ true model", "steps to threshold"), at_least(6)),
            "networks_cart": Measure(solved(SWING, "+ networks", "steps to threshold"), at_least(6)),
            "linear_cart": Measure(solved(SWING, "+ linear models", "steps to threshold")),
            "cart": until_solved(SWING, "+ true model", at_most(9_000)),
        },
        ("mba", "naf", "ddpg"),
    ),
    Entry(
        "value_expansion",
        "targets that look three imagined steps ahead learn faster, where targets are slow and values are small",
        "DDPG on Pendulum, mean of all evaluations over 5,000 steps, 8 seeds: one-step targets {one:.0f} (solved after "
        "a median of {one_steps:.0f} steps), three real steps {real:.0f}, three steps of the true model {true:.0f} "
        "({true_steps:.0f}), with values learned at the imagined states as well {td_k:.0f}, with noise in the target "
        "policy too {noise:.0f}; three steps of an ensemble {three:.0f} ({three_steps:.0f}), ten {ten:.0f}, STEVE "
        "{steve:.0f}; with fast targets {fast:.0f} for one step and {fast_true:.0f} for the true model's three, with "
        "rewards as they are {raw:.0f} and {raw_true:.0f}",
        {
            "one": expansion("DDPG", at_least(-750)),
            "one_steps": until_solved("slow targets", "DDPG"),
            "real": expansion("DDPG, 3 real steps"),
            "true": expansion("true model, 3 steps"),
            "true_steps": until_solved("slow targets", "true model, 3 steps"),
            "td_k": expansion("true model, 3 steps, TD-k"),
            "noise": expansion("true model, 3 steps, TD-k, noise"),
            "three": expansion("ensemble, 3 steps"),
            "three_steps": until_solved("slow targets", "ensemble, 3 steps"),
            "ten": expansion("ensemble, 10 steps"),
            "steve": expansion("STEVE, 0 to 5 steps"),
            "fast": expansion("DDPG", condition="fast targets"),
            "fast_true": expansion("true model, 3 steps", condition="fast targets"),
            "raw": expansion("DDPG", condition="fast targets, rewards as they are"),
            "raw_true": expansion("true model, 3 steps", condition="fast targets, rewards as they are"),
            "faster": Measure(
                ratio(
                    until_solved("slow targets", "DDPG").read, until_solved("slow targets", "true model, 3 steps").read
                ),
                at_least(1.5),
            ),
        }
        | {
            f"ahead_{i}": Measure(difference(expansion(ahead).read, expansion("DDPG").read), at_least(100))
            for i, ahead in enumerate(("true model, 3 steps", "ensemble, 3 steps", "STEVE, 0 to 5 steps"))
        },
        ("mve", "ddpg"),
    ),
)
