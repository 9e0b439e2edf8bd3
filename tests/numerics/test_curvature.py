"""Hessian products, Lanczos and power iteration against Hessians that are known in full."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from optaxaccel.numerics import eigenpairs, hessians, ring, trees
from optaxaccel.numerics import lanczos as krylov


class Bowl:
    """f(x) = (x - c)'H(x - c)/2 with H = Q D Q, Q the reflection I - 2 w w', in two leaves and without any matrix."""

    def __init__(self, spectrum, seed=0):
        rng = np.random.default_rng(seed)
        self.d = len(spectrum)
        self.spectrum = np.asarray(spectrum, np.float64)
        self.w = rng.normal(size=self.d)
        self.w /= np.linalg.norm(self.w)
        self.cut = self.d // 2
        self.params = {"a": jnp.ones((self.cut,)), "b": jnp.ones((1, self.d - self.cut))}

    def __call__(self, params, scale=1.0):
        x = jnp.concatenate([params["a"], params["b"][0]]).astype(jnp.result_type(float))
        w = jnp.asarray(self.w, x.dtype)
        y = x - 2 * w * jnp.sum(w * x)
        return 0.5 * scale * jnp.sum(jnp.asarray(self.spectrum, x.dtype) * y * y)

    def vector(self, i):
        unit = np.zeros(self.d)
        unit[i] = 1.0
        return unit - 2 * self.w * self.w[i]

    def lowest(self):
        i = int(np.argmin(self.spectrum))
        return self.spectrum[i], self.vector(i)

    @property
    def dense(self):
        reflection = np.eye(self.d) - 2 * np.outer(self.w, self.w)
        return reflection @ np.diag(self.spectrum) @ reflection


def flat(tree):
    return problems.flatten(tree)


def spread(d):
    """One eigenvalue -1, the others between 0 and 5."""
    return np.concatenate([[-1.0], np.linspace(0.0, 5.0, d - 1)])


SPECTRA = {  # 68,000 eigenvalues, lowest -1, highest 5
    "small_bulk": lambda d: np.concatenate([[-1.0], np.linspace(-0.01, 0.05, d - 21), np.linspace(0.5, 5.0, 20)]),
    "negative_bulk": lambda d: np.concatenate([[-1.0], np.linspace(-0.3, 0.3, d - 21), np.linspace(0.5, 5.0, 20)]),
    "uniform": spread,
}


# --- Products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host_driven", [False, True])
def test_products_are_those_of_the_hessian(host_driven):
    problem = problems.MLP
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, problem.start)
        hessian = np.asarray(jax.jit(jax.hessian(lambda x: problem.loss(problem_tree(problem, x))))(problem.x0))
        vector = np.random.default_rng(0).normal(size=len(problem.x0))
        product = hessians.hessian_product(problem.loss, params, {}, host_driven=host_driven)
        np.testing.assert_allclose(flat(product(problem.tree(vector))), hessian @ vector, rtol=1e-12, atol=1e-14)
        near = hessians.difference_product(problem.loss, params, 1e-5, {}, host_driven=host_driven)
        np.testing.assert_allclose(flat(near(problem.tree(vector))), hessian @ vector, atol=1e-3)


def problem_tree(problem, x):
    leaves, structure = jax.tree.flatten(problem.start)
    parts = jnp.split(x, np.cumsum([np.size(leaf) for leaf in leaves])[:-1])
    return jax.tree.unflatten(structure, [p.reshape(np.shape(leaf)) for p, leaf in zip(parts, leaves, strict=True)])


def test_products_take_data_and_keep_float32_for_bfloat16():
    bowl = Bowl([2.0, 2.0])
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), bowl.params)
    image = hessians.hessian_product(bowl, params, {"scale": jnp.float32(3.0)})(bowl.params)
    assert {leaf.dtype for leaf in jax.tree.leaves(image)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(flat(image), 6.0, rtol=1e-2)


def test_the_hessian_of_complex_parameters_is_that_of_their_real_and_imaginary_parts():
    def loss(z):
        return jnp.real(jnp.sum((1 + 2j) * z * z))

    def of_parts(x):
        return loss(x[:2] + 1j * x[2:])

    z, v = jnp.array([0.3 + 1j, 2.0]), jnp.array([1.0 - 2j, 0.5j])
    image = hessians.hessian_product(loss, z, {})(v)
    dense = jax.hessian(of_parts)(jnp.concatenate([z.real, z.imag]))
    parts = dense @ jnp.concatenate([v.real, v.imag])
    np.testing.assert_allclose(image, parts[:2] + 1j * parts[2:], rtol=1e-6)
    pair = krylov.lanczos(hessians.hessian_product(loss, z, {}), eigenpairs.random_unit(jax.random.key(0), z), 4)
    assert float(pair.eigenvalue) == pytest.approx(-2 * np.sqrt(5), rel=1e-6)


# --- Lanczos ----------------------------------------------------------------------------------------------------------


def lanczos(bowl, num_steps, seed=0, host_driven=False):
    def search(params, key):
        product = hessians.hessian_product(bowl, params, {}, host_driven=host_driven)
        start = eigenpairs.random_unit(key, params)
        return krylov.lanczos(product, start, num_steps, host_driven=host_driven)

    return (search if host_driven else jax.jit(search))(bowl.params, jax.random.key(seed))


@pytest.mark.parametrize(
    ("spectrum", "host_driven"),
    [([-1.0, 2.0], False), ([3.0, -1.0, 0.5], False), ([3.0, -1.0, 0.5], True), ([4.0], False), (spread(50), False)],
)
def test_lanczos_with_the_dimension_as_steps_is_exact(spectrum, host_driven):
    with jax.enable_x64(True):
        bowl = Bowl(spectrum)
        pair = lanczos(bowl, bowl.d, host_driven=host_driven)
        value, vector = bowl.lowest()
        assert float(pair.eigenvalue) == pytest.approx(value, rel=1e-12)
        assert abs(flat(pair.vector) @ vector) == pytest.approx(1.0, abs=1e-12)
        assert float(pair.residual) < 1e-7


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("spectrum", [[2.0, 3.0], [-1.0, -1.0, 4.0, 4.0], [0.0, 0.0, 0.0]])
def test_lanczos_survives_an_exhausted_space(spectrum, dtype):
    """More steps than distinct eigenvalues: the space ends early, and its padding must not pass for eigenvalues."""
    with jax.enable_x64(dtype == jnp.float64):
        bowl = Bowl(spectrum)
        pair = lanczos(bowl, 6)
        tolerance = 1e-12 if dtype == jnp.float64 else 1e-6
        assert float(pair.eigenvalue) == pytest.approx(min(spectrum), abs=max(spectrum) * tolerance + tolerance)
        assert np.linalg.norm(flat(pair.vector)) == pytest.approx(1.0, abs=1e-6)
        assert float(pair.residual) <= 1e-5


def test_ritz_values_are_those_of_the_dense_projection():
    """After m < d steps: the lowest eigenvalue of H on span(v, Hv, ..., H^(m-1) v), found here by QR."""
    with jax.enable_x64(True):
        bowl = Bowl(spread(50))
        start = eigenpairs.random_unit(jax.random.key(3), bowl.params)
        columns = [flat(start)]
        for _ in range(5):
            columns.append(bowl.dense @ columns[-1])
        basis, _ = np.linalg.qr(np.array(columns).T)
        values, vectors = np.linalg.eigh(basis.T @ bowl.dense @ basis)
        vector = basis @ vectors[:, 0]
        pair = krylov.lanczos(hessians.hessian_product(bowl, bowl.params, {}), start, 6)
        assert float(pair.eigenvalue) == pytest.approx(values[0], rel=1e-9)
        assert abs(flat(pair.vector) @ vector) == pytest.approx(1.0, abs=1e-9)
        residual = np.linalg.norm(bowl.dense @ vector - values[0] * vector)
        assert float(pair.residual) == pytest.approx(residual, rel=1e-7)


@pytest.mark.parametrize("name", SPECTRA)
def test_twelve_products_come_within_a_tenth_in_68000_dimensions(name):
    bowl = Bowl(SPECTRA[name](68_000))

    @jax.jit
    def search(params, key):
        product = hessians.hessian_product(bowl, params, {})
        return krylov.lanczos(product, eigenpairs.random_unit(key, params), 12)

    for seed in range(3):
        pair = search(bowl.params, jax.random.key(seed))
        assert float(pair.eigenvalue) == pytest.approx(-1.0, rel=0.1)
        assert abs(flat(pair.vector) @ bowl.lowest()[1]) > 0.95
        assert float(pair.residual) < 0.5 * abs(float(pair.eigenvalue))


def test_forty_products_recover_the_vector_in_68000_dimensions():
    bowl = Bowl(SPECTRA["uniform"](68_000))
    pair = lanczos(bowl, 40)
    assert float(pair.eigenvalue) == pytest.approx(-1.0, rel=1e-5)
    np.testing.assert_allclose(np.abs(flat(pair.vector)), np.abs(bowl.lowest()[1]), atol=1e-5)


def test_orthogonalisation_is_full():
    """Without it, 60 steps lose orthogonality and copies of the converged eigenvalues appear."""
    bowl = Bowl(np.concatenate([[-1.0, 100.0], np.linspace(0.0, 1.0, 198)]))
    product = hessians.hessian_product(bowl, bowl.params, {})

    @jax.jit
    def extend(space, step):
        return krylov._extend(space, step, product(krylov._vector(space.basis, step)))

    steps, start = 60, eigenpairs.random_unit(jax.random.key(0), bowl.params)
    basis = ring.write(ring.stack_zeros(bowl.params, steps + 1), 0, start)
    space = krylov.Krylov(basis, jnp.zeros(steps), jnp.zeros(steps))
    for step in range(steps):
        space = extend(space, step)
    basis = np.concatenate([np.reshape(leaf, (61, -1)) for leaf in jax.tree.leaves(space.basis)], axis=1)
    np.testing.assert_allclose(basis @ basis.T, np.eye(61), atol=1e-5)


@pytest.mark.parametrize("params", [{}, {"a": None, "b": jnp.zeros((0, 3))}, {"a": jnp.zeros(()), "b": None}], ids=str)
def test_odd_trees(params):
    def loss(p):
        return sum((-0.5 * jnp.sum(x * x) for x in jax.tree.leaves(p)), start=jnp.zeros(()))

    product = hessians.hessian_product(loss, params, {})
    pair = jax.jit(lambda key: krylov.lanczos(product, eigenpairs.random_unit(key, params), 3))(jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert float(pair.eigenvalue) == (-1.0 if size else 0.0)
    assert jax.tree.structure(pair.vector) == jax.tree.structure(params)
    assert np.all(np.isfinite(pair.residual))


def test_a_hessian_that_is_not_finite_is_not_hidden():
    pair = jax.jit(lambda p: search_16(lambda q: jnp.sum(jnp.sqrt(q)), p))(jnp.zeros(3))
    assert np.isnan(pair.eigenvalue)


def search_16(loss, params):
    start = eigenpairs.random_unit(jax.random.key(0), params)
    return krylov.lanczos(hessians.hessian_product(loss, params, {}), start, 16)


def test_sharded_leaves_give_the_same_answer():
    params = {"w": jnp.ones((8, 3)), "b": jnp.ones(3)}
    weights = jnp.arange(24.0).reshape(8, 3) - 1.0

    def loss(p):
        return 0.5 * jnp.sum(weights * p["w"] ** 2) + jnp.sum(p["w"] * p["b"][None]) + jnp.sum(p["b"] ** 2)

    whole = jax.jit(functools.partial(search_16, loss))(params)
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((4,), ("model",), axis_types=(kind,))
        with jax.set_mesh(mesh):
            shardings = {"w": NamedSharding(mesh, P("model")), "b": NamedSharding(mesh, P())}
            sharded = jax.device_put(params, shardings)
            pair = jax.jit(functools.partial(search_16, lambda p: loss(p)))(sharded)
            if kind == AxisType.Explicit:
                assert jax.typeof(pair.vector["w"]).sharding.spec[0] == "model"
        assert float(pair.eigenvalue) == pytest.approx(float(whole.eigenvalue), rel=1e-5)
        np.testing.assert_allclose(flat(pair.vector), flat(whole.vector), atol=1e-4)


# --- Power iteration --------------------------------------------------------------------------------------------------


def test_power_iteration_follows_the_rule():
    with jax.enable_x64(True):
        bowl = Bowl(spread(10))
        start = eigenpairs.random_unit(jax.random.key(0), bowl.params)
        v = flat(start)
        for _ in range(30):
            v = v - 0.15 * bowl.dense @ v
            v = v / np.linalg.norm(v)
        pair = eigenpairs.power(hessians.hessian_product(bowl, bowl.params, {}), start, 30, 0.15)
        np.testing.assert_allclose(flat(pair.vector), v, rtol=1e-10, atol=1e-14)
        value = v @ bowl.dense @ v
        assert float(pair.eigenvalue) == pytest.approx(value, rel=1e-10)
        assert float(pair.residual) == pytest.approx(np.linalg.norm(bowl.dense @ v - value * v), rel=1e-8)


def test_random_vectors_are_units_with_leaves_that_differ():
    like = {"a": jnp.zeros(1000), "b": jnp.zeros(1000), "c": jnp.zeros(3, jnp.bfloat16)}
    drawn = eigenpairs.random_unit(jax.random.key(0), like)
    assert float(trees.norm(drawn)) == pytest.approx(1.0, rel=1e-6)
    assert not np.allclose(drawn["a"], drawn["b"])
    assert drawn["c"].dtype == jnp.float32
    again = eigenpairs.random_unit(jax.random.key(0), like)
    np.testing.assert_array_equal(drawn["a"], again["a"])
