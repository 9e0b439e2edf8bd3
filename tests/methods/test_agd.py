"""AGD against the paper's two sequences in NumPy, and the proximal term against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from compilation import SHIPPED

import optaxaccel


def paper(problem, gamma, beta):
    """The function Accelerated-gradient-descent as printed; gamma(k), beta(k). Returns the sequences x and y."""

    def run(x):
        y, sequence_x, sequence_y = x, [x], [x]
        for k in range(problems.STEPS):
            y_next = x - gamma(k) * problem.gradient(x)
            x = y_next + beta(k) * (y_next - y)
            y = y_next
            sequence_x.append(x)
            sequence_y.append(y)
        return np.array(sequence_x), np.array(sequence_y)

    return run


def assert_follows(got, twin, problem, **kwargs):
    problems.assert_follows(got.params, lambda x: twin(x)[0], problem, **kwargs)
    problems.assert_follows(got.evaluated, lambda x: twin(x)[1], problem, **kwargs)


# --- Fidelity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", problems.ALL, ids=str)
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_constant_numbers_follow_the_paper(problem, beta):
    gamma = 0.5 * problem.rate
    got = problems.run_jax(optaxaccel.agd(gamma, momentum=beta), problem)
    assert_follows(got, paper(problem, lambda k: gamma, lambda k: beta), problem)
    assert np.array_equal(got.evaluated, got.params) == (beta == 0)


@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_schedules_follow_the_paper(problem):
    """The step goes down and up and is zero once; the momentum starts at zero, falls back to it and passes 0.9."""

    def gamma(k):
        return 0.5 * problem.rate * (1.0 * (k % 7) / 6) ** 2

    def beta(k):
        return 0.95 * (1.0 * (k % 11) / 10)

    got = problems.run_jax(optaxaccel.agd(gamma, momentum=beta), problem)
    assert_follows(got, paper(problem, gamma, beta), problem)


def test_the_first_form_follows_carmon():
    """kappa, L1 and z as printed, with z_j where the paper prints z_1 and x_j."""
    problem, L1, sigma1 = problems.QUADRATIC, 1.0, 1e-4

    def paper(z):
        y, root, trajectory = z, np.sqrt(L1 / sigma1), [z]
        for _ in range(problems.STEPS):
            y_next = z - problem.gradient(z) / L1
            z = (1 + (root - 1) / (root + 1)) * y_next - (root - 1) / (root + 1) * y
            y = y_next
            trajectory.append(z)
        return np.array(trajectory)

    tx = optaxaccel.agd(1 / L1, momentum=optaxaccel.strongly_convex_momentum(L1, sigma1))
    problems.assert_follows(problems.run_jax(tx, problem).params, paper, problem)


def test_a_constant_step_is_library_nesterov_and_a_changing_one_is_not():
    problem = problems.VALLEY
    for rate, same in ((problem.rate, True), (lambda k: problem.rate / (k + 1.0), False)):
        ours = problems.run_jax(optaxaccel.agd(rate, momentum=0.8), problem)
        library = problems.run_jax(optax.sgd(rate, momentum=0.8, nesterov=True), problem)
        assert (problems.relative_error(ours.params, library.params) < 1e-13) == same


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(optax.identity(), tx),
        lambda tx: optax.inject_hyperparams(optaxaccel.agd)(problems.MLP.rate, momentum=0.8),
        lambda tx: optax.apply_if_finite(tx, 3),
        lambda tx: optax.partition({"a": tx, "b": tx}, {"hidden": "a", "out": {"kernel": "b", "bias": "a"}}),
    ],
    ids=["chain", "inject_hyperparams", "apply_if_finite", "partition"],
)
def test_y_is_found_inside_wrappers(wrap):
    problem = problems.MLP
    got = problems.run_jax(wrap(optaxaccel.agd(problem.rate, momentum=0.8)), problem)
    assert_follows(got, paper(problem, lambda k: problem.rate, lambda k: 0.8), problem)


def test_y_is_found_under_a_mask():
    """Masked leaves are plain gradient ascent here; their y is where they are."""
    tx = optax.masked(optaxaccel.agd(0.1, momentum=0.5), {"a": True, "b": False})
    params = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    updates, state = tx.update(params, tx.init(params), params)
    params = optax.apply_updates(params, updates)
    shown = optaxaccel.eval_params(state, params)
    np.testing.assert_allclose([params["a"], params["b"]], [0.85, 2.0])
    np.testing.assert_allclose([shown["a"], shown["b"]], [0.9, 2.0])


def test_a_restart_begins_again():
    problem = problems.VALLEY
    tx = optaxaccel.agd(problem.rate, momentum=0.8)
    first = problems.run_jax(tx, problem, 10)
    again = problems.run_jax(tx, problem._replace(start=jax.tree.map(np.asarray, first.tree)), 10)

    def restarted_once(step):
        return lambda grads, state, params, **extra: step(
            grads, jax.lax.cond(state.count == 10, lambda: state.restart(params), lambda: state), params
        )

    through = problems.run_jax(tx._replace(update=restarted_once(tx.update)), problem, 20)
    np.testing.assert_allclose(through.params[10:], again.params, rtol=1e-13)


# --- Buffers and losses that are not finite ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tx",
    [
        optaxaccel.agd(0.1),
        optaxaccel.agd(lambda k: 0.1 / (k + 1.0), momentum=lambda k: 0.9 - 0.5 / (k + 1.0)),
        optaxaccel.nesterov(0.1, strong_convexity=0.1),
        optaxaccel.nesterov(0.1, prox=lambda params, t: jax.tree.map(lambda x: jnp.clip(x, -t, t), params)),
        optax.chain(optaxaccel.add_proximal_term(0.1, recenter_every=5), optaxaccel.agd(0.1)),
    ],
    ids=["agd", "agd with schedules", "nesterov", "nesterov with prox", "proximal term"],
)
def test_a_donated_step_needs_no_second_buffer(tx):
    leaf = 64 * 1024
    params = {f"{i}": jnp.ones(leaf + i) for i in range(10)}

    def step(params, state, grads, value):
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for value in (None, jnp.array(1.0)):  # they compile differently: without a value nothing is ever held still
        compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, tx.init(params), params, value).compile(SHIPPED)
        assert compiled.memory_analysis().temp_size_in_bytes < leaf


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_loss_leaves_no_trace(bad):
    tx = optaxaccel.agd(lambda k: 0.1 / (k + 1.0), momentum=lambda k: 0.9 - 0.5 / (k + 1.0))
    w = jnp.array([1.0, -2.0])

    def run(values):
        params, state = w, tx.init(w)
        for value in values:
            grads = 3.0 * params if np.isfinite(value) else jnp.full(2, jnp.nan)
            updates, state = tx.update(grads, state, params, value=jnp.array(value))
            params = params + updates
        return params, state

    params, state = run([bad, 1.0, 1.0, bad, 1.0])
    want, undisturbed = run([1.0, 1.0, 1.0])
    np.testing.assert_array_equal(params, want)
    np.testing.assert_array_equal(state.lead, undisturbed.lead)
    assert (int(state.count), int(state.notfinite_count)) == (3, 2)
    assert (int(undisturbed.count), int(undisturbed.notfinite_count)) == (3, 0)


# --- The proximal term ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", problems.ALL, ids=str)
def test_the_proximal_term_follows_its_definition(problem):
    """AGD on f(x) + w ||x - anchor||^2, the anchor moved to x before steps 0, 7, 14, ..."""
    gamma, weight = 0.3 * problem.rate, 0.2 / problem.rate

    def twin(x):
        y, anchor, trajectory = x, x, [x]
        for k in range(problems.STEPS):
            anchor = x if k % 7 == 0 else anchor
            y_next = x - gamma * (problem.gradient(x) + 2 * weight * (x - anchor))
            x, y = y_next + 0.6 * (y_next - y), y_next
            trajectory.append(x)
        return np.array(trajectory)

    tx = optax.chain(optaxaccel.add_proximal_term(weight, recenter_every=7), optaxaccel.agd(gamma, momentum=0.6))
    problems.assert_follows(problems.run_jax(tx, problem).params, twin, problem)


def test_the_proximal_term_is_the_gradient_of_a_square():
    with jax.enable_x64(True):
        anchor, x = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, -1.0, 7.0])
        tx = optaxaccel.add_proximal_term(0.7, recenter_every=100)
        _, state = tx.update(anchor, tx.init(anchor), anchor)
        term, state = tx.update(jnp.zeros(3), state, x)
        np.testing.assert_allclose(term, jax.grad(lambda x: 0.7 * jnp.sum((x - anchor) ** 2))(x), rtol=1e-14)
        unmoved = tx.update(jnp.zeros(3), state._replace(count=jnp.array(200)), x, value=jnp.nan)[1]
        np.testing.assert_array_equal(unmoved.anchor, anchor)
        assert int(unmoved.count) == 200


def test_the_proximal_term_asks_for_params():
    tx = optaxaccel.add_proximal_term(0.7, recenter_every=2)
    with pytest.raises(ValueError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


# --- Arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: optaxaccel.agd(-0.1), "learning_rate"),
        (lambda: optaxaccel.agd(0.1, momentum=1.0), "momentum"),
        (lambda: optaxaccel.agd(0.1, momentum=-0.1), "momentum"),
        (lambda: optaxaccel.strongly_convex_momentum(1.0, 2.0), "strong_convexity"),
        (lambda: optaxaccel.strongly_convex_momentum(1.0, 0.0), "strong_convexity"),
        (lambda: optaxaccel.strongly_convex_momentum(-1.0, 0.5), "smoothness"),
        (lambda: optaxaccel.add_proximal_term(-0.1, recenter_every=3), "weight"),
        (lambda: optaxaccel.add_proximal_term(0.1, recenter_every=0), "recenter_every"),
        (lambda: optaxaccel.nesterov(0.1, strong_convexity=-1.0), "strong_convexity"),
        (lambda: optaxaccel.nesterov(0.1, strong_convexity=10.1), "strong_convexity"),
        (lambda: optaxaccel.nesterov(0.1, theta0=0.0), "theta0"),
        (lambda: optaxaccel.nesterov(0.1, theta0=1.1), "theta0"),
        (lambda: optaxaccel.nesterov(0.1, prox=0.3), "prox"),
    ],
)
def test_bad_hyperparameters_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name}="):
        make()
