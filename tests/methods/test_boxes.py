"""Parameters in Flax's boxes: histories are kept without them, so that no mesh axis splits the axis of slots."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import optaxaccel
from optaxaccel.numerics import boxes

METHODS = {
    "anderson": lambda: optaxaccel.anderson(0.1, history=3),
    "interpolatron": lambda: optaxaccel.interpolatron(0.1),
    "rna": lambda: optaxaccel.rna_sgd(0.1, period=1, history=2, momentum=0.5),
    "rna that resets": lambda: optaxaccel.rna_sgd(0.1, period=1, history=2, reset_base=True),
}
PLAIN = {"b": jnp.array([1.0, -2.0]), "w": jnp.arange(8.0).reshape(4, 2) / 8}
BOXED = {"b": PLAIN["b"], "w": nn.Partitioned(PLAIN["w"], names=("data", None))}


def run(tx, params, steps=4):
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(steps):
        updates, state = update(jax.tree.map(lambda p: jnp.sin(p) + p, params), state, params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("method", METHODS)
def test_boxes_change_no_number_and_hold_no_history(method):
    (plain, _), (boxed, state) = run(METHODS[method](), PLAIN), run(METHODS[method](), BOXED)
    for a, b in zip(jax.tree.leaves(boxed), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(boxed["w"], nn.Partitioned)
    specs = jax.tree.leaves(nn.get_partition_spec(state), is_leaf=lambda x: isinstance(x, jax.P))
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(state)]
    for spec, shape in zip(specs, shapes, strict=True):
        assert "data" not in spec or shape == (4, 2), "a mesh axis on an axis of slots"


@pytest.mark.parametrize("method", METHODS)
def test_variables_of_nnx_train_and_their_histories_are_not_split(method):
    def module(init):
        return nnx.Linear(4, 2, kernel_init=init, rngs=nnx.Rngs(0))

    init = nnx.initializers.lecun_normal()
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    ends = []
    with jax.set_mesh(mesh):
        for model in (module(init), module(nnx.with_partitioning(init, ("data", None)))):
            optimizer = nnx.Optimizer(model, METHODS[method](), wrt=nnx.Param)
            for _ in range(3):
                grad = nnx.grad(lambda m: jnp.mean((m(jnp.eye(4)) - 1.0) ** 2))(model)
                optimizer.update(model, grad)
            ends.append(np.asarray(model.kernel[...]))
            for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.get_partition_spec(nnx.state(optimizer))):
                if any(word in jax.tree_util.keystr(path) for word in ("iterates", "gradients", "starts", "ends")):
                    assert "data" not in leaf, jax.tree_util.keystr(path)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6)


def test_trees_without_boxes_stay_as_they_are():
    tree = {"a": None, "b": (jnp.ones(2), optax.MaskedNode()), "c": {}}
    assert jax.tree.structure(boxes.unboxed(tree)) == jax.tree.structure(tree)
    assert boxes.unboxed(None) is None
