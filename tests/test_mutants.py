"""Mutation: a flipped mask or sign in an operator or a loss makes the test that guards it fail.

A mutant is the source of a module with one piece of text replaced, executed under the module's name. Each must survive
import and then fail its guard; the unchanged source must pass it.
"""

import inspect
from functools import partial
from types import ModuleType

import pytest

from purerl import action_values, experience, interaction, rollout, trust_region
from purerl.algorithms.continuous_control import naf, qt_opt
from purerl.algorithms.model_based import alphazero, model_policy_gradient
from purerl.algorithms.policy_gradient import a2c, ppo, q_prop, reinforce, trpo
from purerl.algorithms.tabular import dyna_q, q_learning
from purerl.algorithms.value_based import dqn, fitted_iteration, pqn, r2d2
from purerl.distributions import bounded
from purerl.models import imagination, imagined_episodes
from purerl.networks import noisy, q_network, recurrent
from purerl.operators import (
    control_variate,
    distributional,
    least_squares,
    maximization,
    policy_gradient,
    positive_definite,
    q_lambda,
    quadratic,
    returns,
    score_function,
    sequence_returns,
    successor,
    temporal_difference,
    value_rescaling,
)
from purerl.operators import tabular as operators_tabular
from purerl.planning import (
    backups,
    linear_quadratic,
    policy_guided_search,
    prediction,
    shooting,
    soft_dynamic_programming,
    tree_search,
)
from purerl.replay import priorities, ranks, storage
from tests import test_action_values, test_distributions
from tests.algorithms import test_alphazero, test_model_policy_gradient, test_naf, test_qt_opt, test_r2d2
from tests.algorithms.test_a2c import check_stale_gradients
from tests.algorithms.test_fitted_iteration import check_one_hot_iterates
from tests.algorithms.test_q_prop import check_critic, check_gradient
from tests.algorithms.test_reinforce import check_padding
from tests.algorithms.test_tabular import check_planning, check_updates
from tests.algorithms.test_trpo import check_divergence
from tests.learning import probes
from tests.models import test_imagined_episodes
from tests.models.test_imagination import check_dreams, check_expansion, check_weighting
from tests.networks import test_q_network
from tests.networks.test_recurrent import check_episodes
from tests.operators import (
    checks,
    test_control_variate,
    test_distributional,
    test_least_squares,
    test_maximization,
    test_positive_definite,
    test_q_lambda,
    test_quadratic,
    test_returns,
    test_score_function,
    test_sequence_returns,
    test_successor,
    test_tabular,
    test_value_rescaling,
)
from tests.planning import checks as planning_checks
from tests.planning import test_linear_quadratic, test_planners, test_tree_search
from tests.replay.test_priorities import check_proportional, check_ranks
from tests.test_experience import check_transitions
from tests.test_hindsight import check_goals, check_newer, check_places
from tests.test_rollout import check_memoryless, check_recurrent
from tests.test_trust_region import check_bound, check_gain

dqn_truncation = partial(probes.check_values, algorithm="dqn", probe="probe/truncation")
dqn_successor = partial(probes.check_values, algorithm="dqn", probe="probe/successor")
dqn_constant = partial(probes.check_values, algorithm="dqn", probe="probe/constant")
pqn_successor = partial(probes.check_values, algorithm="pqn", probe="probe/successor")
shared_transitions = partial(check_transitions, n=4, shared=True, sampling="uniform")
stored_transitions = partial(check_transitions, n=4, shared=False, sampling="uniform")
whole_episodes, ended_episodes = (partial(check_goals, terminates=terminates) for terminates in (False, True))
ppo_action = partial(probes.check_return, algorithm="ppo", probe="probe/action", expected=1.0)

