"""Slow, obvious implementations of the backups, written from the equations.

The problems given to them should hold NumPy arrays (`slow(mdp)`): they look at one number at a time.
"""

import jax
import numpy as np


def slow(mdp):
    """The same problem with NumPy arrays."""
    return jax.tree.map(np.asarray, mdp)


def action_value(mdp, values, state, action, discount=None):
    """r + discount E V(s'), with V = 0 at terminal states and nothing after them."""
    total = 0.0
    for successor in range(mdp.num_states):
        after = 0.0 if mdp.terminal[successor] else float(values[successor])
        chance = float(mdp.transition[state, action, successor])
        discount = float(mdp.discount) if discount is None else discount
        total += chance * (float(mdp.reward[state, action, successor]) + discount * after)
    return total


def actions_of(mdp, state):
    return [a for a in range(mdp.num_actions) if mdp.available[state, a]]


def optimal_backup(mdp, values):
    return [
        0.0 if mdp.terminal[s] else max(action_value(mdp, values, s, a) for a in actions_of(mdp, s))
        for s in range(mdp.num_states)
    ]


def policy_backup(mdp, policy, values):
    return [
        0.0
        if mdp.terminal[s]
        else sum(float(policy[s, a]) * action_value(mdp, values, s, a) for a in actions_of(mdp, s))
        for s in range(mdp.num_states)
    ]


def q_backup(mdp, q_values):
    result = np.full((mdp.num_states, mdp.num_actions), -np.inf)
    best = [max(q_values[s][a] for a in actions_of(mdp, s)) for s in range(mdp.num_states)]
    for s in range(mdp.num_states):
        for a in actions_of(mdp, s):
            result[s, a] = 0.0 if mdp.terminal[s] else action_value(mdp, best, s, a)
    return result


def soft_backup(mdp, values, temperature):
    result = []
    for s in range(mdp.num_states):
        total = sum(np.exp(action_value(mdp, values, s, a) / temperature) for a in actions_of(mdp, s))
        result.append(0.0 if mdp.terminal[s] else temperature * np.log(total))
    return result


def optimistic_backup(mdp, values, temperature):
    result = []
    for s in range(mdp.num_states):
        total = 0.0
        for a in actions_of(mdp, s):
            for t in range(mdp.num_states):
                after = 0.0 if mdp.terminal[t] else float(values[t])
                outcome = float(mdp.reward[s, a, t]) + float(mdp.discount) * after
                total += float(mdp.transition[s, a, t]) * np.exp(outcome / temperature)
        result.append(0.0 if mdp.terminal[s] else temperature * np.log(total))
    return result


def posterior(mdp, horizon, temperature):
    """State marginals `[T + 1, S]` and first-step joint `[S, A]` by enumeration of every path."""
    marginals, joint = np.zeros((horizon + 1, mdp.num_states)), np.zeros((mdp.num_states, mdp.num_actions))

    def extend(path, actions, weight):
        state = path[-1]
        if weight == 0.0:
            return
        if len(actions) == horizon:
            for t, visited in enumerate(path):
                marginals[t, visited] += weight
            joint[path[0], actions[0]] += weight
            return
        for a in [0] if mdp.terminal[state] else actions_of(mdp, state):
            for t in range(mdp.num_states):
                factor = float(mdp.transition[state, a, t]) * np.exp(float(mdp.reward[state, a, t]) / temperature)
                extend([*path, t], [*actions, a], weight * factor)

    for first in range(mdp.num_states):
        extend([first], [], float(mdp.initial[first]))
    return marginals / marginals.sum(-1, keepdims=True), joint / joint.sum()
