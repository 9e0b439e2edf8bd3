"""The updates of the dense inverse Hessian against a NumPy twin, their identities, guards and exact symmetry."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel.methods._limited_memory import apply_pairs
from optaxaccel.methods._quasi_newton_update import QUASI_NEWTON_METHODS


def twin(H, s, y, g, a, method, first=False):
    """The printed rule in NumPy, one scalar after the other."""
    n = len(s)
    rho, Hy = 1.0 / (y @ s), H @ y
    yHy = y @ Hy
    h, b = rho * yHy, -a * rho * (s @ g)
    c = h * b - 1.0
    r = min(1.0, 1.0 / b)
    if not method.startswith("ssbroyden") or c <= 1e-12 or n == 1:
        theta, tau = 0.0, {"bfgs": 1.0, "ssbfgs_ol": 1.0 / b}.get(method, r)
        tau = rho * (y @ y) if first else tau
    else:
        root = (c / (1.0 + c)) ** 0.5
        rm = min(1.0, h * (1.0 - root))
        minus = (rm - 1.0) / c
        if method == "ssbroyden":
            theta = max(minus, min(1.0 / rm, (1.0 - b) / b))
        elif method == "ssbroyden3":
            theta = minus
        else:
            plus = 1.0 / rm if first else max(1.0, b * (1.0 + root))
            theta = max(minus, 1.0 / (1.0 - b)) if b > 1 else min(plus, 1.0 / (1.0 - b))
        sigma = 1.0 + theta * c
        q = sigma ** (1.0 / (1.0 - n))
        tau = min(r * q, sigma) if theta <= 0 else r * min(q, 1.0 / theta)
        tau = h / sigma if first else tau
    phi = (1.0 - theta) / (1.0 + theta * c)
    v = rho * s - Hy / yHy
    return (H - np.outer(Hy, Hy) / yHy + phi * yHy * np.outer(v, v)) / tau + rho * np.outer(s, s)


def random_step(seed, n=6):
    """A positive definite H, a step of length a along -H g, and the change of the gradient of some quadratic."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(2, n, n))
    H, hessian = (x @ x.T + 0.1 * np.eye(n) for x in roots)
    g, a = rng.normal(size=n), 10.0 ** rng.uniform(-2, 1)
    s = -a * H @ g
    return H, s, hessian @ s * 10.0 ** rng.uniform(-2, 2), g, a


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


# --- The rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [False, True], ids=["later", "first"])
@pytest.mark.parametrize("method", QUASI_NEWTON_METHODS)
def test_follows_the_formulas(method, first):
    update = jax.jit(optaxaccel.quasi_newton_update, static_argnames="method")
    cases = set()
    for seed in range(30):
        H, s, y, g, a = random_step(seed)
        want = twin(H, s, y, g, a, method, first)
        b = -a * (s @ g) / (y @ s)
        cases.add(bool(b > 1))
        for step_size in (a, None):
            got = update(H, s, y, g, step_size, method=method, first=first)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.max(np.abs(want)))
        np.testing.assert_allclose(got @ y, s, rtol=1e-8, atol=1e-8 * np.max(np.abs(s)))
    assert cases == {False, True}


@pytest.mark.parametrize("method", QUASI_NEWTON_METHODS)
def test_stays_exactly_symmetric_and_positive_definite(method):
    update = jax.jit(optaxaccel.quasi_newton_update, static_argnames="method")
    H = jnp.eye(6)
    rng = np.random.default_rng(0)
    hessian = np.diag(10.0 ** np.arange(6.0))
    for _ in range(60):
        g = rng.normal(size=6)
        a = 10.0 ** rng.uniform(-1, 0)
        s = -a * H @ g
        H = update(H, s, hessian @ s, g, a, method=method)
        assert bool(jnp.all(H == H.T))
    assert np.all(np.linalg.eigvalsh(H) > 0)


def test_bfgs_is_the_product_form():
    """(I - rho s y') H (I - rho y s') + rho s s', as textbooks print it."""
    H, s, y, g, a = random_step(3)
    left = np.eye(6) - np.outer(s, y) / (y @ s)
    want = left @ H @ left.T + np.outer(s, s) / (y @ s)
    got = optaxaccel.quasi_newton_update(H, s, y, g, a, method="bfgs")
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * np.max(np.abs(want)))


