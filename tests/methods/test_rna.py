"""Online RNA against its rule in NumPy, and what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import optaxaccel
from optaxaccel.methods import _rna


def weights(residuals, regularization):
    """c minimises |R c|^2 + lambda |R'R| |c|^2 with sum 1, in the normal equations."""
    r = np.array(residuals).T
    gram = r.T @ r
    scale = np.linalg.norm(gram, 2)
    if scale == 0:
        return np.full(len(gram), 1 / len(gram))
    z = np.linalg.solve(gram / scale + regularization * np.eye(len(gram)), np.ones(len(gram)))
    return z / z.sum()


def online(problem, *, rate, momentum=0.0, history=4, period=3, ridge=1e-2, start=0, reset=False, steps=problems.STEPS):
    """Pairs of end point and residual; the next period starts at sum c_i e_i."""

    def run(x0):
        x, velocity, xs = x0, np.zeros_like(x0), [x0]
        origin, pairs = x0, []
        for step in range(1, steps + 1):
            velocity = momentum * velocity + problem.gradient(x)
            x = x - rate * velocity
            if step % period == 0:
                if step > start * period:
                    pairs = [*pairs, (x, x - origin)][-history:]
                    ends, residuals = zip(*pairs, strict=True)
                    x = weights(residuals, ridge) @ np.array(ends)
                    velocity = np.zeros_like(velocity) if reset else velocity
                origin = x
            xs.append(x)
        return np.array(xs)

    return run


