#!/usr/bin/env bash
# jax and jaxlib 0.10.2 on CPU, Linux: every compiled program holds some ten memory maps for as long as it is cached.
#
# Most expect a compiled program to cost a few kilobytes, and that JAX's caches, which keep thousands of them, can at
# worst fill the memory. But each kernel's code lies in mappings of its own, and Linux lets a process have 65,530
# (`vm.max_map_count`). Some thousands of programs reach that while gigabytes are free, and what comes next is no error:
# whatever maps memory then fails, and the process ends with a segmentation fault at a place that has nothing to do
# with it (seen in a test suite with jaxlib 0.12.0.1, inside the writing of the cache of compiled programs; its other
# worker held 49,628). It matters where one process compiles much: test suites, sweeps over shapes or static
# arguments, notebooks that live for weeks, servers. `jax.clear_caches()` gives the maps back, as do functions that
# nothing refers to any more once they are collected, which those of modules, fixtures and caches never are. Count the
# lines of /proc/self/maps.
#
# Exit status 0 while that is so, 1 once a program holds fewer than five maps or clearing does not free them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import gc
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib

PROGRAMS = 150


def maps():
    return Path("/proc/self/maps").read_bytes().count(b"\n")


def power(times):
    def of(x):
        for _ in range(8):
            x = jnp.sin(x) @ x + times
        return x, jnp.sum(x)

    return jax.jit(of)


limit = int(Path("/proc/sys/vm/max_map_count").read_text())
x = jnp.ones((4, 4))
power(0)(x)
before = maps()
kept = [power(n) for n in range(1, PROGRAMS + 1)]
for function in kept:
    function(x)
each = (maps() - before) / PROGRAMS
kept.clear()
gc.collect()
dropped = (maps() - before) / PROGRAMS
jax.clear_caches()
gc.collect()
cleared = (maps() - before) / PROGRAMS
print(f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, Python {sys.version.split()[0]}")
print(f"maps a program: {each:.1f}; functions dropped: {dropped:.1f}; caches cleared: {cleared:.1f}")
print(f"limit {limit}: reached after about {limit / each:,.0f} programs of eight products of 4 x 4 matrices")
sys.exit(0 if each >= 5 and cleared < 1 else 1)
PYTHON
