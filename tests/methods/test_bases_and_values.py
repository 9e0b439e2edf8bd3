"""What methods say to a base that is no transformation, and to a loss that is no number."""

import jax.numpy as jnp
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


LOOKS_AT_THE_LOSS = {
    "salsa": optaxaccel.salsa,
    "cdat": lambda: optaxaccel.cdat(curvature="loss"),
    "pal": optaxaccel.pal,
    "tuning_free": optaxaccel.tuning_free,
    "gose": lambda: optaxaccel.gose_sgd(0.1),
    "scale_by_wolfe_search": optaxaccel.scale_by_wolfe_search,
}


@pytest.mark.parametrize("name", LOOKS_AT_THE_LOSS)
def test_a_value_is_one_number(name):
    tx, x = LOOKS_AT_THE_LOSS[name](), jnp.ones(3)
    for value, error, says in ((x, ValueError, r"has shape \(3,\)"), ("a", TypeError, "is a str")):
        with pytest.raises(error, match=f"{name}: value {says}, but a loss is one number"):
            tx.update(x, tx.init(x), x, value=value, grad=x, value_fn=jnp.sum)
