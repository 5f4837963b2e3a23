"""Recurrent cores: a memory carried along time and cut where an episode ended, and the Q network built on one.

Every array has time first: features `[T, B, F]`, resets `[T, B]`. `resets[t]` says that step t begins an episode, which
is the `terminated | truncated` of the step *before* it: the memory is zero when step t is consumed, so that nothing of
one episode reaches the next, wherever in a sequence the border lies.

Observations only: a policy that must see its last action or reward gets them from the environment
(`with_last_action_and_reward`), since `Policy.act` knows neither.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from purerl import trees
from purerl.networks.initializers import orthogonal
from purerl.networks.torsos import as_features, torso
from purerl.types import Array, Key, Memory, Space

Core = Literal["none", "gru", "lstm"]


def initial_memory(kind: Core, width: int, batch_shape: Sequence[int]) -> Memory:
    """The memory at the beginning of an episode: zeros `[*batch_shape, width]`, two of them for an LSTM, `()` for none.

    An LSTM's are (cell, output).
    """
    if kind == "none":
        return ()
    zeros = jnp.zeros((*batch_shape, width))
    return (zeros, zeros) if kind == "lstm" else zeros


class RecurrentCore(nn.Module):
    """A gated recurrent unit or a long short-term memory, unrolled over time.

    GRU (Cho et al., 2014), memory h:

        r = sigma(x W_r + h U_r + b_r),    z = sigma(x W_z + h U_z + b_z)
        n = tanh(x W_n + b_n + r (h U_n + c_n)),    h' = (1 - z) n + z h

    LSTM (Hochreiter & Schmidhuber, 1997; Gers et al., 2000), memory (c, h):

        i, f, o = sigma(x W + h U + b) each,    g = tanh(x W_g + h U_g + b_g)
        c' = f c + i g,    h' = o tanh(c')

    The gate that keeps the memory (z, f) starts with the bias `retention`, so that memories last when learning begins
    (Jozefowicz et al., 2015).
    """

    kind: Literal["gru", "lstm"]
    width: int
    retention: float = 1.0

    @nn.nowrap
    def initial_memory(self, batch_shape: Sequence[int]) -> Memory:
        """Zeros `[*batch_shape, width]`; for an LSTM a tuple of two."""
        return initial_memory(self.kind, self.width, batch_shape)

    @nn.compact
    def __call__(self, memory: Memory, features: Array, resets: Array) -> tuple[Memory, Array]:
        """Consume `features` `[T, B, F]` one after another.

        Args:
            memory: what was there before the first step, each `[B, width]`.
            features: `[T, B, F]`.
            resets: bool `[T, B]`: the memory is set to zero *before* step t is consumed.

        Returns the memory after the last step and the outputs `[T, B, width]`. There may be any number of batch axes.
        """
        chex.assert_type(resets, bool)
        chex.assert_equal_shape([features[..., 0], resets])
        gates = 3 if self.kind == "gru" else 4
        projected = nn.Dense(gates * self.width, bias_init=self._bias, name="input")(features)  # of all steps at once
        kernel = self.param("recurrent", partial(_orthogonal_gates, gates=gates), (self.width, gates * self.width))
        cell = partial(_lstm, kernel)
        if self.kind == "gru":
            cell = partial(_gru, kernel, self.param("candidate_bias", nn.initializers.zeros, (self.width,)))

        def step(memory: Memory, inputs: tuple[Array, Array]) -> tuple[Memory, Array]:
            projected, reset = inputs
            memory = trees.where(reset, jax.tree.map(jnp.zeros_like, memory), memory)
            return cell(memory, projected)

        return jax.lax.scan(step, memory, (projected, resets))

    def _bias(self, key: Key, shape: Sequence[int], dtype=jnp.float32) -> Array:
        """`retention` for the second gate (z or f), zero for the others."""
        return jnp.zeros(shape, dtype).at[self.width : 2 * self.width].set(self.retention)


class RecurrentQNetwork(nn.Module):
    """Q(history, .): torso, recurrent core, and a head of action values, all `[T, B, ...]`.

    With `core="none"` it is an ordinary Q network whose memory is `()`. `dueling` splits the head into a state value
    and advantages, Q = V + A - mean_a A (Wang et al., 2016). The last layer starts small: the first targets are
    rewards.
    """

    observation_space: Space
    num_actions: int
    widths: Sequence[int]
    activation: str = "relu"
    layer_norm: bool = False
    core: Core = "gru"
    core_width: int = 64
    dueling: bool = False

    @nn.nowrap
    def initial_memory(self, batch_shape: Sequence[int]) -> Memory:
        """The memory at the beginning of an episode."""
        return initial_memory(self.core, self.core_width, batch_shape)

    @nn.compact
    def __call__(self, memory: Memory, observation: Array, resets: Array) -> tuple[Memory, Array]:
        """The memory after the last observation and the values `[T, B, A]`.

        `observation` is `[T, B, ...]`; `resets` (bool `[T, B]`) marks the steps that begin an episode.
        """
        x = as_features(observation, self.observation_space)
        x = torso(self.observation_space, self.widths, self.activation, self.layer_norm)(x)
        if self.core != "none":
            memory, x = RecurrentCore(self.core, self.core_width, name="core")(memory, x, resets)
        values = nn.Dense(self.num_actions, kernel_init=orthogonal(0.01), name="advantage")(x)
        if self.dueling:
            state_value = nn.Dense(1, kernel_init=orthogonal(0.01), name="value")(x)
            values = state_value + values - jnp.mean(values, axis=-1, keepdims=True)
        return memory, values


def _gru(kernel: Array, candidate_bias: Array, hidden: Array, projected: Array) -> tuple[Memory, Array]:
    """One step of a GRU: `projected` `[B, 3 width]` is `x W + b` of its gates r, z, n."""
    input_r, input_z, input_n = jnp.split(projected, 3, axis=-1)
    recurrent_r, recurrent_z, recurrent_n = jnp.split(hidden @ kernel, 3, axis=-1)
    reset, keep = nn.sigmoid(input_r + recurrent_r), nn.sigmoid(input_z + recurrent_z)
    candidate = jnp.tanh(input_n + reset * (recurrent_n + candidate_bias))
    hidden = (1.0 - keep) * candidate + keep * hidden
    return hidden, hidden


def _lstm(kernel: Array, memory: tuple[Array, Array], projected: Array) -> tuple[Memory, Array]:
    """One step of an LSTM: `projected` `[B, 4 width]` is `x W + b` of its gates i, f, g, o."""
    cell, hidden = memory
    write, keep, candidate, read = jnp.split(projected + hidden @ kernel, 4, axis=-1)
    cell = nn.sigmoid(keep) * cell + nn.sigmoid(write) * jnp.tanh(candidate)
    hidden = nn.sigmoid(read) * jnp.tanh(cell)
    return (cell, hidden), hidden


def _orthogonal_gates(key: Key, shape: tuple[int, int], dtype=jnp.float32, *, gates: int) -> Array:
    """An orthogonal square matrix for every gate, side by side."""
    width = shape[0]
    kernels = [orthogonal()(one, (width, width), dtype) for one in jax.random.split(key, gates)]
    return jnp.concatenate(kernels, axis=1)
