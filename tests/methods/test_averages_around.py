"""Averages around a base: what the base sees, what a bad loss leaves, and where `eval_params` finds the average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilation import SHIPPED

import optaxaccel
from optaxaccel import eval_params, exponential_mean, polynomial_mean, primal_averaging, schedule_free

W = {"a": jnp.array([3.0, -1.0], jnp.float32), "b": jnp.float32(0.5)}
WRAPS = {
    "primal z": lambda base: primal_averaging(base, mu_x=0.5),
    "primal y": lambda base: primal_averaging(base, mu_x=0.5, base_at="y"),
    "primal close": lambda base: primal_averaging(base, mu_y=0.99, mu_x=0.5),
    "schedule-free": lambda base: schedule_free(base),
    "schedule-free z": lambda base: schedule_free(base, base_at="z"),
    "exponential": lambda base: exponential_mean(base, decay=0.5),
    "polynomial": polynomial_mean,
    "latest": lambda base: optaxaccel.latest_weight_average(base, history=2, period=2),
    "outer": lambda base: optaxaccel.outer_nesterov(base, period=2, step_size=0.5, momentum=0.5),
}


def bowl(p, scale=1.0):
    return scale * (jnp.sum(p["a"] ** 4) + 3.0 * p["b"] ** 2 + p["a"][0] * p["b"])


@pytest.mark.parametrize("name", WRAPS)
def test_loss_value_and_gradient_that_a_base_sees_belong_together(name):
    """At whichever sequence the base stands, with data by name, and with keys it does not know."""
    seen = []

    def update(updates, state, params=None, *, value, grad, value_fn, scale, **extra):
        assert set(extra) == {"key"}
        loss_here, slope = jax.value_and_grad(value_fn)(params, scale=scale)
        seen.append([value, loss_here])
        jax.tree.map(lambda a, b, c: seen.extend([[a, b], [a, c]]), slope, grad, updates)
        return jax.tree.map(lambda g: -0.01 * g, updates), state

    spy = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    with jax.enable_x64(True):
        tx, params = WRAPS[name](spy), jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), W)
        state = tx.init(params)
        for _ in range(3):
            value, grads = jax.value_and_grad(bowl)(params, scale=2.0)
            updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=bowl, scale=2.0, key=3)
            params = optax.apply_updates(params, updates)
    assert len(seen) == 3 * 5
    for one, other in seen:
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("name", WRAPS)
def test_a_base_that_searches_along_a_line_runs_inside(name):
    tx, params = WRAPS[name](optaxaccel.pal()), W
    state, first = tx.init(params), float(bowl(params))

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(bowl)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=bowl)
        return optax.apply_updates(params, updates), state

    for _ in range(40):
        params, state = step(params, state)
    assert float(bowl(eval_params(state, params))) < 0.01 * first
    assert step._cache_size() == 1


@pytest.mark.parametrize("name", WRAPS)
def test_a_bad_loss_leaves_no_trace_in_average_or_base(name):
    """optax's Adam would take the bad gradient into its moments."""
    tx = WRAPS[name](optax.adam(0.1))
    value, grads = jax.value_and_grad(bowl)(W)

    def run(bad):
        params, state = W, tx.init(W)
        for place in range(4):
            stays = bad and place in (0, 2)
            given = jax.tree.map(lambda g: g * jnp.nan, grads) if stays else grads
            updates, state = tx.update(given, state, params, value=jnp.nan if stays else value)
            params = optax.apply_updates(params, updates)
            if not bad and place == 1:
                break
        return params, eval_params(state, params), state

    got, want = run(True), run(False)
    for a, b in zip(jax.tree.leaves(got[:2]), jax.tree.leaves(want[:2]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (int(got[2].count), int(got[2].notfinite_count)) == (2, 2)
    for a, b in zip(jax.tree.leaves(got[2].base_state), jax.tree.leaves(want[2].base_state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", WRAPS)
def test_the_average_is_found_in_front_of_nothing_and_refused_in_front_of_more(name):
    for tx, known in (
        (optax.chain(optax.clip(1.0), WRAPS[name](optax.sgd(0.1))), True),
        (optax.chain(WRAPS[name](optax.sgd(0.1)), optax.scale(0.5)), False),
    ):
        updates, state = tx.update(W, tx.init(W), W)
        params = optax.apply_updates(W, updates)
        if known:
            assert jax.tree.structure(eval_params(state, params)) == jax.tree.structure(W)
        else:
            with pytest.raises(ValueError, match="behind it in a chain"):
                eval_params(state, params)


@pytest.mark.parametrize("name", [name for name in WRAPS if "close" not in name])
def test_a_donated_step_needs_no_second_buffer(name):
    leaf = 64 * 1024
    params = {f"{i}": jnp.ones(leaf + i) for i in range(3)}
    tx = WRAPS[name](optax.adamw(0.01))

    def step(params, state, grads, value):
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, tx.init(params), params, jnp.array(1.0))
    size = compiled.compile(SHIPPED).memory_analysis().temp_size_in_bytes
    once_in_a_while = 3 + 1 if name == "outer" else 0  # a loop of no or one round has its operands in memory
    assert size < (once_in_a_while + 0.5) * 4 * leaf, size / 4 / leaf


def test_a_jump_from_outside_begins_the_average_anew():
    tx = optaxaccel.gose(primal_averaging(optax.sgd(0.5), mu_x=0.5), gradient_threshold=np.inf)

    def saddle(p):
        return p[0] ** 2 / 2 - p[1] ** 2 / 2 + p[1] ** 4 / 4

    update = jax.jit(lambda g, s, p: tx.update(g, s, p, value_fn=saddle))
    moved, state = update(jnp.zeros(2), tx.init(jnp.zeros(2)), jnp.zeros(2))
    assert abs(float(moved[1])) > 0.4
    np.testing.assert_allclose(eval_params(state, moved), moved, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (primal_averaging, {"mu_y": 1.5}),
        (primal_averaging, {"mu_x": -0.1}),
        (primal_averaging, {"base_at": "x"}),
        (schedule_free, {"mu_y": -0.1}),
        (schedule_free, {"r": -1.0}),
        (schedule_free, {"r": 8.0}),  # t^8 is more than float32 holds after 65,000 steps
        (schedule_free, {"weight_lr_power": -1.0}),
        (schedule_free, {"learning_rate": -1.0}),
        (exponential_mean, {"decay": 1.0}),
        (polynomial_mean, {"power": -1.0}),
        (optaxaccel.latest_weight_average, {"history": 0}),
        (optaxaccel.latest_weight_average, {"period": 0}),
        (optaxaccel.outer_nesterov, {"period": 0}),
        (optaxaccel.outer_nesterov, {"momentum": 1.0}),
        (optaxaccel.outer_nesterov, {"step_size": -1.0}),
    ],
    ids=lambda case: getattr(case, "__name__", str(case)),
)
def test_bad_hyperparameters_are_refused(make, bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        make(optax.sgd(0.1), **bad)
