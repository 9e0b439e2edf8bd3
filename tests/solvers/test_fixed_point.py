import jax
import jax.numpy as jnp
import numpy as np
import pytest
import twins

from optaxaccel import FixedPointStatus, anderson_init, anderson_update, fixed_point


def normal(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def affine(rho=0.95, size=30, seed=2, dtype=float):
    matrix = normal(size, size, seed=seed)
    if dtype is complex:
        matrix = matrix + 1j * normal(size, size, seed=seed + 99)
    matrix = matrix * rho / np.max(np.abs(np.linalg.eigvals(matrix)))
    return matrix.astype(dtype), normal(size, seed=seed + 1).astype(dtype)


A, B = affine()
Z, ZB = affine(0.6, 12, 3, complex)
C = normal(30, 30, seed=3) / np.sqrt(30)
S = C + C.T
SMALL = normal(30, seed=8)
SHRINK = np.linspace(0.85, 0.9, 12)
MAPS = {
    "affine": (lambda x: A @ x + B, np.zeros(30)),
    "complex": (lambda x: Z @ x + ZB, np.zeros(12, complex)),
    "smooth": (lambda x: (np if isinstance(x, np.ndarray) else jnp).tanh(C @ x + B), np.zeros(30)),
    "repelling": (
        lambda x: 1.9 * x - 0.9 * x**3 + 0.1 * (np if isinstance(x, np.ndarray) else jnp).roll(x, 1),
        SMALL / 5,
    ),
    "wall": (
        lambda x: (np if isinstance(x, np.ndarray) else jnp).where(x.min() > 8, SHRINK * x, 500.0),
        np.full(12, 10.0),
    ),
}


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def steps(fun, x0, number, **options):
    x, state, points = jnp.asarray(x0), anderson_init(jnp.asarray(x0), **options), []
    update = jax.jit(lambda x, state: anderson_update(fun(x), x, state, rtol=0.0))
    for _ in range(number):
        points.append(np.asarray(x))
        x, state = update(x, state)
    return points, state


@pytest.mark.parametrize("history", [10, 3])
@pytest.mark.parametrize("name", MAPS)
def test_the_step_pair_follows_the_rule(name, history):
    fun, x0 = MAPS[name]
    number = {"wall": 8, "repelling": 20}.get(name, 30)
    want, rejected, backward = twins.anderson(fun, x0, number, history)
    got, state = steps(fun, x0, number, history=history)
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.max(np.abs(b)), err_msg=f"{name}, step {k}")
    assert (int(state.rejected), int(state.backward)) == (rejected, backward)
    assert rejected + backward >= {"repelling": 1, "wall": 4}.get(name, 0)


@pytest.mark.parametrize("name", MAPS)
def test_the_driver_evaluates_what_the_step_pair_does(name):
    fun, x0 = MAPS[name]
    seen = []
    result = fixed_point(fun, x0, max_maps=15, rtol=0.0, callback=lambda maps, residual: seen.append(float(residual)))
    jax.effects_barrier()
    points, _ = steps(fun, x0, 15)
    want = [np.linalg.norm(fun(x) - x) for x in points]
    np.testing.assert_allclose(seen, want, rtol=1e-6)  # the host's thread knows nothing of this test's float64
    assert int(result.maps) == 16
    best = int(np.argmin(want))
    np.testing.assert_allclose(result.value, fun(points[best]), rtol=1e-12)
    np.testing.assert_allclose(result.residual, want[best], rtol=1e-12)


def test_acx_follows_its_rule():
    fun, x0 = MAPS["affine"]
    seen = []
    fixed_point(fun, x0, method="acx", max_maps=20, rtol=0.0, callback=lambda _, residual: seen.append(float(residual)))
    jax.effects_barrier()
    np.testing.assert_allclose(seen, [np.linalg.norm(fun(x) - x) for x in twins.acx(fun, x0, 20)], rtol=1e-6)


def test_plain_iterates_the_map():
    fun, x = lambda x: 0.5 * x + B, np.zeros(30)
    result = fixed_point(fun, x, method="plain", max_maps=7)
    for _ in range(7):
        x = fun(x)
    np.testing.assert_allclose(result.value, x, rtol=1e-12)
    assert (int(result.status), int(result.maps)) == (fixed_point.LIMIT, 8)


