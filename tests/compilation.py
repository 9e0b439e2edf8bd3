"""How the suite compiles: with little optimisation, since it spends nearly all its time in the compiler.

Most programs here run once or twice. Without the backend's optimisations the suite takes two thirds of its time; what
is computed is the same up to rounding. Tests of the compiled program itself (memory, copies) ask for what users get.
`XLA_FLAGS=--xla_force_host_platform_device_count=4 make test` runs all tests on fully optimised programs.
"""

from importlib.metadata import version

FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
SHIPPED = {"xla_backend_optimization_level": 3}
if version("jaxlib").startswith("0.10."):  # later ones have one kind of fusion only, and end at a flag they do not know
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
    SHIPPED |= {"xla_cpu_use_fusion_emitters": True}


def devices(count: int) -> str:
    """Return the flags of a process with so many virtual devices."""
    return f"--xla_force_host_platform_device_count={count} {FLAGS}"
