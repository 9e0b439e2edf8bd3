"""Masks and groups: a method on some leaves does what it does alone on the loss of these leaves."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel

PARAMS = {"own": {"w": jnp.array([1.0, 0.3]), "b": jnp.array(0.2)}, "other": jnp.array([0.5, -0.7])}
MASK = {"own": True, "other": False}
DIRECTION = (optax.scale_by_adam(), optax.scale(-1.0))
LOSS_AWARE = {
    "pal": lambda: optaxaccel.pal(),
    "scale_by_parabola": lambda: optax.chain(*DIRECTION, optaxaccel.scale_by_parabola()),
    "gose": lambda: optaxaccel.gose_agd(0.1, gradient_threshold=10.0, check_every=2, finder=optaxaccel.lanczos(3)),
    "ancm": lambda: optaxaccel.ancm(0.1, period=2, finder=optaxaccel.lanczos(3)),
    "descent": lambda: optaxaccel.negative_curvature_descent(0.1, finder=optaxaccel.neon2(20)),
    "wolfe": lambda: optax.chain(optax.scale(-1.0), optaxaccel.scale_by_wolfe_search()),
    "lbfgs": lambda: optaxaccel.lbfgs(),
    "optax backtracking": lambda: optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=5, store_grad=True)
    ),
    "optax zoom": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_zoom_linesearch(max_linesearch_steps=5)),
    "optax lbfgs": lambda: optax.lbfgs(),
    "rna of pal": lambda: optaxaccel.rna(optaxaccel.pal(), history=2, period=2),
    "agd": lambda: optaxaccel.agd(0.1),
}


def loss(p, shift=0.0):
    w, b, other = p["own"]["w"], p["own"]["b"], p["other"]
    return 0.5 * w[0] ** 2 - 0.5 * w[1] ** 2 + w[1] ** 4 + (b - shift) ** 2 + jnp.sum((other - b) ** 2)


def run(tx, params, value_fn, steps=4, still=()):
    """`still` names leaves whose updates are not applied: the parameters of nobody."""
    tx = optax.with_extra_args_support(tx)

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(value_fn)(params, shift=0.5)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn, shift=0.5)
        updates = {name: u if name not in still else 0 * u for name, u in updates.items()}
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, optaxaccel.eval_params(state, params)


@functools.cache
def alone(name):
    """The method on its own leaves, the loss closed over the others."""
    own = {"own": PARAMS["own"]}
    return run(LOSS_AWARE[name](), own, lambda p, *, shift: loss({**p, "other": PARAMS["other"]}, shift=shift))


def assert_close(got, want):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), got, want)


@pytest.mark.parametrize("name", LOSS_AWARE)
def test_a_masked_method_does_what_it_does_alone(name):
    got = run(optaxaccel.masked(LOSS_AWARE[name](), MASK), PARAMS, loss, still=("other",))
    for tree, want in zip(got, alone(name), strict=True):
        assert_close(tree["own"], want["own"])
        np.testing.assert_array_equal(tree["other"], PARAMS["other"])


@pytest.mark.parametrize("name", ["pal", "gose", "optax zoom"])
def test_a_group_does_what_it_does_alone_while_the_others_stay(name):
    groups = {"move": LOSS_AWARE[name](), "stay": optax.set_to_zero()}
    for labels in ({"own": "move", "other": "stay"}, lambda p: {"own": {"w": "move", "b": "move"}, "other": "stay"}):
        got = run(optaxaccel.partition(groups, labels), PARAMS, loss)
        for tree, want in zip(got, alone(name), strict=True):
            assert_close(tree, {**want, "other": PARAMS["other"]})


def test_two_searches_each_see_the_others_leaves_where_they_are():
    """Two parabolas, exact: own.b goes to the minimum over b, other to b as it was."""
    pal = optaxaccel.pal(loose_approximation=1.0, max_step_size=100.0, momentum=0.0)
    flat = {"b": jnp.array(2.0), "other": jnp.array(3.0)}

    def coupled(p):
        return (p["b"] - 1.0) ** 2 + (p["other"] - p["b"]) ** 2

    tx = optaxaccel.partition({1: pal, 2: pal}, {"b": 1, "other": 2})
    value, grad = jax.value_and_grad(coupled)(flat)
    updates, _ = tx.update(grad, tx.init(flat), flat, value=value, grad=grad, value_fn=coupled)
    moved = optax.apply_updates(flat, updates)
    assert [round(float(moved[name]), 4) for name in ("b", "other")] == [2.0, 2.0]


def test_what_is_hidden_passes_as_in_optax():
    tx = optaxaccel.masked(optaxaccel.pal(), MASK)
    value, grad = jax.value_and_grad(loss)(PARAMS)
    updates, state = tx.update(grad, tx.init(PARAMS), PARAMS, value=value, grad=grad, value_fn=loss)
    np.testing.assert_array_equal(updates["other"], grad["other"])
    assert jax.tree.structure(state) == jax.tree.structure(optax.masked(optaxaccel.pal(), MASK).init(PARAMS))


def test_a_larger_batch_that_decides_about_searches_is_completed_too():
    tx = optaxaccel.masked(optaxaccel.gose_agd(0.1, gradient_threshold=100.0, check_every=1), MASK)
    _, grad = jax.value_and_grad(loss)(PARAMS)
    arguments = {"value": loss(PARAMS), "grad": grad, "value_fn": loss, "curvature_value_fn": loss}
    _, state = tx.update(grad, tx.init(PARAMS), PARAMS, **arguments)
    assert int(state.inner_state.num_searches) == 1


@pytest.mark.parametrize("name", ["pal", "scale_by_parabola", "gose", "ancm", "descent"])
def test_a_loss_that_fills_hidden_leaves_in_itself_is_taken(name):
    """Inside optax's own mask."""

    def filling(p, shift):
        other = PARAMS["other"] if isinstance(p["other"], optax.MaskedNode) else p["other"]
        return loss({**p, "other": other}, shift)

    tx = optax.masked(LOSS_AWARE[name](), MASK)
    got, _ = run(tx, PARAMS, filling, still=("other",))
    assert_close(got["own"], alone(name)[0]["own"])


