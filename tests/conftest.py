"""Settings of the whole suite: four virtual CPU devices, quick and cached compilation, no warnings let through."""

import gc
import os
from pathlib import Path

import compilation

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # no line numbers in compiled programs: 7 % of the time
os.environ.setdefault("XLA_FLAGS", compilation.devices(4))
gc.set_threshold(200_000, 20, 100)  # tracing makes many objects that live on: 8 % of the time

collect_ignore = ["adding"]  # toys for `test_adding`, which have the names of packages
