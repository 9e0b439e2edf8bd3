"""The search as a transformation: what it keeps, what it says, and that nothing is compiled twice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import SearchStatus

SEARCHES = ("strong_wolfe", "hager_zhang")


def valley(x):
    return jnp.sum((1.0 - x[:-1]) ** 2 + 100.0 * (x[1:] - x[:-1] ** 2) ** 2)


START = np.array([-1.2, 1.0, 0.7])


def descent(**settings):
    return optax.chain(optax.scale(-1.0), optaxaccel.scale_by_wolfe_search(**settings))


def one_step(tx, loss, x, state=None, value=None, grad=None, **data):
    state = tx.init(x) if state is None else state
    if value is None:
        value, grad = jax.value_and_grad(loss)(x)
    updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss, **data)
    return x + updates, state


# --- What is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", SEARCHES)
def test_value_and_gradient_of_the_accepted_point_are_reused(search):
    """`optax.value_and_grad_from_state` finds them: the loss is evaluated by the searches alone."""
    tx, x, calls = descent(search=search), jnp.asarray(START), []

    def loss(x):
        jax.debug.callback(lambda: calls.append(1))
        return valley(x)

    evaluate = optax.value_and_grad_from_state(loss)
    state = tx.init(x)

    @jax.jit
    def step(x, state):
        value, grad = evaluate(x, state=state)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return x + updates, state

    for _ in range(5):
        x, state = step(x, state)
        np.testing.assert_allclose(state[1].value, valley(x), rtol=1e-6)
        np.testing.assert_allclose(state[1].grad, jax.grad(valley)(x), rtol=1e-4, atol=1e-4)
    jax.effects_barrier()
    assert len(calls) == 1 + int(state[1].evaluations)


def test_without_value_and_gradient_it_evaluates_itself():
    tx, x = descent(), jnp.asarray(START)
    grad = jax.grad(valley)(x)
    want, _ = one_step(tx, valley, x)
    updates, _ = tx.update(grad, tx.init(x), x, value_fn=valley)
    np.testing.assert_allclose(x + updates, want, rtol=1e-6)


def test_auxiliary_output_is_that_of_the_accepted_point():
    def loss(x, shift):
        return valley(x) + shift, {"sum": jnp.sum(x), "parts": (x - shift, jnp.int32(3))}

    x = jnp.asarray(START, jnp.float32)
    (value, aux), grad = jax.value_and_grad(loss, has_aux=True)(x, 0.5)
    tx = optaxaccel.bfgs(aux=jax.eval_shape(lambda: aux))
    state = tx.init(x)
    step = jax.jit(lambda g, s, x, v: tx.update(g, s, x, value=v, grad=g, value_fn=loss, shift=jnp.float32(0.5)))
    for _ in range(3):
        updates, state = step(grad, state, x, value)
        x, value, grad = x + updates, state[2].value, state[2].grad
        want = loss(x, 0.5)[1]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state[2].aux, want)


def test_the_first_trial_is_that_of_scipy():
    """Length about one at first, then from the last decrease, and never longer than the direction."""
    trials = []

    def loss(x):
        jax.debug.callback(lambda x: trials.append(float(x)), x)
        return 0.05 * (x - 100.0) ** 2

    tx, x = descent(), jnp.float32(0.0)
    x, state = one_step(tx, loss, x, value=jnp.float32(500.0), grad=jnp.float32(-10.0))
    jax.effects_barrier()
    assert trials[0] == pytest.approx(1.01 * 10.0 / 10.0)  # 2.02 times half the slope over its square, times 10
    trials.clear()
    value, grad = state[1].value, state[1].grad
    state = (state[0], state[1]._replace(last_value=value + 1e-3 * grad**2))
    one_step(tx, loss, x, state, value, grad)
    jax.effects_barrier()
    assert trials[0] - float(x) == pytest.approx(-2.02e-3 * float(grad), rel=1e-2)


def test_hidden_leaves_may_be_filled_in_by_the_loss():
    frozen = jnp.array([1.0, 2.0])

    def loss(params):
        kept = frozen if isinstance(params["kept"], optax.MaskedNode) else params["kept"]
        return jnp.sum((params["moved"] - kept) ** 2)

    params = {"moved": jnp.zeros(2), "kept": frozen}
    value, grad = jax.value_and_grad(loss)(params)
    mask = {"moved": True, "kept": False}
    for make in (optaxaccel.bfgs, optaxaccel.lbfgs):
        for masked in (optax.masked, optaxaccel.masked):
            tx = masked(make(), mask)
            updates, _ = tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=loss)
            assert float(loss({"moved": updates["moved"], "kept": frozen})) < 0.5 * float(value)


# --- What it says -----------------------------------------------------------------------------------------------------


def status(state):
    return SearchStatus(int(state[-1].status)).name


@pytest.mark.parametrize("search", SEARCHES)
def test_an_ascent_direction_is_not_followed(search):
    tx, x = optax.chain(optax.scale(1.0), optaxaccel.scale_by_wolfe_search(search=search)), jnp.asarray(START)
    after, state = one_step(tx, valley, x)
    assert status(state) == "NO_DESCENT"
    np.testing.assert_array_equal(after, x)
    assert int(state[1].evaluations) == 0


@pytest.mark.parametrize("search", SEARCHES)
def test_a_minimum_is_converged(search):
    after, state = one_step(descent(search=search), valley, jnp.ones(3))
    assert status(state) == "CONVERGED"
    np.testing.assert_array_equal(after, 1.0)


def test_a_wrong_gradient_loses_precision_and_nothing_else():
    """No step along it decreases the loss: the point stays, and so does its loss."""
    x = jnp.asarray(START)
    after, state = one_step(descent(), valley, x, value=valley(x), grad=-jax.grad(valley)(x))
    assert status(state) == "PRECISION_LOSS"
    np.testing.assert_array_equal(after, x)
    assert float(state[1].value) == float(valley(x))


def test_the_lowest_point_is_kept_when_the_evaluations_run_out():
    x = jnp.float32(0.0)
    tx = descent(max_evaluations=2, curvature=1e-3)
    after, state = one_step(tx, lambda x: (x - 50.0) ** 2, x)
    assert status(state) == "LIMIT"
    assert float(state[1].value) == pytest.approx(float((after - 50.0) ** 2))
    assert float(state[1].value) < 2500.0


@pytest.mark.parametrize("search", SEARCHES)
def test_a_barrier_is_never_crossed(search):
    def loss(x):
        return -jnp.sum(jnp.log(x)) + jnp.sum(x)

    x, state = jnp.array([0.01, 5.0]), None
    tx = optaxaccel.bfgs(search=search)
    step = jax.jit(lambda x, s: one_step(tx, loss, x, s))
    state = tx.init(x)
    for _ in range(15):
        x, state = step(x, state)
        assert bool(jnp.all(x > 0))
    np.testing.assert_allclose(x, 1.0, atol=1e-3)


# --- How it is called -------------------------------------------------------------------------------------------------


def test_a_loop_outside_jit_compiles_once():
    traces = []

    def loss(x, batch):
        traces.append(1)
        return valley(x - batch)

    tx, x = optaxaccel.bfgs(), jnp.asarray(START)
    state = tx.init(x)
    evaluate = jax.jit(jax.value_and_grad(loss))
    counts = []
    for k in range(4):
        batch = jnp.full(3, 0.1 * k)
        value, grad = evaluate(x, batch)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss, batch=batch, note="text")
        x = x + updates
        counts.append(len(traces))
    assert len(set(counts)) == 1, f"traced anew: {counts}"


def test_two_loops_of_l_bfgs_outside_jit_compile_once():
    compiled = []

    def listen(event, seconds, **_):
        compiled.extend([event] if event.endswith("backend_compile_duration") else [])

    tx, x = optaxaccel.lbfgs(memory_size=2, search="hager_zhang"), jnp.asarray(START)
    state, counts = tx.init(x), []
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(3):
            updates, state = tx.update(x, state, x, value=jnp.dot(x, x) / 2, grad=x, value_fn=half_square)
            x = x + updates
            counts.append(len(compiled))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert 0 < counts[0] <= counts[1] == counts[2]


def half_square(x):
    return jnp.dot(x, x) / 2


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"'armijo'.*'strong_wolfe'"):
        optaxaccel.scale_by_wolfe_search(search="armijo")
    with pytest.raises(ValueError, match=r"decrease=0\.7"):
        optaxaccel.scale_by_wolfe_search(decrease=0.7)
    with pytest.raises(ValueError, match=r"curvature=1e-05"):
        optaxaccel.scale_by_wolfe_search(curvature=1e-5)
    with pytest.raises(ValueError, match=r"max_evaluations=0"):
        optaxaccel.scale_by_wolfe_search(max_evaluations=0)
    params = {"n": jnp.arange(3), "x": jnp.ones(3)}
    tx = optaxaccel.scale_by_wolfe_search()
    state = tx.init(params)
    with pytest.raises(TypeError, match=r"\['n'\].*int32.*no gradient"):
        tx.update(params, state, params, value=1.0, grad=params, value_fn=lambda p: 1.0)
    with pytest.raises(ValueError, match=r"one number"):
        one_step(descent(), lambda x: x, jnp.ones(3), value=1.0, grad=jnp.ones(3))


@pytest.mark.parametrize(("dtype", "wide"), [("float32", False), ("float32", True), ("float64", True)])
def test_the_loop_of_optax_reads_the_state_in_any_precision(dtype, wide):
    """The loss that is kept has the dtype of the loss, for `optax.value_and_grad_from_state` chooses between them."""
    with jax.enable_x64(wide):
        start, target = jnp.zeros(3, dtype), jnp.arange(3, dtype=dtype)
        evaluate = optax.value_and_grad_from_state(lambda x: jnp.sum((x - target) ** 2))
        for tx in (optaxaccel.bfgs(), optaxaccel.lbfgs()):
            x, state = start, tx.init(start)
            for _ in range(4):
                value, grad = evaluate(x, state=state)
                extra = {"value": value, "grad": grad, "value_fn": lambda x: jnp.sum((x - target) ** 2)}
                update, state = tx.update(grad, state, x, **extra)
                x = optax.apply_updates(x, update)
            np.testing.assert_allclose(x, target, rtol=1e-5)
