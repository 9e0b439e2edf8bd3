"""Compile programs that are run once or twice: several times faster than `jax.jit`, the programs slower."""

import functools

import jax

OPTIONS = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


@functools.cache
def options():
    """Return the options, or none where this version of XLA does not know them."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=OPTIONS)(0.0)
    except jax.errors.JaxRuntimeError:
        return None
    return OPTIONS


def quick(function):
    """Return the function, compiled in little time."""
    return jax.jit(function, compiler_options=options())
