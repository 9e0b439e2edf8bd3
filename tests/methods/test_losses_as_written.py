"""Losses and parameters as people write them are taken, or refused with what to do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import METHODS
from optaxaccel.methods import contract
from optaxaccel.training.run import optimizer

EVERY = {name: card.make(**card.example) for name, card in METHODS.items()}
EVERY |= {
    "scale_by_parabola": optaxaccel.scale_by_parabola(),
    "add_proximal_term": optaxaccel.add_proximal_term(0.1, recenter_every=2),
    "nesterov with prox": optaxaccel.nesterov(0.1, prox=lambda p, t: p),
    "rna": optaxaccel.rna(optax.sgd(0.1)),
    "gose": optaxaccel.gose(optax.sgd(0.1)),
}
BAD = {
    "integers": ({"w": jnp.ones(2), "n": jnp.arange(3)}, r"\['n'\] is of dtype int32"),
    "numpy integers": ({"w": jnp.ones(2), "n": np.arange(3)}, r"\['n'\] is of dtype int64"),
    "bools": ({"m": jnp.ones(2, bool)}, r"\['m'\] is of dtype bool"),
    "function": ({"w": jnp.ones(2), "f": jax.nn.relu}, r"\['f'\] is a relu"),
    "string": (["adam", jnp.ones(2)], r"\[0\] is a str"),
    "key": ({"k": jax.random.key(0)}, r"\['k'\] is of dtype key"),
    "module": (eqx.nn.MLP(2, 2, 2, 1, key=jax.random.key(0)), r"activation is a"),
}


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("bad", BAD)
def test_parameters_that_cannot_move_are_refused_by_every_method(method, bad):
    params, said = BAD[bad]
    with pytest.raises(ValueError, match=rf"parameters' leaf \.?.*{said}.*equinox\.partition.*nnx\.split"):
        EVERY[method].init(params)


@pytest.mark.parametrize("method", EVERY)
def test_numbers_shapes_and_nothing_are_parameters(method):
    narrow = {"h": jnp.ones(2, jnp.bfloat16), "c": jnp.ones(1, jnp.complex64)}
    for params in ({"w": jnp.ones(2), "n": None}, {}, narrow):
        EVERY[method].init(params)
    jax.eval_shape(EVERY[method].init, {"w": jax.ShapeDtypeStruct((2,), jnp.float32)})


@pytest.mark.parametrize(
    "returned",
    [lambda v: (v, {"logits": v}), lambda v: {"loss": v}, lambda v: None, lambda v: [v], lambda v: "0.5"],
    ids=["pair", "dictionary", "nothing", "list", "string"],
)
@pytest.mark.parametrize("method", ["pal", "gose_sgd", "ancm", "negative_curvature_descent"])
def test_auxiliary_outputs_are_told_apart_from_a_loss(method, returned):
    card, params = METHODS[method], jnp.ones(2)
    tx = card.make(**card.example)
    with pytest.raises(TypeError, match=r"value_fn returned a \w+, but a loss is one number.*\[0\].*has_aux=True"):
        tx.update(params, tx.init(params), params, value=1.0, value_fn=lambda p: returned(jnp.sum(p**2)))


def test_numbers_of_all_kinds_are_losses():
    for number in (1, 1.0, np.float64(1.0), np.ones(()), jnp.ones((), jnp.bfloat16)):
        loss = contract.bind_value_fn("method", lambda p, number=number: number, {})
        assert float(loss(jnp.ones(2))) == 1.0


@pytest.mark.parametrize("name", ["value", "grad", "params", "state", "updates", "value_fn"])
def test_data_may_not_have_the_names_of_updates_own_arguments(name):
    value_fn = eval(f"lambda p, {name}: 0.0")
    with pytest.raises(ValueError, match=rf"takes its data {name} by name.*Rename.*close over"):
        contract.bind_value_fn("method", value_fn, {})


@pytest.mark.parametrize("name", ["key", "step", "x", "loss", "batch"])
def test_all_other_names_are_handed_on(name):
    value_fn = eval(f"lambda params, {name}: {name}")
    assert float(contract.bind_value_fn("method", value_fn, {name: 2.0})(jnp.ones(2))) == 2.0


PARTS = ["scale_by_adam", "scale_by_rms", "trace", "ema", "identity", "clip", "scale", "add_noise"]
WHOLES = ["sgd", "adam", "lbfgs", "polyak_sgd", "lion", "contrib.schedule_free_sgd", "contrib.momo", "contrib.prodigy"]


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_optimisers_are_no_method(part):
    with pytest.raises(ValueError, match=rf"optax\.{part}.*no learning rate.*Pass an optimiser"):
        optimizer.find(f"optax.{part}")


@pytest.mark.parametrize("whole", WHOLES)
def test_optimisers_are(whole):
    assert optimizer.find(f"optax.{whole}").name == f"optax.{whole}"