CASES = [
    {},
    {"period": 1},
    {"momentum": 0.5},
    {"momentum": 0.5, "reset": True, "start": 1},
    {"history": 2, "period": 2, "start": 3},
    {"history": 1},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_follows_the_rule(problem, case):
    """To 1e-9, and 100 rounding errors of the start as the twin itself magnifies them: it extrapolates."""
    options = {"rate": problem.rate, **case}
    twin = online(problem, **options)
    tx = optaxaccel.rna_sgd(
        problem.rate,
        momentum=case.get("momentum", 0.0),
        history=case.get("history", 4),
        period=case.get("period", 3),
        regularization=1e-2,
        start=case.get("start", 0),
        reset_base=case.get("reset", False),
    )
    got = problems.run_jax(tx, problem)
    problems.assert_follows(got.params, twin, problem, rounding_errors=100.0)


def test_any_base_runs_inside():
    """The points of a period are those of the base; only where it ends is there a jump."""
    base, problem = optax.adam(0.05), problems.MLP
    got = problems.run_jax(optaxaccel.rna(base, period=10, history=3, regularization=1e-3), problem, 10)
    alone = problems.run_jax(base, problem, 10)
    np.testing.assert_array_equal(got.params[:10], alone.params[:10])
    # One pair has the weight 1: the first period ends where the base ends.
    np.testing.assert_allclose(got.params[10], alone.params[10], rtol=1e-12)
    longer = problems.run_jax(optaxaccel.rna(base, period=10, history=3, regularization=1e-3), problem, 25)
    assert np.max(np.abs(longer.params[20] - problems.run_jax(base, problem, 25).params[20])) > 1e-3


def test_it_beats_its_base_tenfold_on_an_ill_conditioned_quadratic():
    """At the same number of gradients. Curvatures from 1e-4 to 1 and a step of 1/L: descent has hardly moved."""
    rng = np.random.default_rng(4)
    basis, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    hessian = (basis * np.logspace(-4, 0, 40)) @ basis.T
    start = 10 * rng.normal(size=40)

    def loss(x):
        return 0.5 * x @ (jnp.asarray(hessian, x.dtype) @ x)

    def reached(tx, dtype, steps=400):
        x = jnp.asarray(start, dtype)
        state = tx.init(x)

        @jax.jit
        def step(x, state):
            updates, state = tx.update(jax.grad(loss)(x), state, x)
            return optax.apply_updates(x, updates), state

        for _ in range(steps):
            x, state = step(x, state)
        return float(loss(x))

    online_rna = optaxaccel.rna_sgd(1.0, period=10, history=10)
    assert reached(online_rna, jnp.float32) < reached(optax.sgd(1.0), jnp.float32) / 10
    with jax.enable_x64(True):
        assert reached(online_rna, jnp.float64) < reached(optax.sgd(1.0), jnp.float64) / 10


def test_a_loss_that_is_not_finite_moves_nothing_and_is_not_counted():
    tx = optaxaccel.rna_sgd(0.1, momentum=0.5, period=2)
    x = jnp.array([1.0, -2.0])
    _, state = tx.update(x, tx.init(x), x, value=1.0)
    updates, after = tx.update(x, state, x, value=jnp.nan)
    np.testing.assert_array_equal(updates, 0)
    assert int(after.count) == int(state.count) == 1
    assert int(after.notfinite_count) == 1
    np.testing.assert_array_equal(after.base_state.velocity, state.base_state.velocity)


def test_an_extrapolation_that_is_not_finite_is_not_taken():
    """An overflow in the products: the end point stays and the window is opened anew."""
    tx, x = optaxaccel.rna_sgd(1.0, period=1, history=3, regularization=0.0), jnp.array([1e25, 1.0])
    state = tx.init(x)
    for _ in range(3):
        updates, state = tx.update(-x, state, x)
        x = optax.apply_updates(x, updates)
    assert np.all(np.isfinite(x))
    assert int(state.num_pairs) == 0


@pytest.mark.parametrize("where", [0, 299_999], ids=["in a block", "in what is left over"])
def test_an_infinite_entry_of_a_large_leaf_stands_still_and_the_others_are_extrapolated(where):
    """Large leaves are read without a look at infinities, until a sum is not finite."""
    rates = jnp.linspace(0.1, 1.0, 300_000)
    x = jnp.ones(300_000).at[where].set(jnp.inf)
    tx = optaxaccel.rna_sgd(1.0, period=1, history=3, regularization=0.0)

    @jax.jit
    def step(x, state):
        updates, state = tx.update(jnp.where(jnp.isinf(x), 0.0, rates * x), state, x)
        return optax.apply_updates(x, updates), state

    state = tx.init(x)
    for _ in range(3):
        x, state = step(x, state)
    assert int(state.num_pairs) == 3
    assert bool(jnp.isinf(x[where]))
    others = jnp.delete(x, where, assume_unique_indices=True)
    assert float(jnp.linalg.norm(others)) < 115.0  # 112.1 without the infinity; plain descent is at 150.9


@pytest.mark.parametrize(
    ("new", "end", "dtype"),
    [
        (1.0, 2.0, "float32"),
        (np.inf, np.inf, "float32"),  # stands still
        (np.inf, 1.0, "float32"),
        (np.inf, -np.inf, "float32"),
        (np.nan, 1.0, "float32"),
        (3e38, 2e38, "float32"),  # far out, but near each other
        (3e38, -2e38, "float32"),
        (4e4, -4e4, "float16"),
        (4e4, 3e4, "float16"),
        (1e38, -3e38, "float32"),
    ],
)
def test_a_point_is_reached_where_the_difference_is_finite(new, end, dtype):
    """The quick answer, from the new point alone, is that of the difference."""
    ends = {"x": jnp.array([[0.0, 0.0], [1.0, end]], dtype)}
    point = {"x": jnp.array([1.0, new], dtype)}
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.asarray(point["x"]) - np.asarray(ends["x"][1])
    wanted = np.isfinite(np.where(point["x"] == ends["x"][1], 0, apart)).all()
    assert bool(jax.jit(_rna._can_be_reached)(point, ends, 1)) == wanted


def test_the_base_gets_all_extra_arguments():
    seen = {}

    def update(updates, state, params=None, **extra):
        seen.update(extra)
        return updates, state

    base = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    tx, x = optaxaccel.rna(base), jnp.ones(2)
    tx.update(x, tx.init(x), x, value=1.0, grad=x, value_fn=jnp.sum, batch=3)
    assert set(seen) == {"value", "grad", "value_fn", "batch"}


def test_pal_can_be_the_base():
    got = problems.run_jax(optaxaccel.rna(optaxaccel.pal(momentum=0.0), period=5), problems.MLP)
    first, last = (problems.MLP.value(got.params[k]) for k in (0, -1))
    assert (last / first) ** (1 / (len(got.params) - 1)) < 0.96  # a step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history": 0}, "history=0"),
        ({"period": 0}, "period=0"),
        ({"start": -1}, "start=-1"),
        ({"regularization": -1e-8}, "regularization"),
        ({"momentum": 1.0}, "momentum=1.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        optaxaccel.rna_sgd(0.1, **arguments)