@pytest.mark.parametrize("method", ["anderson", "acx", "plain"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_trees_of_any_dtype_converge(method, dtype):
    half, b = (Z.real, ZB.real) if np.issubdtype(dtype, np.floating) else (Z, ZB)
    half, b = half.astype(dtype), b.astype(dtype)

    def fun(x):
        return {"a": half @ x["a"] + b, "b": (jnp.cos(x["b"][0]), None), "none": jnp.zeros((0, 2))}

    x0 = {"a": jnp.zeros(12, dtype), "b": (jnp.float32(1.0), None), "none": jnp.zeros((0, 2))}
    result = fixed_point(fun, x0, method=method, rtol=1e-6)
    assert int(result.status) == fixed_point.CONVERGED
    assert jax.tree.map(lambda x: x.dtype, result.value) == jax.tree.map(lambda x: x.dtype, x0)
    np.testing.assert_allclose(result.value["a"], np.linalg.solve(np.eye(12) - half, b), rtol=1e-4)
    np.testing.assert_allclose(result.value["b"][0], 0.7390851, rtol=1e-5)


@pytest.mark.parametrize(
    ("fun", "x0", "options", "status"),
    [
        (lambda x: jnp.cos(x), 1.0, {}, FixedPointStatus.CONVERGED),
        (lambda x: A @ x + B, jnp.zeros(30), {"max_maps": 5}, FixedPointStatus.LIMIT),
        (lambda x: jnp.sqrt(x), -1.0, {}, FixedPointStatus.NOT_FINITE),
        (lambda x: jnp.ones_like(x), jnp.nan, {}, FixedPointStatus.NOT_FINITE),
        (lambda x: 2 * x + 1, np.ones(2), {}, FixedPointStatus.NOT_FINITE),
        (lambda x: x + 1e300, np.zeros(2), {}, FixedPointStatus.NOT_FINITE),
        (lambda x: x + 1, np.ones(2), {"max_maps": 200}, FixedPointStatus.STALLED),
        (
            lambda x: jnp.cos(x) + 1e-9 * jnp.sin(1e12 * x),
            np.linspace(0.5, 1.5, 20),
            {"rtol": 0.0},
            FixedPointStatus.STALLED,
        ),
    ],
)
@pytest.mark.parametrize("method", ["anderson", "acx", "plain"])
def test_statuses(fun, x0, options, status, method):
    result = fixed_point(fun, jnp.asarray(x0), method=method, **options)
    if method == "acx" and status is FixedPointStatus.NOT_FINITE and x0 is not jnp.nan:
        status = FixedPointStatus(max(status, int(result.status)))  # it starts again from the best point, and stalls
    assert FixedPointStatus(int(result.status)) is status
    if status in (FixedPointStatus.CONVERGED, FixedPointStatus.LIMIT):
        x = result.value
        assert np.linalg.norm(np.atleast_1d(fun(x) - x)) <= 1.1 * float(result.residual)


def test_every_status_has_a_code_and_advice():
    for status in FixedPointStatus:
        assert getattr(fixed_point, status.name) == status.value
        assert status.advice.endswith(".")
    assert (fixed_point.CONVERGED, fixed_point.LIMIT, fixed_point.NOT_FINITE) == (0, 1, 2)


def test_float32_that_cannot_get_there_says_so_early():
    shift = np.linspace(0, 2, 50, dtype=np.float32)
    result = fixed_point(lambda x: jnp.float32(0.3) * jnp.sin(jnp.float32(7) * x) + shift, shift, rtol=1e-12)
    assert int(result.status) == fixed_point.STALLED
    assert int(result.maps) < 300
    assert float(result.residual) < 1e-5


def test_nan_at_an_extrapolation_is_taken_back_and_counted():
    def fun(x):
        return jnp.where(x > 0.5, 0.9 * (x - 0.6) + 0.6, jnp.nan)

    result = fixed_point(fun, jnp.array([5.0, 4.0]), rtol=1e-9)
    assert int(result.status) == fixed_point.CONVERGED

    def wall(x):
        return jnp.where(jnp.all(x > 8), 0.9 * x, jnp.nan)

    result = fixed_point(wall, jnp.array([10.0]))
    assert (int(result.rejected), int(result.status)) == (4, fixed_point.NOT_FINITE)
    assert float(result.value[0]) == pytest.approx(0.9 * 8.1)  # the best point had a finite image


def test_a_repelling_fixed_point_is_left():
    """Textbook Anderson goes to 0, where the map's derivative is 1.9; plain iteration leaves it."""
    result = fixed_point(lambda x: 1.9 * x - 0.9 * x**3, jnp.full(3, 0.3))
    np.testing.assert_allclose(result.value, 1.0, rtol=1e-5)
    assert int(result.backward) > 0


def test_members_under_vmap_are_what_they_are_alone():
    def one(a, x0):
        return fixed_point(lambda x: jnp.cos(a * x) + x0, x0, rtol=1e-10)

    a, x0 = (
        jnp.array([0.1, 0.9, 1.0, -1.0]),
        jnp.stack([jnp.ones(3), jnp.zeros(3), jnp.array([1.0, jnp.nan, 0.0]), jnp.ones(3)]),
    )
    together = jax.vmap(one)(a, x0)
    assert together.status.tolist() == [0, 0, 2, 0]
    for k in range(4):
        alone = one(a[k], x0[k])
        assert int(alone.maps) == int(together.maps[k])
        np.testing.assert_allclose(together.value[k], alone.value, rtol=1e-12)
        np.testing.assert_allclose(together.residual[k], alone.residual, rtol=1e-3, atol=1e-15)


def test_nothing_is_compiled_again_for_other_numbers():
    traced = []

    def fun(x, a):
        traced.append(1)
        return a * jnp.cos(x)

    fixed_point(fun, jnp.ones(3), 0.5)
    before = len(traced)
    for rtol, limit, a in ((1e-3, 10, 0.2), (1e-9, 20, 0.7)):
        fixed_point(fun, jnp.zeros(3), a, rtol=rtol, atol=rtol, max_maps=limit)
    assert len(traced) == before
    update = jax.jit(lambda y, x, state: anderson_update(y, x, state))
    x, state = jnp.ones(3), anderson_init(jnp.ones(3))
    for _ in range(4):
        x, state = update(jnp.cos(x), x, state)
    assert update._cache_size() == 1


def test_a_loop_of_ones_own_compiles_once():
    compiled = []
    x, state = jnp.ones(3), anderson_init(jnp.ones(3))
    for turn in range(6):
        if turn == 3:  # by then the first point, a jump and a plain step have been there
            jax.monitoring.register_event_duration_secs_listener(compile_listener(compiled))
        x, state = anderson_update(np.cos(x), x, state, rtol=10.0 ** -(9 + turn))
    assert not compiled
    fixed_point(lambda x: x / 2 + 1, 1.0)
    assert compiled, "the listener hears nothing"


def compile_listener(heard):
    return lambda event, seconds, **_: heard.append(event) if "backend_compile" in event else None


def test_auxiliary_output_is_that_of_the_value():
    result = fixed_point(lambda x: (jnp.cos(x), {"sine": jnp.sin(x), "n": 3}), jnp.array(1.0), has_aux=True)
    np.testing.assert_allclose(result.aux["sine"], np.sin(np.arccos(result.value)), rtol=1e-12)
    assert result.aux["n"] == 3


def test_a_callable_that_cannot_be_hashed_is_a_map():
    class Map:
        __hash__ = None

        def __call__(self, x):
            return jnp.cos(x)

    assert int(fixed_point(Map(), jnp.array(1.0)).status) == 0


@pytest.mark.parametrize(
    ("fun", "x0", "options", "error", "message"),
    [
        (jnp.cos, np.ones(2, int), {}, TypeError, "int64"),
        (jnp.cos, {"a": np.ones(2), "b": True}, {}, TypeError, r"\['b'\]"),
        (lambda x: x[:1], np.ones(2), {}, ValueError, r"\(1,\)"),
        (lambda x: jnp.sum(x), np.ones(2), {}, ValueError, r"\(\)"),
        (lambda x: (x,), np.ones(2), {}, ValueError, "structure"),
        (lambda x: x * 1j, np.ones(2), {}, TypeError, "complex128"),
        (lambda x: jnp.floor(x).astype(int), np.ones(2), {}, TypeError, "int64"),
        (lambda x: x, np.ones(2), {"has_aux": True}, ValueError, "pair"),
        (jnp.cos, 1.0, {"history": 0}, ValueError, "history=0"),
        (jnp.cos, 1.0, {"history": 2.5}, ValueError, "history=2.5"),
        (jnp.cos, 1.0, {"method": "newton"}, ValueError, "method='newton'"),
        (jnp.cos, 1.0, {"rtol": -1e-6}, ValueError, "rtol=-1e-06"),
        (jnp.cos, 1.0, {"atol": float("nan")}, ValueError, "atol=nan"),
        (jnp.cos, 1.0, {"max_maps": 0}, ValueError, "max_maps=0"),
        (jnp.cos, 1.0, {"bounds": (0, 1), "project": jnp.abs}, ValueError, "bounds and project"),
        (jnp.cos, 1.0, {"phantom": 0}, ValueError, "phantom=0"),
        (lambda x: x, {}, {}, ValueError, "nothing to find"),
        (jnp.cos, np.ones(2), {"rtol": np.full(2, 1e-3)}, ValueError, r"rtol has the shape \(2,\)"),
    ],
)
def test_bad_input_is_refused(fun, x0, options, error, message):
    with pytest.raises(error, match=message):
        fixed_point(fun, x0, **options)


def test_bad_steps_are_refused():
    state = anderson_init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        anderson_update(jnp.ones(3), jnp.ones(2), state)
    with pytest.raises(ValueError, match="anderson_init"):
        anderson_update(jnp.ones(3), jnp.ones(3), state)
    with pytest.raises(ValueError, match="history=0"):
        anderson_init(1.0, history=0)
    with pytest.raises(TypeError, match="float32"):
        anderson_update(jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float32), state)
    with pytest.raises(TypeError, match="order"):
        anderson_update(state, jnp.ones(2), jnp.ones(2))


def test_a_limit_beyond_32_bits_is_no_limit():
    assert int(fixed_point(jnp.cos, 1.0, max_maps=10**12).status) == fixed_point.CONVERGED
