"""Probability distributions over actions: pytrees of their parameters, safe under `vmap`, `jit` and `grad`.

Every one has, over any batch shape `[...]`,

    sample(key)          a draw x
    mode()               the likeliest x (or what its docstring says)
    log_probability(x)   log p(x), `[...]`
    entropy()            `[...]`, in nats
    kl(other)            KL(self || other), `[...]`, `other` of the same kind
    action(x)            the action that the environment gets for x

where `action` is the identity but for those that squash: there x is what a rollout stores.
"""

from purerl.distributions.bounded import Beta, TanhGaussian
from purerl.distributions.discrete import Categorical, MultiCategorical
from purerl.distributions.gaussian import DiagonalGaussian
from purerl.distributions.mixture import GaussianMixture

__all__ = [
    "Beta",
    "Categorical",
    "DiagonalGaussian",
    "Distribution",
    "GaussianMixture",
    "MultiCategorical",
    "TanhGaussian",
]

Distribution = Categorical | MultiCategorical | DiagonalGaussian | TanhGaussian | Beta | GaussianMixture