# --- Guards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", QUASI_NEWTON_METHODS)
@pytest.mark.parametrize("scale", [0.5, 2.0, 7.3], ids=str)
def test_parallel_vectors_take_the_limit(method, scale):
    """On an isotropic quadratic H y and s are parallel, c is zero, and theta would be 0/0."""
    g = np.array([1.0, -2.0, 0.5, 0.3])
    s = -0.7 * g
    got = optaxaccel.quasi_newton_update(np.eye(4), s, scale * s, g, 0.7, method=method)
    tau = {"bfgs": 1.0, "ssbfgs_ol": scale}.get(method, min(1.0, scale))  # b is 1/scale
    unit = g / np.linalg.norm(g)
    want = (np.eye(4) - np.outer(unit, unit)) / tau + np.outer(unit, unit) / scale
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", QUASI_NEWTON_METHODS)
def test_one_variable_is_newton(method):
    got = optaxaccel.quasi_newton_update(jnp.eye(1), -jnp.ones(1), -4.0 * jnp.ones(1), jnp.ones(1), 1.0, method=method)
    assert float(got[0, 0]) == 0.25


BAD = {
    "negative curvature": lambda s, y: (s, -y),
    "no change": lambda s, y: (s, 0.0 * y),
    "no step": lambda s, y: (0.0 * s, y),
    "orthogonal": lambda s, y: (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])),
    "nan": lambda s, y: (s, jnp.array([jnp.nan, 1.0])),
    "inf": lambda s, y: (s, jnp.array([jnp.inf, 1.0])),
    "overflow": lambda s, y: (1e200 * s, 1e-200 * y),
}


@pytest.mark.parametrize("method", QUASI_NEWTON_METHODS)
@pytest.mark.parametrize("bad", BAD)
def test_a_pair_that_teaches_nothing_is_skipped(method, bad):
    H = jnp.array([[2.0, 0.5], [0.5, 1.0]])
    g = jnp.array([1.0, 3.0])
    s, y = BAD[bad](-H @ g, -jnp.array([1.0, 2.0]))
    got = optaxaccel.quasi_newton_update(H, s, y, g, 1.0, method=method)
    np.testing.assert_array_equal(got, H)


def test_an_identity_of_integers_is_one():
    """It was updated in integers: 0.5 became 0."""
    s, y, g = np.array([1, 0]), np.array([2, 0]), np.array([-1, 0])
    got = optaxaccel.quasi_newton_update(np.eye(2, dtype=int), s, y, g, 1, method="bfgs")
    np.testing.assert_array_equal(got, [[0.5, 0.0], [0.0, 1.0]])
    with pytest.raises(TypeError, match="real and imaginary"):
        optaxaccel.quasi_newton_update(np.eye(2), s + 0j, y, g, 1)


def test_wrong_shapes_and_names_are_refused():
    three, H = jnp.ones(3), jnp.eye(3)
    with pytest.raises(ValueError, match=r"\(2, 2\).*ravel_pytree"):
        optaxaccel.quasi_newton_update(jnp.eye(2), three, three, three, 1.0)
    with pytest.raises(ValueError, match=r"'dfp'.*'ssbroyden1'"):
        optaxaccel.quasi_newton_update(H, three, three, three, 1.0, method="dfp")
    with pytest.raises(ValueError, match=r"'dfp'"):
        optaxaccel.scale_by_quasi_newton(method="dfp")


