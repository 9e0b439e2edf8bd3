import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import FixedPointStatus, accelerate

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(40, 6)) * np.logspace(0, -1, 6)
LABEL = np.sign(DATA @ RNG.normal(size=6))


def loss(w):
    return jnp.mean(jax.nn.softplus(-LABEL * (DATA @ w["w"]))) + 0.005 * jnp.sum(w["w"] ** 2)


def epoch(w, rate):
    """Four minibatch steps in a fixed order: its fixed point is not the minimum, but its own."""
    tx = optax.sgd(rate)
    for part in np.arange(40).reshape(4, 10):

        def some(w, part=part):
            return jnp.mean(jax.nn.softplus(-LABEL[part] * (DATA[part] @ w["w"]))) + 0.005 * jnp.sum(w["w"] ** 2)

        w = optax.apply_updates(w, tx.update(jax.grad(some)(w), tx.init(w))[0])
    return w, loss(w)


def test_epochs_reach_their_fixed_point_in_fewer_calls():
    fast = accelerate(epoch, has_aux=True, rtol=1e-5)
    start = {"w": jnp.zeros(6)}
    w, state, step = start, fast.init(start), jax.jit(fast.step)
    calls = 0
    while int(state.status) == FixedPointStatus.RUNNING and calls < 300:
        w, state, value = step(w, state, 1.0)
        calls += 1
    slow = optaxaccel.fixed_point(lambda w: epoch(w, 1.0)[0], start, method="plain", rtol=1e-5, max_maps=5000)
    assert int(state.status) == FixedPointStatus.CONVERGED
    assert 3 * calls < int(slow.maps)
    np.testing.assert_allclose(state.image["w"], slow.value["w"], rtol=1e-2)
    assert float(value) < float(loss(start))


def test_it_is_the_step_pair():
    fast = accelerate(jnp.cos, history=3, rtol=0.0)
    x = y = jnp.array([1.0, 0.3])
    state, other = fast.init(x), optaxaccel.anderson_init(y, history=3)
    for _ in range(5):
        x, state = fast.step(x, state)
        y, other = optaxaccel.anderson_update(jnp.cos(y), y, other, rtol=0.0)
        np.testing.assert_array_equal(x, y)


def test_a_step_that_returns_something_else_is_refused():
    fast = accelerate(lambda x: x[:1])
    with pytest.raises(ValueError, match=r"\(1,\)"):
        fast.step(jnp.ones(2), fast.init(jnp.ones(2)))


@pytest.mark.parametrize("got", [jnp.cos, lambda x: (x, 1, 2)])
def test_auxiliary_output_is_a_pair(got):
    fast = accelerate(got, has_aux=True)
    with pytest.raises(ValueError, match=r"pair \(params, aux\)"):
        fast.step(jnp.ones(2), fast.init(jnp.ones(2)))


def test_squares_that_underflow_are_no_convergence():
    """x = x / 2 + 1e-25 has the solution 2e-25, and squares of such residuals are zero in single precision."""
    step = accelerate(lambda x: 0.5 * x + jnp.float32(1e-25))
    x = jnp.zeros(2)
    _, state = step.step(x, step.init(x))
    assert state.status == FixedPointStatus.STALLED
