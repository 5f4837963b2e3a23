"""Slow, obvious implementations of the operators, in NumPy, one trajectory or one number at a time.

Each is written from the equation and in another way than the operator it checks: a sum where that has a recursion.
"""

import numpy as np


def trajectory(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """A random trajectory with terminations, truncations and steps that are both."""
    terminated = rng.random(length) < 0.2
    return {
        "reward": rng.normal(size=length).astype(np.float32),
        "value": rng.normal(size=length).astype(np.float32),
        "successor_value": rng.normal(size=length).astype(np.float32),
        "terminated": terminated,
        "truncated": (rng.random(length) < 0.2) & ~terminated,
    }


def generalized_advantage(reward, value, successor_value, terminated, truncated, discount, trace_decay):
    """A_t = sum over the n-step errors of the rest of the episode: the definition as an O(T^2) sum."""
    length = len(reward)
    advantage = np.zeros(length)
    for t in range(length):
        weight = 1.0
        for k in range(t, length):
            bootstrap = 0.0 if terminated[k] else successor_value[k]
            advantage[t] += weight * (reward[k] + discount * bootstrap - value[k])
            if terminated[k] or truncated[k]:
                break
            weight *= discount * trace_decay
    return advantage


def running_discounted_return(initial, reward, done, discount):
    """G_t = sum of discount^(t - k) r_k over the episode so far, and the initial sum while the first one lasts."""
    length = len(reward)
    result = np.zeros(length)
    for t in range(length):
        start = t
        while start > 0 and not done[start - 1]:
            start -= 1
        result[t] = sum(discount ** (t - k) * reward[k] for k in range(start, t + 1))
        if start == 0:
            result[t] += discount ** (t + 1) * initial
    return result


def q_learning_target(reward, terminated, successor_values, discount):
    if terminated:
        return reward
    return reward + discount * max(successor_values)


def huber(error, delta):
    if abs(error) <= delta:
        return error**2 / 2
    return delta * (abs(error) - delta / 2)


def clipped_surrogate(log_probability, old_log_probability, advantage, clip):
    total = 0.0
    for new, old, a in zip(log_probability, old_log_probability, advantage, strict=True):
        ratio = np.exp(new) / np.exp(old)
        if a >= 0:
            total += min(ratio, 1 + clip) * a
        else:
            total += max(ratio, 1 - clip) * a
    return total / len(advantage)


def clipped_value_loss(value, old_value, target, clip):
    total = 0.0
    for new, old, goal in zip(value, old_value, target, strict=True):
        near = min(max(new, old - clip), old + clip)
        total += max((new - goal) ** 2, (near - goal) ** 2) / 2
    return total / len(value)


def approximate_kl(log_probability, old_log_probability):
    ratio = np.exp(log_probability) / np.exp(old_log_probability)
    return np.mean(ratio - 1 - np.log(ratio))
