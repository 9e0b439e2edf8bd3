"""What methods that go around another one say to what is none."""

import optax
import pytest

import optaxaccel

AROUND = {
    "rna": optaxaccel.rna,
    "gose": optaxaccel.gose,
    "primal_averaging": optaxaccel.primal_averaging,
    "schedule_free": lambda base: optaxaccel.schedule_free(base, learning_rate=0.1),
    "outer_nesterov": optaxaccel.outer_nesterov,
    "latest_weight_average": optaxaccel.latest_weight_average,
    "exponential_mean": optaxaccel.exponential_mean,
    "polynomial_mean": optaxaccel.polynomial_mean,
}


@pytest.mark.parametrize("name", AROUND)
def test_a_base_is_a_transformation(name):
    with pytest.raises(TypeError, match=f"{name}: .* is no transformation. Pass what its factory returns, sgd"):
        AROUND[name](optax.sgd)
    with pytest.raises(TypeError, match="None is no transformation"):
        AROUND[name](None)
