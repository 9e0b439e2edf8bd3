"""Finders against known Hessians, and negative curvature descent against the paper in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
import saddles

import optaxaccel

MATRIX = np.array([[1.0, 0.5, 0.0], [0.5, -0.6, 0.3], [0.0, 0.3, 2.0]])


def quadratic(params, scale=1.0):
    x = jnp.concatenate([params["a"], params["b"][None]])
    return 0.5 * scale * jnp.sum(x * (jnp.asarray(MATRIX, x.dtype) @ x))


PARAMS = {"a": jnp.array([0.3, -0.2]), "b": jnp.array(0.1)}
FINDERS = {
    "lanczos": optaxaccel.lanczos(3),
    "shifted_power": optaxaccel.shifted_power(20, inner=20, shift=2.5),
    "neon2": optaxaccel.neon2(400, rate=0.3, radius=1e-2),
}


# --- Finders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FINDERS)
def test_finders_recover_the_lowest_eigenpair(name):
    values, vectors = np.linalg.eigh(MATRIX)
    for host_driven in (False, True) if name == "lanczos" else (False,):
        outcome = optaxaccel.negative_curvature(
            quadratic, PARAMS, jax.random.key(1), finder=FINDERS[name], host_driven=host_driven, scale=jnp.float32(2.0)
        )
        eigenvalue, vector, residual = outcome
        assert float(eigenvalue) == pytest.approx(2 * values[0], rel=1e-4)
        assert abs(problems.flatten(vector) @ vectors[:, 0]) == pytest.approx(1.0, abs=1e-4)
        assert float(residual) < 1e-2
        assert jax.tree.structure(vector) == jax.tree.structure(PARAMS)


def test_the_shifted_power_iteration_is_that_of_the_published_code():
    """v <- (1 + rate) v - (rate/shift) H v, normalised."""
    with jax.enable_x64(True):
        params, key = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), PARAMS), jax.random.key(1)
        v = problems.flatten(optaxaccel.shifted_power(1, inner=1, rate=1e-12).find(quadratic, params, key).vector)
        for _ in range(10):
            v = 1.5 * v - 0.5 / 5.0 * MATRIX @ v
            v /= np.linalg.norm(v)
        outcome = optaxaccel.shifted_power(2, inner=5).find(quadratic, params, key)
        np.testing.assert_allclose(problems.flatten(outcome.vector), v, atol=1e-9)
        assert float(outcome.eigenvalue) == pytest.approx(v @ MATRIX @ v, rel=1e-9)


def test_finders_are_no_schedules_and_show_how_they_are_made():
    for finder in FINDERS.values():
        assert not callable(finder)
    assert repr(optaxaccel.lanczos(8)) == "lanczos(num_steps=8)"
    assert optaxaccel.lanczos(8).cost.hvps == 8
    assert optaxaccel.shifted_power().cost.hvps == 17
    assert optaxaccel.neon2().cost == optaxaccel.Cost(grads=66)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optaxaccel.lanczos(0), "num_steps=0"),
        (lambda: optaxaccel.lanczos(2.5), "num_steps=2.5"),
        (lambda: optaxaccel.shifted_power(0), "epochs=0"),
        (lambda: optaxaccel.shifted_power(shift=0.0), "shift=0.0"),
        (lambda: optaxaccel.neon2(radius=-1.0), "radius=-1.0"),
        (lambda: optaxaccel.gose(optax.sgd(0.1), finder="lanczsos"), "lanczsos.*'lanczos'"),
        (lambda: optaxaccel.ancm(0.1, finder=lambda: 0), "is not a Finder.*lanczos"),
        (lambda: optaxaccel.negative_curvature_descent(-1.0), "step_size=-1.0"),
        (lambda: optaxaccel.negative_curvature_descent(1.0, max_steps=0), "max_steps=0"),
        (lambda: optaxaccel.negative_curvature_descent(1.0, step_rule="exact"), "'carmon'"),
        (lambda: optaxaccel.negative_curvature_descent(1.0, step_rule="carmon"), "hessian_lipschitz=None"),
        (lambda: optaxaccel.negative_curvature_descent(1.0, curvature_threshold=-1.0), "curvature_threshold"),
        (lambda: optaxaccel.gose(optax.sgd(0.1), check_every=0), "check_every=0"),
        (lambda: optaxaccel.gose(optax.sgd(0.1), ema_decay=1.0), "ema_decay=1.0"),
        (lambda: optaxaccel.gose_sgd(0.1, gradient_threshold=-1.0), "gradient_threshold=-1.0"),
        (lambda: optaxaccel.ancm(0.1, period=0), "period=0"),
        (lambda: optaxaccel.ancm(0.1, ncd_max_steps=0), "ncd_max_steps=0"),
        (lambda: optaxaccel.ancm(0.1, proximal_weight=-1.0), "proximal_weight=-1.0"),
        (lambda: optaxaccel.ancm(0.1, seed=-1), "seed=-1"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- Negative curvature descent ---------------------------------------------------------------------------------------


def paper(problem, length, threshold=1e-3, max_steps=1):
    def run(x):
        trajectory = [x]
        for _ in range(problems.STEPS):
            x, _ = saddles.descend(problem, x, length, threshold, max_steps)
            trajectory.append(x)
        return np.array(trajectory)

    return run


@pytest.mark.parametrize("problem", [problems.VALLEY, saddles.FACTORISATION], ids=str)
def test_constant_steps_follow_the_paper(problem):
    finder = optaxaccel.lanczos(saddles.dimension(problem))
    tx = optaxaccel.negative_curvature_descent(0.05, finder=finder, max_steps=2)
    got = problems.run_jax(tx, problem)
    twin = paper(problem, lambda _: 0.05, max_steps=2)
    problems.assert_follows(got.params, twin, problem)
    assert np.any(got.params[1] != got.params[0])


def test_carmons_steps_follow_the_paper():
    problem = problems.VALLEY
    finder = optaxaccel.lanczos(saddles.dimension(problem))
    tx = optaxaccel.negative_curvature_descent(0.0, finder=finder, step_rule="carmon", hessian_lipschitz=40.0)
    got = problems.run_jax(tx, problem)
    problems.assert_follows(got.params, paper(problem, lambda value: 2 * abs(value) / 40.0), problem)
    assert int(got.state.num_jumps) > 3


@pytest.fixture(scope="module")
def jump():
    """One compiled update at a point of the saddle, for any count and step size."""

    @jax.jit
    def update(x, y, count, step_size):
        tx = optaxaccel.negative_curvature_descent(step_size, finder=optaxaccel.lanczos(2))
        params = {"x": x, "y": y}
        state = tx.init(params)._replace(count=count)
        return tx.update(params, state, params, value_fn=saddles.SADDLE.loss)

    return lambda x, y, count=0, step_size=0.5: update(*map(jnp.float32, (x, y)), jnp.int32(count), step_size)


@pytest.mark.parametrize("y", [0.1, -0.1])
def test_the_sign_is_downhill(jump, y):
    updates, state = jump(0.0, y)
    assert float(updates["y"]) == pytest.approx(np.sign(y) * 0.5, rel=1e-5)
    assert float(state.eigenvalue) == pytest.approx(-1 + 3 * y**2, rel=1e-5)


def test_the_sign_at_an_exact_saddle_is_random_and_never_zero(jump):
    signs = [float(jump(0.0, 0.0, count)[0]["y"]) for count in range(12)]
    assert {round(s, 5) for s in signs} == {0.5, -0.5}
    assert signs == [float(jump(0.0, 0.0, count)[0]["y"]) for count in range(12)]


def test_a_jump_that_does_not_pay_is_not_made(jump):
    for point in ((0.0, 0.0, 0, 3.0), (0.0, 1.0), (0.0, 0.5775)):  # too far; convex; curvature above the threshold
        updates, state = jump(*point)
        assert [float(u) for u in jax.tree.leaves(updates)] == [0.0, 0.0]
        assert int(state.num_jumps) == 0
        assert int(state.count) == point[2] + 1 if len(point) > 2 else 1


def test_an_uncertain_direction_is_not_taken():
    """One Lanczos step returns the random start: its residual exceeds half of its curvature."""
    weights = jnp.linspace(-1.0, 0.5, 50)

    def loss(x):
        return 0.5 * jnp.sum(weights * x * x)

    tx = optaxaccel.negative_curvature_descent(0.5, finder=optaxaccel.lanczos(1))
    x = jnp.ones(50)
    updates, state = jax.jit(lambda x: tx.update(x, tx.init(x), x, value_fn=loss))(x)
    assert float(state.eigenvalue) < -1e-3
    assert float(state.residual) > 0.5 * abs(float(state.eigenvalue))
    assert not np.any(updates)


def test_a_missing_loss_shows_the_call():
    x = jnp.zeros(2)
    for tx in (
        optaxaccel.negative_curvature_descent(0.5),
        optaxaccel.gose(optax.sgd(0.1)),
        optaxaccel.gose_agd(0.1),
        optaxaccel.ancm(0.1),
    ):
        with pytest.raises(ValueError, match=r"needs value_fn.*value_fn=loss_of_params"):
            tx.update(x, tx.init(x), x)
        with pytest.raises(ValueError, match="params"):
            tx.update(x, tx.init(x), value_fn=jnp.sum)
