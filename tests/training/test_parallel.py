"""One device, the compiler's cut and the explicit mean compute the same, for every method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from optaxaccel import METHODS, models
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import feed, parallel, program
from optaxaccel.training.steps.loss import Batch, Options
from optaxaccel.training.steps.parallel import AXIS
from optaxaccel.training.steps.state import init_state
from optaxaccel.training.steps.step import train_step

SLACK = 1e-9  # of the largest entry of a leaf, in float64: line searches amplify the rounding of float32


class Net(nn.Module):
    """Dense, batch norm, dense: the smallest net whose statistics go wrong when a mean over devices is forgotten."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train):
        axis_name = self.axis_name if train else None
        dtypes = {"dtype": jnp.float64, "param_dtype": jnp.float64}
        x = nn.Dense(5, use_bias=False, **dtypes)(x)  # behind it the statistics take any bias out: Adam divides 0 by 0
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=axis_name, **dtypes)(x)
        return nn.Dense(3, **dtypes)(jnp.tanh(x))


def model(axis_name=None):
    net = Net(axis_name)

    def init(key, x):
        variables = Net().init(key, x, True)
        # Flax makes float32 statistics, which a step in float64 would turn into other types: another compilation.
        return variables["params"], jax.tree.map(jnp.float64, variables["batch_stats"])

    def apply(params, stats, x, *, key=None, train=False):
        logits, new = net.apply({"params": params, "batch_stats": stats}, x, train, mutable=["batch_stats"])
        return logits, new["batch_stats"]

    return models.Model(init, apply)


def batches(count, size=16):
    rng = np.random.default_rng(0)
    shift = np.arange(size)[:, None] / 4  # devices see different means, so local statistics differ from global ones
    return [
        Batch(jnp.asarray(rng.normal(size=(size, 4)) + shift, jnp.float64), jnp.asarray(rng.integers(0, 3, size)))
        for _ in range(count)
    ]


def trained(mode, tx, steps=3):
    """Return parameters, statistics and losses after three steps in a mode."""
    layout = parallel.layout("jit" if mode == "one" else mode, 16, 1 if mode == "one" else 4)
    net = model(AXIS if mode == "pmap" else None)
    state = layout.put(init_state(net, tx, 0, batches(1)[0].x[:1]))
    options = Options(axis_name=AXIS if mode == "pmap" else None)
    losses = []
    if mode == "pmap":
        state = layout.stack(state)
        step = jax.pmap(lambda s, b: train_step(net, tx, s, b, options), axis_name=AXIS, donate_argnums=0)
    else:
        step = jax.jit(lambda s, b: train_step(net, tx, s, b, options), donate_argnums=0)
    for batch in batches(steps):
        if mode == "pmap":
            batch = jax.tree.map(lambda a: a.reshape(4, 4, *a.shape[1:]), batch)
        else:
            batch = layout.put(batch, cut=True)
        state, metrics = step(state, batch)
        if mode == "pmap":
            metrics = layout.unstack(metrics)
        losses.append(float(metrics["loss"]))
    if mode == "pmap":
        state = layout.unstack(state)
    return jax.tree.map(np.asarray, (state.params, state.net_state, losses))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_on_one_device_under_jit_and_under_pmap(name):
    card = METHODS[name]
    with jax.enable_x64(True):
        one, jitted, mapped = (trained(mode, card.make(**card.example)) for mode in ("one", "jit", "pmap"))
    for other in (jitted, mapped):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=SLACK, atol=SLACK * max(1e-3, np.abs(a).max()))


def test_a_batch_that_does_not_divide_is_refused_with_sizes_that_do():
    with pytest.raises(ValueError, match=r"batch_size=10 does not divide among 4 devices. Pass --batch-size 8 or 12"):
        parallel.layout("jit", 10, 4)
    with pytest.raises(ValueError, match="there are 4"):
        parallel.layout("jit", 10, 9)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_the_loop_gives_the_same_records_on_four_devices(tmp_path, mode):
    run = Run(
        method="optax.sgd", method_args={"learning_rate": 0.1}, batch_size=64, steps=24, model_args={"hidden": (8,)}
    )
    loop.train(run, tmp_path / "one.jsonl", devices=1)
    loop.train(run.replace(parallel=mode), tmp_path / "four.jsonl", devices=4)
    one, four = (records.read(tmp_path / f"{name}.jsonl").rows for name in ("one", "four"))
    assert len(one) == len(four)
    for a, b in zip(one, four, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["step"] == b["step"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_uses_the_memory_of_its_old_state(count):
    """On several devices JAX does not tell whether a donation works."""
    spec = Run(method="pal", model_args={"hidden": (8,)}, batch_size=64, steps=2)
    images, layout = feed.feed(spec, count)
    recipe = optimizer.recipe(spec, total_steps=2, steps_per_epoch=2)
    compiled = program.program(spec, recipe, images, layout, next(images.open(0)))
    state = compiled.init(np.uint32(0), program.numbers_of(spec, recipe))
    bare = [leaf for leaf in jax.tree.leaves(state) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    assert layout.count == count
    assert (compiled.several or compiled.step).memory_analysis().alias_size_in_bytes >= sum(
        leaf.nbytes for leaf in bare
    )
