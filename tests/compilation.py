"""How to compile where the suite's cheapest compilation will not do: a long run, or a result that rounding decides."""

AS_USERS = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": True}  # as `purerl.run` does
