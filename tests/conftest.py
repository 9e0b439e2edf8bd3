"""Settings of the whole suite: four virtual CPU devices, quick and cached compilation, no warnings let through."""

import gc
import os
import re
import sys
from pathlib import Path

import compilation
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # no line numbers in compiled programs: 7 % of the time
os.environ.setdefault("XLA_FLAGS", compilation.devices(4))
gc.set_threshold(200_000, 20, 100)  # tracing makes many objects that live on: 8 % of the time

TESTS = Path(__file__).parent


def module_name(path: Path) -> str:
    """Return the name that pytest imports a file of the tests by."""
    return f"{path.parent.name}.{path.stem}" if (path.parent / "__init__.py").exists() else path.stem


def pytest_configure(config):
    """What jax and optax will take away is an error where the tests call it too: they warn the module that calls.

    `pyproject.toml` has the package's own modules; those of the tests have as many names as files, and the code
    of a guide has none. Other libraries may still call what is old.
    """
    names = "|".join(sorted({re.escape(module_name(path)) for path in TESTS.rglob("*.py")}))
    config.addinivalue_line("filterwarnings", rf"error::DeprecationWarning:({names}|__main__|<string>)\Z")


@pytest.fixture(autouse=True)
def ranks_are_written_out(request):
    """Users may have JAX refuse operands of unlike ranks; Flax and Optax themselves are not always written for it."""
    if Path(request.path).parent.name not in ("numerics", "methods", "solvers"):
        yield
        return
    with sys.modules["jax"].numpy_rank_promotion("raise"):
        yield


EVERY, MOST_MAPS = 50, 30_000  # tests between two looks; of the 65,530 maps that Linux lets a process have


def maps():
    """Return how many memory maps this process has; 0 where the system does not tell."""
    path = Path("/proc/self/maps")
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    """Drop compiled programs before their memory maps, eleven and more each, run out: the next one then is a crash."""
    item.session.ended = getattr(item.session, "ended", 0) + 1
    if item.session.ended % EVERY == 0 and maps() > MOST_MAPS:
        sys.modules["jax"].clear_caches()  # not imported above, since it reads the settings there
        gc.collect()


collect_ignore = ["adding"]  # toys for `test_adding`, which have the names of packages