MUTANTS = [
    (returns, "jnp.where(terminated, 0.0, successor_value)", "successor_value", checks.generalized_advantage),
    (returns, "jnp.where(terminated,", "jnp.where(terminated | truncated,", checks.generalized_advantage),
    (returns, "(1.0 - (terminated | truncated))", "(1.0 - terminated)", checks.generalized_advantage),
    (returns, "(1.0 - (terminated | truncated))", "(1.0 - truncated)", checks.generalized_advantage),
    (returns, "successor_value) - value", "successor_value) + value", checks.generalized_advantage),
    (returns, "discount * trace_decay *", "trace_decay *", checks.generalized_advantage),
    (returns, "jnp.where(done, 0.0, running), running", "running, running", checks.running_discounted_return),
    (returns, "discount * running + reward", "running + reward", checks.running_discounted_return),
    (temporal_difference, "jnp.where(terminated, 0.0, jnp.max(", "(jnp.max(", checks.q_learning_target),
    (temporal_difference, "jnp.max(successor", "jnp.min(successor", checks.q_learning_target),
    (temporal_difference, "(error - 0.5 * clipped)", "(error + 0.5 * clipped)", checks.losses),
    (policy_gradient, "jnp.minimum(ratio", "jnp.maximum(ratio", checks.clipped_surrogate),
    (
        policy_gradient,
        "log_probability - old_log_probability)",
        "old_log_probability - log_probability)",
        checks.clipped_surrogate,
    ),
    (policy_gradient, "jnp.maximum(jnp.square", "jnp.minimum(jnp.square", checks.clipped_value_loss),
    (policy_gradient, "jnp.expm1(log_ratio) - log_ratio", "jnp.expm1(log_ratio) + log_ratio", checks.approximate_kl),
    (policy_gradient, "jnp.std(advantage)", "jnp.var(advantage)", checks.standardize),
    (
        dqn,
        "terminated=timestep.terminated,",
        "terminated=timestep.terminated | timestep.truncated,",
        dqn_truncation,
    ),
    (dqn, "else timestep.observation", "else environments_state.observation", dqn_successor),
    (dqn, "bellman(batch.reward,", "bellman(-batch.reward,", dqn_constant),
    (experience, "ended | lost[:, 1:]", "ended | lost[:, :-1]", shared_transitions),
    (experience, "valid = 1.0 - lost[:, 0]", "valid = 1.0 - 0.0 * lost[:, 0]", shared_transitions),
    (experience, "summed.steps - 1", "summed.steps * 0", stored_transitions),
    (experience, "onward = jax", "onward = -jax", whole_episodes),
    (experience, "replay.newer(batch.slots, written)", "hindsight.max_steps", whole_episodes),
    (experience, "jax.random.randint(steps_key, left.shape, 0, left + 1)", "left", whole_episodes),
    (experience, "same_episode, later.successor", "same_episode, later.observation", whole_episodes),
    (experience, "reward=jax.vmap(goals.reward)(successor),", "", whole_episodes),
    (experience, "jax.vmap(goals.replace)(batch.observation, goal)", "batch.observation", whole_episodes),
    (experience, "bernoulli(share_key, hindsight.fraction", "bernoulli(share_key, 0.5", whole_episodes),
    (experience, "later.episode_step == first", "later.episode_step != -first", ended_episodes),
    (storage, "(block // num_envs) - 1", "(block // num_envs)", check_newer),
    (interaction, "observation, running.episode_length", "observation, 0 * running.episode_length", check_places),
    (returns, "jnp.cumsum(done) - done == 0", "jnp.cumsum(done) == 0", test_returns.check_n_step_return),
    (
        returns,
        "jnp.any(used & terminated)",
        "jnp.any(used & (terminated | truncated))",
        test_returns.check_n_step_return,
    ),
    (
        returns,
        "jnp.where(terminated | truncated, 0.0, next_trace)",
        "jnp.where(terminated, 0.0, next_trace)",
        test_returns.check_retrace,
    ),
    (returns, "jnp.minimum(1.0, ratio)", "ratio", test_returns.check_retrace),
    (
        returns,
        "continuation = jnp.where(terminated, 0.0, successor_value)",
        "continuation = successor_value",
        test_returns.check_v_trace,
    ),
    (
        returns,
        "continuation = jnp.where(terminated,",
        "continuation = jnp.where(terminated | truncated,",
        test_returns.check_v_trace,
    ),
    (
        returns,
        "jnp.where(terminated | truncated, 0.0, 1.0)",
        "jnp.where(terminated, 0.0, 1.0)",
        test_returns.check_v_trace,
    ),
    (returns, "trace * jnp.minimum(trace_clip, ratio)", "trace * ratio", test_returns.check_v_trace),
    (returns, "jnp.minimum(ratio_clip, ratio) * td_error", "ratio * td_error", test_returns.check_v_trace),
    (returns, "trace * next_correction", "factor * next_correction", test_returns.check_v_trace),
    (
        returns,
        "earlier[0] + earlier[1] * later[0]",
        "earlier[0] + later[1] * later[0]",
        test_returns.check_backward_recurrence,
    ),
    (bounded, "- jnp.sum(2.0 *", "+ jnp.sum(2.0 *", test_distributions.check_tanh_density),
    (bounded, "softplus(-2.0 * u)", "softplus(2.0 * u)", test_distributions.check_tanh_density),
    (bounded, "2.0 * jnp.log(2.0) - 2.0 * expected", "-2.0 * expected", test_distributions.check_tanh_entropy),
    (
        policy_gradient,
        "jnp.where(kl < target / 1.5, 0.5,",
        "jnp.where(kl < target / 1.5, 2.0,",
        checks.adaptive_coefficient,
    ),
    (policy_gradient, "step_size * (kl - target)", "step_size * (target - kl)", checks.dual_ascent),
    (priorities, "jnp.where(written >= back, fresh, empty)", "fresh", check_proportional),
    (priorities, "(written - back) % blocks", "written % blocks", check_proportional),
    (ranks, "-jnp.abs(surprise)", "jnp.abs(surprise)", check_ranks),
    (ranks, "by_rank, leaves[slots])", "by_rank, 1.0)", check_ranks),
    (q_lambda, "jnp.where(terminated, 0.0, following)", "following", test_q_lambda.check),
    (q_lambda, "jnp.where(truncated, successor_value, following)", "following", test_q_lambda.check),
    (recurrent, "memory = trees.where(reset,", "memory = trees.where(~reset,", check_episodes),
    (
        recurrent,
        "(1.0 - keep) * candidate + keep * hidden",
        "keep * candidate + (1.0 - keep) * hidden",
        check_episodes,
    ),
    (pqn, "successor=timestep.observation", "successor=environments_state.observation", pqn_successor),
    (
        distributional,
        "jnp.clip(target_support, support[0], support[-1])",
        "target_support",
        test_distributional.projection,
    ),
    (
        distributional,
        "levels[:, None] - (error < 0.0)",
        "levels[:, None] - (error > 0.0)",
        test_distributional.quantile_huber,
    ),
    (
        distributional,
        "jnp.cumsum(probabilities) - probabilities",
        "jnp.cumsum(probabilities)",
        test_distributional.conditional_value_at_risk,
    ),
    (
        action_values,
        "discount[..., None] * self.support",
        "self.support",
        test_action_values.categorical_return,
    ),
    (
        action_values,
        "self.values, self.levels, target.values",
        "target.values, self.levels, self.values",
        test_action_values.quantile_return,
    ),
    (q_network, "jnp.mean(advantage, axis=-2", "jnp.mean(advantage, axis=-1", test_q_network.dueling_equation),
    (q_network, "scale_gradient(x, 2**-0.5)", "scale_gradient(x, 1.0)", test_q_network.dueling_gradient),
    (q_network, "jnp.cos(jnp.pi * jnp.arange", "jnp.cos(jnp.arange", test_q_network.implicit_quantiles),
    (noisy, "y + noise_out * (", "y + (", test_q_network.noise_moments),
    (
        r2d2,
        "jnp.concatenate([jnp.zeros_like(done[:1]), done[:-1]])",
        "done",
        test_r2d2.check_one_update,
    ),
    (
        r2d2,
        "_, target_values = unroll(target_params, memory, steps)",
        "_, target_values = unroll(params, memory, steps)",
        test_r2d2.check_one_update,
    ),
    (
        r2d2,
        "memory = trees.where(done, jax.tree.map(jnp.zeros_like, memory), memory)",
        "",
        test_r2d2.check_stored_memories,
    ),
    (
        sequence_returns,
        "truncated[:-1] | lost[1:]",
        "truncated[:-1]",
        test_sequence_returns.check_returns_without_successors,
    ),
    (value_rescaling, "+ scale * value", "- scale * value", test_value_rescaling.check_against_the_paper),
    (operators_tabular, "jnp.where(terminated, 0.0, successor_value)", "successor_value", test_tabular.check_target),
    (
        q_learning,
        "terminated=timestep.terminated",
        "terminated=timestep.terminated | timestep.truncated",
        partial(check_updates, rule="q_learning"),
    ),
    (
        q_learning,
        "values[1 - transition.table",
        "values[transition.table",
        partial(check_updates, rule="double_q_learning"),
    ),
    (dyna_q, "draws, pairs.ravel()", "draws, available.ravel()", partial(check_planning, bonus=0.0, untried=False)),
    (
        least_squares,
        "block_features(successor_features, successor_policy)",
        "block_features(successor_features, chosen)",
        test_least_squares.check_lstdq,
    ),
    (
        successor,
        "discount * jnp.where(terminated, 0.0, successor)",
        "discount * successor",
        test_successor.check_targets,
    ),
    (
        fitted_iteration,
        "(dataset.reward, dataset.terminated, values",
        "(dataset.reward, dataset.terminated | dataset.truncated, values",
        check_one_hot_iterates,
    ),
    (
        backups,
        "mdp.transition @ jnp.where(mdp.terminal, 0.0, values)",
        "mdp.transition @ values",
        planning_checks.hard_backups,
    ),
    (backups, "+ mdp.discount * continuation", "+ continuation", planning_checks.hard_backups),
    (
        soft_dynamic_programming,
        "jnp.where(mdp.terminal, 0.0, temperature * logsumexp(",
        "(temperature * logsumexp(",
        planning_checks.soft_backups,
    ),
    (positive_definite, "/ divisor, 0.0)", "* divisor, 0.0)", test_positive_definite.check_systems),
    (
        linear_quadratic,
        "cost.cross + b.T @ ahead @ a",
        "b.T @ ahead @ a",
        test_linear_quadratic.check_against_optimisation,
    ),
    (
        linear_quadratic,
        "jnp.sum(ahead * covariance)",
        "jnp.sum(value.matrix * covariance)",
        test_linear_quadratic.check_against_optimisation,
    ),
    (
        linear_quadratic,
        "pull = ahead @ offset + discount * value.slope",
        "pull = ahead @ offset + value.slope",
        test_linear_quadratic.check_against_optimisation,
    ),
    (prediction, "discount * ~timestep.terminated", "discount", test_planners.check_returns),
    (
        prediction,
        "* ~timestep.terminated",
        "* ~(timestep.terminated | timestep.truncated)",
        test_planners.check_returns,
    ),
    (prediction, "jnp.where(weight > 0, weight * value(", "jnp.where(weight > 0, value(", test_planners.check_returns),
    (shooting, "jax.lax.top_k(earn(", "jax.lax.top_k(-earn(", test_planners.check_cem),
    (
        tree_search,
        "reward + sign * discount * carry.worth",
        "reward + discount * carry.worth",
        test_tree_search.check_tactics,
    ),
    (tree_search, "jnp.any(row == 1), -1,", "jnp.any(row == 1), 1,", test_tree_search.check_tactics),
    (imagination, "discount * (1.0 - later.terminated)", "discount + 0.0 * later.reward", check_expansion),
    (imagination, "backward_recurrence(reward, goes_on)", "reward", check_expansion),
    (imagination, "trust = 1.0 / (variance + 1e-8)", "trust = variance", check_weighting),
    (imagination, "jnp.cumsum(so_far * reward", "jnp.cumsum(reward", check_weighting),
    (imagination, "alive & ~timestep.terminated), row", "alive), row", check_dreams),
    (imagination, "((written % blocks) * block - 1 - order) % capacity", "order % capacity", check_dreams),
    (tree_search, "best = jnp.max(", "best = jnp.min(", test_tree_search.check_lake),
    (tree_search, "counts * tree.chances.values", "tree.chances.values", test_tree_search.check_lake),
    (policy_guided_search, "-discount if game else discount", "discount", test_alphazero.check_signs),
    (policy_guided_search, "jnp.where(over, 0.0, timestep.reward)", "timestep.reward", test_alphazero.check_ends),
    (policy_guided_search, "jnp.where(timestep.terminated, 0.0, step_", "(step_", test_alphazero.check_ends),
    (policy_guided_search, "jnp.where(over, 1.0, jnp", "jnp.where(over, 0.5, jnp", test_alphazero.check_ends),
    (
        policy_guided_search,
        "jnp.min(values, initial=jnp.inf, where=known)",
        "jnp.min(q[node])",
        test_alphazero.check_walks,
    ),
    (policy_guided_search, "q[node], tree.node_values[node]", "q[node], low", test_alphazero.check_walks),
    (alphazero, "sign * config.discount", "config.discount", test_alphazero.check_self_play),
    (alphazero, "| moves.truncated | last", "| last", test_alphazero.check_targets),
    (alphazero, "search_value, -1, axis=0", "search_value, 0, axis=0", test_alphazero.check_targets),
    (ppo, "total = -objective", "total = objective", ppo_action),
    (
        rollout,
        "acted = (raw,",
        "timestep = timestep._replace(observation=environments_state.observation); acted = (raw,",
        check_memoryless,
    ),
    (
        rollout,
        "terminated=timestep.terminated",
        "terminated=timestep.terminated | timestep.truncated",
        check_memoryless,
    ),
    (rollout, "advantage + rollout.value,", "advantage,", check_memoryless),
    (rollout, "memory, reset[None])", "memory, jnp.zeros_like(reset)[None])", check_recurrent),
    (rollout, "goes_on = jnp.zeros(", "goes_on = jnp.ones(", check_recurrent),
    (trust_region, "(gain > 0.0) & (kl <= config.max_kl)", "(gain > 0.0)", check_bound),
    (trust_region, "(gain > 0.0) & (kl <= config.max_kl)", "(kl <= config.max_kl)", check_gain),
    (trpo, "old.kl(distribution(actor_params))", "distribution(actor_params).kl(old)", check_divergence),
    (control_variate, " + control.eta * expected", "", test_control_variate.check_unbiased),
    (control_variate, "* (action - mean)", "* action", test_control_variate.check_linear_advantage),
    (control_variate, "jnp.maximum(sign, 0.0)", "jnp.abs(sign)", test_control_variate.check_weights),
    (q_prop, " / (jnp.std(estimated) + 1e-8)", "", check_gradient),
    (q_prop, "terminated=rollout.terminated,", "terminated=rollout.terminated | rollout.truncated,", check_critic),
    (a2c, "optimizer, shared.params,", "optimizer, params,", check_stale_gradients),
    (reinforce, "mask = until_done(", "mask = jnp.ones_like(", check_padding),
    (score_function, "jnp.full_like(earned, discount)", "jnp.ones_like(earned)", test_score_function.check_returns),
    (score_function, "return before + behind", "return before", test_score_function.check_baselines),
    (score_function, "counted = mask", "counted = jnp.ones_like(mask)", test_score_function.check_baselines),
    (score_function, "jnp.exp(so_far[-1])", "jnp.exp(so_far[0])", test_score_function.check_ratios),
    (quadratic, "-0.5 * jnp.sum", "0.5 * jnp.sum", test_quadratic.check_quadratic),
    (quadratic, "...ij,...i->...j", "...ij,...j->...i", test_quadratic.check_quadratic),
    (quadratic, "jnp.where(diagonal, jnp.exp(", "jnp.where(diagonal, (", test_quadratic.check_quadratic),
    (naf, "batch.reward + batch.discount *", "batch.reward - batch.discount *", test_naf.check_iteration),
    (naf, "quadratic(learner.target_params,", "quadratic(learner.params,", test_naf.check_iteration),
    (
        naf,
        "(learner.params, learner.target_params,",
        "(learner.target_params, learner.params,",
        test_naf.check_iteration,
    ),
    (maximization, "jnp.maximum(jnp.std(", "jnp.minimum(jnp.std(", test_maximization.check_cross_entropy),
    (maximization, "jax.lax.top_k(values,", "jax.lax.top_k(-values,", test_maximization.check_cross_entropy),
    (
        maximization,
        "jnp.clip(mean + spread * jax.random.normal(key, (samples, size)), -1.0, 1.0)",
        "(mean + spread * jax.random.normal(key, (samples, size)))",
        test_maximization.check_the_box,
    ),
    (maximization, "jnp.where(pressed, 0.0, gradient)", "gradient", test_maximization.check_gradient),
    (maximization, "actions + step * gradient", "actions - step * gradient", test_maximization.check_gradient),
    (qt_opt, "jnp.minimum(value, q(", "jnp.maximum(value, q(", test_qt_opt.check_iteration),
    (qt_opt, "batch.reward + batch.discount *", "batch.reward +", test_qt_opt.check_iteration),
    (qt_opt, "learner.average, learner.lagged)", "learner.lagged, learner.lagged)", test_qt_opt.check_lag),
    (
        imagined_episodes,
        "jnp.where(alive, timestep.reward, 0.0)",
        "timestep.reward",
        test_imagined_episodes.check_masks,
    ),
    (imagined_episodes, "timestep.terminated | ~alive", "timestep.terminated", test_imagined_episodes.check_masks),
    (imagined_episodes, "timestep.truncated & alive", "timestep.truncated", test_imagined_episodes.check_masks),
    (imagined_episodes, "~(terminated | truncated)", "~terminated", test_imagined_episodes.check_masks),
    (imagined_episodes, "trees.where(alive, reached, still)", "reached", test_imagined_episodes.check_masks),
    (imagined_episodes, "weight = alive * discount", "weight = discount", test_imagined_episodes.check_masks),
    (imagined_episodes, "return reward_to_go - others", "return others", test_imagined_episodes.check_expectations),
    (
        imagined_episodes,
        "advantage * log_probability, axis=0",
        "-advantage * log_probability, axis=0",
        test_imagined_episodes.check_expectations,
    ),
    (
        model_policy_gradient,
        "reward, termination, config.propagation",
        "reward, None, config.propagation",
        test_model_policy_gradient.check_values,
    ),
    (
        model_policy_gradient,
        "return advantage, advantage + before",
        "return advantage, advantage",
        test_model_policy_gradient.check_values,
    ),
    (
        model_policy_gradient,
        "return -surrogate / config.horizon",
        "return surrogate / config.horizon",
        test_model_policy_gradient.check_action,
    ),
    (score_function, "/ mask.shape[1]", "/ jnp.sum(mask)", test_score_function.check_surrogate),
]


def mutant(module: ModuleType, old: str, new: str) -> ModuleType:
    """The module with the first `old` in its source replaced by `new`; the installed module is untouched."""
    source = inspect.getsource(module)
    assert old in source, f"{module.__name__} no longer contains {old!r}: update the mutant"
    changed = ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(source.replace(old, new, 1), f"<mutant of {module.__name__}>", "exec"), changed.__dict__)
    return changed


@pytest.mark.parametrize(("module", "old", "new", "guard"), MUTANTS, ids=range(len(MUTANTS)))
def test_the_guard_catches_the_mutant(module, old, new, guard):
    with pytest.raises(AssertionError):
        guard(mutant(module, old, new))


MODULES = {module.__name__: module for module, *_ in MUTANTS}


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_the_source_itself_passes_its_guards(module):
    unchanged = mutant(module, "import", "import")
    for guard in {guard for guarded, _, _, guard in MUTANTS if guarded is module}:
        guard(unchanged)
