"""SaLSA against its formulas in NumPy, and what its search does where losses are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel.methods.states import line_calls, measurement_failed

SCALE = np.array([1.0, 30.0, 0.2])
START = np.array([3.0, -1.0, 2.0])
STEPS = 300


def bowl(xp, x, shift):
    return xp.sum(SCALE * (x - shift) ** 2) + xp.sum(x**4) / 10


def slope_of(x, shift):
    return 2 * SCALE * (x - shift) + 0.4 * x**3


DEFAULTS = (1.0, 0.5, 0.9, 0.999, 0.9, 0.8, 1.1)
SHIFTS = np.random.default_rng(0).normal(size=(STEPS, 3)) * 0.3  # every step has a batch of its own


def twin(rate, c, b1, b2, b3, cut, grow, longest=1, momentum=True, steps=30):
    """Return the points and the trials of each step."""
    x, rows, trials = START, [START], []
    m = v = fell_mean = slope_mean = 0.0
    fast = slow = 1e-8
    since = 100
    for t, shift in enumerate(SHIFTS[:steps]):
        g, f = slope_of(x, shift), bowl(np, x, shift)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        root = np.sqrt(v / (1 - b2 ** (t + 2))) + 1e-8
        with_momentum = m / (1 - b1 ** (t + 2)) / root
        change = max(fast / slow, slow / fast)
        since, tried = since + 1, 0
        if t + 1 < 10 or since >= min(longest, 1 / (change - 1 + 1e-8)):
            since, d = 0, with_momentum if momentum else g / root
            slope_mean = b3 * slope_mean + (1 - b3) * (g @ d)
            rate = grow * rate
            if slope_mean >= 1e-8:
                tried = 1
                while b3 * fell_mean + (1 - b3) * (f - bowl(np, x - rate * d, shift)) < rate * c * slope_mean:
                    rate, tried = cut * rate, tried + 1
                fell_mean = b3 * fell_mean + (1 - b3) * (f - bowl(np, x - rate * d, shift))
                x = x - rate * d
            fast, slow = 0.9 * fast + 0.1 * rate, 0.99 * slow + 0.01 * rate
        else:
            x = x - grow * rate * with_momentum
        rows.append(x)
        trials.append(tried)
    return np.array(rows), trials


@pytest.mark.parametrize(
    "numbers",
    [
        DEFAULTS,
        (0.05, 0.2, 0.8, 0.99, 0.0, 0.5, 1.5),
        (30.0, 0.9, 0.0, 0.9, 0.5, 0.9, 1.0),
    ],
    ids=["defaults", "each batch alone", "far too long"],
)
def test_thirty_steps_are_those_of_the_formulas(numbers):
    compared(numbers, {}, 30)


@pytest.mark.parametrize("momentum", [True, False])
def test_searches_become_rare_where_their_rates_agree(momentum):
    trials = compared(DEFAULTS, {"max_interval": 10, "momentum_in_search": momentum}, STEPS)
    assert 0 not in trials[:50]
    assert 0.5 < np.mean(np.array(trials[-100:]) == 0) <= 0.9


def compared(numbers, more, steps):
    """Compare a run with its twin, and return the trials of each step."""
    names = ("init_learning_rate", "c", "b1", "b2", "b3", "decrease_factor", "increase_factor")
    wanted, trials = twin(*numbers, *more.values(), steps=steps)
    tx = optaxaccel.salsa(**dict(zip(names, numbers, strict=True)), **more)
    with jax.enable_x64(True):

        def step(carry, shift):
            x, state = carry

            def loss(x):
                return bowl(jnp, x, shift)

            value, grad = jax.value_and_grad(loss)(x)
            updates, new = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
            x = optax.apply_updates(x, updates)
            return (x, new), (x, line_calls(new, state)[0])

        start = jnp.asarray(START)
        (_, state), (rows, calls) = jax.jit(lambda c, s: jax.lax.scan(step, c, s))(
            (start, tx.init(start)), SHIFTS[:steps]
        )
    np.testing.assert_allclose(rows, wanted[1:], rtol=1e-9)
    assert calls.tolist() == trials
    assert max(trials) > 1
    assert int(state.trial_losses) == sum(trials)
    return trials


def updated(loss, x, tx=None):
    tx = optaxaccel.salsa() if tx is None else tx
    value, grad = jax.value_and_grad(loss)(x)
    return tx.update(grad, tx.init(x), x, value=value, grad=grad, value_fn=loss)


def test_a_trial_whose_loss_is_not_finite_is_too_long():
    """The barrier at 1 / 3: five cuts of 1.1 times 0.7441 stop before it."""
    updates, state = updated(lambda x: -jnp.log(jnp.where(x < 1 / 3, 1 - 3 * x, jnp.nan)) - 6 * x + 1, jnp.array(0.0))
    assert jnp.isfinite(updates)
    assert 0 < float(updates) < 1 / 3
    assert int(state.trial_losses) > 4
    assert not measurement_failed(state)


def test_where_every_trial_is_not_finite_nothing_moves_and_it_is_told():
    tx, x = optaxaccel.salsa(), jnp.array(2.0)
    updates, state = tx.update(x, tx.init(x), x, value=jnp.float32(2.0), value_fn=lambda x: jnp.nan * x)
    assert float(updates) == 0.0
    assert measurement_failed(state)
    assert int(state.count) == 1
    assert float(state.decrease) == 0.0
    assert float(state.rate) == 1.0


@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("longest", [1, 10])
def test_a_loss_that_can_fall_no_further_leaves_the_rate_and_takes_few_trials(longest, momentum):
    """What two losses differ by is the rounding of two programs."""
    tx = optaxaccel.salsa(max_interval=longest, momentum_in_search=momentum)
    draw = np.random.default_rng(0)
    rows, wanted = (draw.normal(size=shape).astype(np.float32) for shape in ((30, 8), 30))
    x, least = jnp.zeros(8), np.mean((rows @ np.linalg.lstsq(rows, wanted, rcond=None)[0] - wanted) ** 2)

    def loss(x):
        return jnp.mean((rows @ x - wanted) ** 2)

    def step(carry, _):
        x, state = carry
        value, grad = jax.value_and_grad(loss)(x)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return (optax.apply_updates(x, updates), state), (state.rate, state.trial_losses)

    (x, _), (rates, trials) = jax.jit(lambda c: jax.lax.scan(step, c, length=2000))((x, tx.init(x)))
    assert float(loss(x)) == pytest.approx(least, rel=1e-5)
    assert float(rates[-1]) > 1e-9
    assert float(trials[-1] - trials[999]) / 1000 < 4


@pytest.mark.parametrize("gradient", [0.0, -6.0])
def test_where_nothing_is_searched_for_the_rate_stays_unless_the_direction_has_turned(gradient):
    """A gradient against a direction that never turns makes the rate grow by a tenth a step, to a million."""
    tx, x = optaxaccel.salsa(b3=0.0), jnp.array(3.0)

    def step(state, _):
        state = state._replace(mean=jnp.array(600.0))
        return tx.update(jnp.array(gradient), state, x, value=jnp.float32(10.0), value_fn=lambda x: x**2 + 1)[1], None

    state = jax.jit(lambda s: jax.lax.scan(step, s, length=2000))(tx.init(x))[0]
    assert float(state.rate) == (1.0 if gradient == 0.0 else 1e6)


def test_nothing_is_searched_for_at_a_minimum_or_at_a_loss_of_zero():
    for loss, x in ((lambda x: x**2 + 1.0, 0.0), (lambda x: x**2 - 1.0, 1.0)):
        updates, state = updated(loss, jnp.array(x))
        assert float(updates) == 0.0
        assert int(state.trial_losses) == 0


def test_numbers_out_of_range_are_refused():
    for wrong in (
        {"init_learning_rate": 0.0},
        {"c": 1.0},
        {"b3": 1.0},
        {"decrease_factor": 1.0},
        {"increase_factor": 0.9},
        {"max_interval": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            optaxaccel.salsa(**wrong)


def test_the_card_counts_trials_of_a_long_run():
    """Raises by a tenth and cuts by a fifth balance: log 1.1 / log 1.25 cuts a step, where noise goes on for ever."""
    tx = optaxaccel.salsa(0.05)

    def step(carry, shift):
        x, state = carry

        def loss(x):
            return bowl(jnp, x, shift) + 1.0

        value, grad = jax.value_and_grad(loss)(x)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return (optax.apply_updates(x, updates), state), state.trial_losses

    shifts = jnp.asarray(np.random.default_rng(1).normal(size=(2500, 3)))
    start = jnp.asarray(START, jnp.float32)
    _, trials = jax.jit(lambda c, s: jax.lax.scan(step, c, s))((start, tx.init(start)), shifts)
    in_the_long_run = float(trials[-1] - trials[499]) / 2000
    assert in_the_long_run == pytest.approx(optaxaccel.METHODS["salsa"].cost.values, abs=0.02)
    assert optaxaccel.METHODS["salsa"].cost.values == pytest.approx(1 + np.log(1.1) / np.log(1.25), abs=0.005)
