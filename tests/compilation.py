"""How the suite compiles: as cheaply as can be, and as users do where that will not do.

That is a long run, or a result that rounding decides.
"""

from importlib.metadata import version

# jaxlib 0.11 no longer has the flag, and ends the process that sets it.
FUSION_EMITTERS = tuple(int(part) for part in version("jaxlib").split(".")[:2]) < (0, 11)
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
AS_USERS = {"xla_backend_optimization_level": 1}  # as `purerl.run` does
if FUSION_EMITTERS:
    QUICK += " --xla_cpu_use_fusion_emitters=false"
    AS_USERS |= {"xla_cpu_use_fusion_emitters": True}
