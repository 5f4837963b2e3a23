"""Train in brax: agents one after the other, each in groups of iterations, of which the first compiles.

A training's seconds are those of as many later groups. Compiling is the rest, without brax's own evaluations, which
judge the policy between groups by the action of the mode. SAC's warm-up is in the time of compiling, and its steps are
not counted.
"""

from functools import partial

from common import read_job, report, timed
from replicated import restore_device_put_replicated
from translations import for_brax

restore_device_put_replicated()

from brax import envs  # noqa: E402
from brax.training.agents.ppo import networks as ppo_networks  # noqa: E402
from brax.training.agents.ppo import train as ppo  # noqa: E402
from brax.training.agents.sac import networks as sac_networks  # noqa: E402
from brax.training.agents.sac import train as sac  # noqa: E402
from flax import linen  # noqa: E402

GROUPS = 4
job = read_job()
setting, fields, name = job.setting, job.setting["fields"], job.setting["algorithm"]
environment = envs.get_environment(setting["environment"].removeprefix("brax/"), backend="spring")
shared = {"activation": getattr(linen, fields["activation"])}
if name == "ppo":
    sizes = {f"{part}_hidden_layer_sizes": tuple(fields["widths"]) for part in ("policy", "value")}
    factory = partial(ppo_networks.make_ppo_networks, **sizes, **shared)
else:
    factory = partial(sac_networks.make_sac_networks, hidden_layer_sizes=tuple(fields["widths"]), **shared)


def learn(seed: int) -> tuple[int, float, float, float]:
    """Steps, seconds to compile and to run, and the last policy's return."""
    marks = []
    _, whole = timed(
        lambda: {"ppo": ppo, "sac": sac}[name].train(
            environment,
            num_timesteps=setting["steps"],
            episode_length=1000,
            num_evals=GROUPS + 1,
            num_eval_envs=job.episodes,
            deterministic_eval=True,
            network_factory=factory,
            progress_fn=lambda step, metrics: marks.append((step, metrics)),
            seed=seed,
            **for_brax(setting),
        )
    )
    (_, _), (_, first), *_, (steps, last) = marks
    running = (last["training/walltime"] - first["training/walltime"]) * GROUPS / (GROUPS - 1)
    judging = float(last["eval/walltime"])
    return steps, whole - running - judging, running, float(last["eval/episode_reward"])


found = [learn(seed) for seed in range(job.seed, job.seed + job.agents)]
steps = found[0][0] - fields.get("warm_up_steps", 0)
report(found[0][1], sum(row[2] for row in found), steps, [row[3] for row in found])