# --- The transformation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initial_scale", [False, True])
@pytest.mark.parametrize("method", ["bfgs", "ssbroyden", "ssbroyden1"])
def test_the_transformation_follows_the_rule_whatever_the_step(method, initial_scale):
    """Steps of any length along the direction, over a tree with a complex leaf."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    hessian = root @ root.T + np.eye(5)

    def tree(x):
        return {"a": jnp.asarray(x[0]), "z": jnp.asarray(x[1:3] + 1j * x[3:5])}

    def flat(t):
        return np.concatenate([[t["a"]], np.real(t["z"]), np.imag(t["z"])])

    tx = optaxaccel.scale_by_quasi_newton(method=method, initial_scale=initial_scale)
    update = jax.jit(tx.update)
    x, H = rng.normal(size=5), np.eye(5)
    state = tx.init(tree(x))
    for k in range(12):
        g = hessian @ x
        direction, state = update(tree(g), state, tree(x))
        np.testing.assert_allclose(flat(direction), H @ g, rtol=1e-9, atol=1e-12)
        a = rng.uniform(0.2, 1.0) / np.linalg.eigvalsh(hessian)[-1]
        new = x - a * H @ g
        H = twin(H, new - x, hessian @ (new - x), g, a, method, first=initial_scale and k == 0)
        x = new
    assert int(state.skipped) == 0


def test_too_many_parameters_are_refused_with_what_they_would_take():
    shapes = {"w": jax.ShapeDtypeStruct((5000, 5), jnp.float64)}
    with pytest.raises(ValueError, match=r"25000 parameters.*max_size=20000.*5\.0 GB.*lbfgs\(\).*max_size=25000"):
        optaxaccel.bfgs().init(shapes)
    with pytest.raises(ValueError, match=r"max_size=4"):
        optaxaccel.ssbroyden(max_size=4).init(jnp.ones(5))
    optaxaccel.lbfgs().init(shapes)


def test_steps_that_do_not_move_teach_nothing_and_are_counted():
    tx = optaxaccel.scale_by_quasi_newton()
    x = jnp.ones(3)
    state = tx.init(x)
    for _ in range(3):
        direction, state = tx.update(2.0 * x, state, x)
    np.testing.assert_array_equal(direction, 2.0 * x)
    np.testing.assert_array_equal(state.inverse_hessian, jnp.eye(3))
    assert int(state.skipped) == 2


def test_stands_before_any_search():
    """With optax's own search it reaches the minimum of the valley of Rosenbrock."""
    tx = optax.chain(
        optaxaccel.scale_by_quasi_newton(method="bfgs"),
        optax.scale(-1.0),
        optax.scale_by_backtracking_linesearch(max_backtracking_steps=20),
    )

    def loss(x):
        return (1.0 - x[0]) ** 2 + 100.0 * (x[1] - x[0] ** 2) ** 2

    @jax.jit
    def step(x, state):
        value, grad = jax.value_and_grad(loss)(x)
        updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return x + updates, state

    x = jnp.array([-1.2, 1.0])
    state = tx.init(x)
    for _ in range(60):
        x, state = step(x, state)
    np.testing.assert_allclose(x, 1.0, atol=1e-6)


@pytest.mark.parametrize("stored", [0, 2, 4, 7])
def test_pairs_give_the_product_with_the_matrix_that_they_make(stored):
    """Updates of BFGS by the last four pairs, from the identity scaled by the newest; half of the variables at rest."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    hessian = root @ root.T + np.eye(6)
    pairs = [(s, hessian @ s) for s in rng.normal(size=(stored, 6))]
    steps, changes = np.zeros((2, 4, 6))
    for k, (s, y) in enumerate(pairs):
        steps[k % 4], changes[k % 4] = s, y
    g = rng.normal(size=6)
    for free in (np.ones(6), np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])):
        cut = [(s * free, y * free) for s, y in pairs[-4:]]
        cut = [(s, y) for s, y in cut if s @ y > 0]
        H = np.eye(6) * (cut[-1][0] @ cut[-1][1] / (cut[-1][1] @ cut[-1][1]) if cut else 1.0)
        for s, y in cut:
            H = twin(H, s, y, -np.linalg.solve(H, s), 1.0, "bfgs")
        got = jax.jit(apply_pairs)(g, steps, changes, stored, free)
        np.testing.assert_allclose(got, H @ (g * free) * free, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", QUASI_NEWTON_METHODS)
def test_no_entry_of_the_matrix_is_divided(method):
    """Division is an order of magnitude slower than multiplication, and the pass over H would wait for it."""
    n = 7
    vector = jnp.ones(n)

    def update(H):
        return optaxaccel.quasi_newton_update(H, vector, vector, vector, 1.0, method=method)

    jaxpr = jax.make_jaxpr(update)(jnp.eye(n))
    assert not [e for e in jaxpr.jaxpr.eqns if e.primitive.name == "div" and e.outvars[0].aval.shape == (n, n)]