@pytest.mark.parametrize("name", ["pal", "scale_by_parabola", "gose", "ancm", "descent"])
def test_a_loss_that_cannot_be_evaluated_is_refused_with_the_way_out(name):
    tx = optax.masked(LOSS_AWARE[name](), MASK)
    with pytest.raises(TypeError, match=r"a mask hides some.*optaxaccel\.masked or optaxaccel\.partition"):
        run(tx, PARAMS, loss, steps=1)


def test_errors_of_a_loss_are_its_own_where_nothing_is_hidden():
    def broken(p):
        raise TypeError("own mistake")

    tx = optaxaccel.pal()
    with pytest.raises(TypeError, match="own mistake"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=1.0, value_fn=broken)


def test_a_loss_without_params_says_what_is_missing():
    tx = optaxaccel.masked(optaxaccel.pal(), MASK)
    with pytest.raises(ValueError, match="params=None"):
        tx.update(PARAMS, tx.init(PARAMS), value_fn=loss)


@pytest.mark.parametrize("name", ["wolfe", "lbfgs"])
def test_a_loop_outside_of_jit_traces_the_loss_once(name):
    """Each step made a new loss, so that its search was compiled anew and all parameters of old were kept."""
    traced = []

    def counted(p, shift):
        traced.append(1)
        return loss(p, shift)

    moves = optaxaccel.masked(LOSS_AWARE[name](), MASK)
    tx = optax.chain(moves, optax.masked(optax.set_to_zero(), {"own": False, "other": True}))
    params, state, counts = PARAMS, tx.init(PARAMS), []
    for shift in (0.5, 0.4, 0.3):
        value, grad = jax.value_and_grad(loss)(params, shift)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=counted, shift=shift)
        params = optax.apply_updates(params, updates)
        counts.append(len(traced))
    assert counts[0] > 0
    assert counts[2] == counts[1]


@pytest.mark.parametrize("wrong", [3, optaxaccel.pal])
def test_what_is_no_transformation_is_refused(wrong):
    with pytest.raises(TypeError, match="no transformation"):
        optaxaccel.masked(wrong, MASK)
    with pytest.raises(TypeError, match="no transformation"):
        optaxaccel.partition({"a": wrong}, "a")


def test_the_signatures_are_those_of_optax():
    for name in ("masked", "partition"):
        ours, theirs = (list(inspect.signature(getattr(m, name)).parameters)[:2] for m in (optaxaccel, optax))
        assert ours == theirs
