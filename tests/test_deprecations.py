"""What libraries will take away is an error where this package or its tests call it, and nowhere else."""

import warnings

import pytest

OURS = ["optaxaccel", "optaxaccel.methods._foo", "jax._src.foo", "optax._src.foo"]
TESTS = [__name__, "problems", "conftest", "contract.problem", "contract.test_types", "data.sets", "<string>"]


def call_what_is_old(module):
    """Warn as jax does: the warning is the caller's, which lives in the module of this name."""
    caller = {"old": lambda: warnings.warn("use another", DeprecationWarning, stacklevel=2), "__name__": module}
    exec("old()", caller)


@pytest.mark.parametrize("module", OURS + TESTS)
def test_what_is_old_is_an_error_here(module):
    with pytest.raises(DeprecationWarning, match="use another"):
        call_what_is_old(module)


@pytest.mark.parametrize("module", ["flax.core", "orbax.checkpoint", "other.problems", "problems_of_others"])
def test_and_nothing_in_other_libraries(module):
    call_what_is_old(module)
