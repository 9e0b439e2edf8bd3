"""RNA against Algorithm 1 in NumPy, in every form of a history, and as exact in float32 as its docstring says."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from methods import histories
from methods.histories import decaying, descent, objective, optimum, residuals

import optaxaccel
from optaxaccel.methods import _extrapolation as extrapolation

CASES = [(problem, k, ridge) for problem in problems.ALL for k in (1, 3, 5) for ridge in (1e-2, 1e-5, 1e-8)]


def amplification(points, ridge):
    """How much the paper's normal equations magnify rounding: their condition number."""
    r = residuals(points)
    gram = r.T @ r
    return np.linalg.cond(gram / np.linalg.norm(gram, 2) + ridge * np.eye(len(gram)))


# --- Fidelity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterate", ["tail", "head"])
@pytest.mark.parametrize(("problem", "k", "ridge"), CASES, ids=str)
def test_follows_the_paper(problem, k, ridge, iterate):
    """To 1e-9, plus ten rounding errors as the twin's own linear system magnifies them."""
    points = descent(problem, k + 1)
    slack = 1e-9 + 10 * np.finfo(float).eps * amplification(points, ridge)
    with jax.enable_x64(True):
        got = optaxaccel.extrapolate(histories.trees(points, problem), regularization=ridge, iterate=iterate)
        c = optaxaccel.extrapolation_weights(histories.trees(points, problem), regularization=ridge)
    expected = histories.weights(points, ridge)
    np.testing.assert_allclose(c, expected, rtol=0, atol=slack * np.max(np.abs(expected)))
    span = np.max(np.abs(expected)) * np.max(np.abs(points - points[-1])) + np.max(np.abs(points))
    twin = histories.extrapolated(points, ridge, iterate=iterate)
    np.testing.assert_allclose(problems.flatten(got), twin, rtol=0, atol=slack * span)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_absolute_regularisation_depends_on_the_scale_and_relative_does_not(scale):
    points = scale * decaying(6)
    with jax.enable_x64(True):
        for relative in (True, False):
            got = optaxaccel.extrapolation_weights(list(points), regularization=1e-4, relative=relative)
            np.testing.assert_allclose(got, histories.weights(points, 1e-4, relative), rtol=1e-8)
        relative = optaxaccel.extrapolation_weights(list(points), regularization=1e-4)
        np.testing.assert_allclose(relative, histories.weights(points / scale, 1e-4), rtol=1e-8)


def test_k_differences_find_the_minimum_of_k_minus_1_curvatures():
    """One degree of freedom goes into the sum of the weights."""
    rates = np.array([0.9, 0.5, 0.2, 0.5])
    points = 3.0 + rates ** np.arange(5)[:, None] * np.array([2.0, -1.0, 5.0, 4.0])
    with jax.enable_x64(True):
        got = optaxaccel.extrapolate(list(points[:4]), regularization=0.0)
        assert np.max(np.abs(got - 3.0)) > 1e-2
        got = optaxaccel.extrapolate(list(points), regularization=0.0)
    np.testing.assert_allclose(got, np.full(4, 3.0), rtol=1e-9)


@pytest.mark.parametrize("relative", [True, False])
def test_a_history_that_stands_still_has_equal_weights(relative):
    points = [jnp.array([1.0, 2.0])] * 4
    weights = optaxaccel.extrapolation_weights(points, relative=relative)
    np.testing.assert_allclose(weights, np.full(3, 1 / 3), rtol=1e-6)
    np.testing.assert_array_equal(optaxaccel.extrapolate(points, relative=relative), [1.0, 2.0])


# --- Accuracy in float32 ----------------------------------------------------------------------------------------------

SPECTRA = {
    "slow": {"slowest": 0.999, "fastest": 0.9},
    "wide": {"slowest": 0.999, "fastest": 0.3},
    "fast": {"slowest": 0.7, "fastest": 0.1},
}


@pytest.mark.parametrize("ridge", [1e-8, 1e-6, 1e-3])
@pytest.mark.parametrize("k", [5, 10, 20])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_float32_weights_are_as_good_as_float64_ones(spectrum, k, ridge):
    """The objective within 1e-4 of the optimum for the very same float32 iterates; 1 % is what is promised."""
    points = decaying(k + 1, **SPECTRA[spectrum]).astype(np.float32)
    r = residuals(points.astype(float))
    absolute = ridge * np.linalg.norm(r, 2) ** 2
    c = np.asarray(optaxaccel.extrapolation_weights(list(points), regularization=ridge), float)
    assert objective(r, c / c.sum(), absolute) <= (1 + 1e-4) * optimum(r, absolute)


def test_normal_equations_in_float32_are_not_good_enough():
    """What the test above would say of the published code: more than ten per cent over the optimum."""
    points = decaying(11, **SPECTRA["slow"]).astype(np.float32)
    r32, r = residuals(points), residuals(points.astype(float))
    gram = r32.T @ r32
    gram = gram / np.linalg.norm(gram, 2) + np.float32(1e-8) * np.eye(10, dtype=np.float32)
    c = np.linalg.solve(gram, np.ones(10, np.float32)).astype(float)
    absolute = 1e-8 * np.linalg.norm(r, 2) ** 2
    assert objective(r, c / c.sum(), absolute) > 1.1 * optimum(r, absolute)


@pytest.mark.parametrize("size", [3_000, 140_000, 1_100_000])
def test_leaves_of_every_size_are_summed_whole(size):
    """Blocks, remainders and joined leaves: sizes on both sides of every limit."""
    points = decaying(5, size=size).astype(np.float32)
    c = np.asarray(optaxaccel.extrapolation_weights([{"w": p, "b": p[:7] * 2} for p in points], regularization=1e-4))
    joined = np.concatenate([points, points[:, :7] * 2], axis=1).astype(float)
    np.testing.assert_allclose(c, histories.weights(joined, 1e-4), rtol=2e-3)


# --- Every form of a history ------------------------------------------------------------------------------------------


def in_ring(points, length):
    history = optaxaccel.history_init(jnp.asarray(points[0]), length=length)
    for point in points:
        history = optaxaccel.history_push(history, jnp.asarray(point))
    return history


@pytest.mark.parametrize("pushed", [2, 4, 6, 9])
def test_list_stack_and_ring_give_the_same(pushed):
    points = decaying(pushed)
    with jax.enable_x64(True):
        window = points[-6:]
        expected = optaxaccel.extrapolate(list(window), regularization=1e-6)
        stacked = optaxaccel.extrapolate(jnp.asarray(window), regularization=1e-6, stacked=True)
        ring = optaxaccel.extrapolate(in_ring(points, 6), regularization=1e-6)
        weights = optaxaccel.extrapolation_weights(in_ring(points, 6), regularization=1e-6)
    np.testing.assert_allclose(stacked, expected, rtol=1e-9)
    np.testing.assert_allclose(ring, expected, rtol=1e-9)
    exist = min(pushed, 6) - 1
    np.testing.assert_array_equal(weights[: 5 - exist], 0)
    np.testing.assert_allclose(weights[5 - exist :], histories.weights(window, 1e-6), rtol=1e-6)


@pytest.mark.parametrize("pushed", [3, 5, 8])
def test_slots_that_do_not_count_have_no_say_without_regularisation(pushed):
    """A ring has a column more than differences, or several while it fills; they are null vectors of R'R."""
    points = np.random.default_rng(pushed).normal(size=(pushed, 20))
    with jax.enable_x64(True):
        weights = optaxaccel.extrapolation_weights(in_ring(points, 5), regularization=0.0)
    exist = min(pushed, 5) - 1
    np.testing.assert_allclose(weights[4 - exist :], histories.weights(points[-5:], 0.0), rtol=1e-9)


def test_a_ring_keeps_the_last_trees_in_order():
    history = in_ring(np.arange(7.0), 3)
    assert [float(x) for x in optaxaccel.history_list(history)] == [4.0, 5.0, 6.0]
    assert int(history.count) == 7


def test_a_ring_in_half_precision_and_in_host_memory():
    history = optaxaccel.history_init({"w": jnp.zeros(3), "n": jnp.zeros((), jnp.int32)}, length=3, dtype=jnp.bfloat16)
    assert history.slots["w"].dtype == jnp.bfloat16
    assert history.slots["n"].dtype == jnp.int32
    points = decaying(3, size=5).astype(np.float32)
    host = optaxaccel.history_init(jnp.zeros(5), length=3, offload=True)
    for point in points:
        host = optaxaccel.history_push(host, jnp.asarray(point))
    assert jax.typeof(host.slots).memory_space is jax.memory.Space.Host
    expected = optaxaccel.extrapolate(list(points), regularization=1e-3)
    np.testing.assert_allclose(optaxaccel.extrapolate(host, regularization=1e-3), expected, rtol=1e-5)


def test_pushing_takes_the_buffers_over():
    history = optaxaccel.history_init(jnp.zeros(4), length=3)
    optaxaccel.history_push(history, jnp.ones(4))
    assert history.slots.is_deleted()


def test_complex_leaves_count_with_both_parts():
    points = decaying(5, size=8)
    as_complex = points[:, :4] + 1j * points[:, 4:]
    with jax.enable_x64(True):
        got = optaxaccel.extrapolate(list(as_complex), regularization=1e-6)
    twin = histories.extrapolated(points, 1e-6)
    np.testing.assert_allclose(got, twin[:4] + 1j * twin[4:], rtol=1e-9)


def test_every_leaf_keeps_its_dtype_and_integers_are_the_newest():
    points = decaying(4, size=6).astype(np.float32)
    history = [
        {"w": jnp.asarray(p), "half": jnp.asarray(p[:3], jnp.bfloat16), "seen": jnp.int32(i)}
        for i, p in enumerate(points)
    ]
    got = optaxaccel.extrapolate(history, regularization=1e-2)
    assert [got[name].dtype for name in ("w", "half", "seen")] == [jnp.float32, jnp.bfloat16, jnp.int32]
    assert int(got["seen"]) == 3
    rounded = np.concatenate([points, np.asarray(jnp.asarray(points[:, :3], jnp.bfloat16), np.float32)], axis=1)
    np.testing.assert_allclose(got["w"], histories.extrapolated(rounded.astype(float), 1e-2)[:6], rtol=1e-3)


def test_statistics_get_the_same_weights_and_variances_stay_in_their_range():
    points, statistics = decaying(4), [{"mean": jnp.array(m), "var": jnp.array(v)} for m, v in STATISTICS]
    with jax.enable_x64(True):
        history = list(points)
        got, combined = optaxaccel.extrapolate(history, statistics=statistics, regularization=1e-6)
        np.testing.assert_array_equal(got, optaxaccel.extrapolate(history, regularization=1e-6))
    c = histories.weights(points, 1e-6)
    mean, var = np.array(STATISTICS).T
    assert c @ var[1:] < 0
    np.testing.assert_allclose(combined["mean"], c @ mean[1:], rtol=1e-5)
    assert combined["var"] == np.float32(min(var))  # the weights alone would make it negative


STATISTICS = [(0.0, 9.0), (1.0, 4.0), (1.5, 3.0), (1.7, 0.1)]


@pytest.mark.parametrize("form", ["list", "stacked"])
def test_sharded_leaves_give_the_same_answer(form):
    mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
    points = decaying(5, size=64).astype(np.float32)
    expected = optaxaccel.extrapolate(list(points), regularization=1e-4)
    cut = NamedSharding(mesh, PartitionSpec(*([None] if form == "stacked" else []), "x"))
    if form == "list":
        got = optaxaccel.extrapolate([jax.device_put(p, cut) for p in points], regularization=1e-4)
    else:
        got = optaxaccel.extrapolate(jax.device_put(points, cut), regularization=1e-4, stacked=True)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_another_regularisation_compiles_nothing_new():
    points = [jnp.asarray(p) for p in decaying(4).astype(np.float32)]
    optaxaccel.extrapolate(points, regularization=1e-3)
    compiled = extrapolation._extrapolate._cache_size()
    optaxaccel.extrapolate(points, regularization=1e-5)
    assert extrapolation._extrapolate._cache_size() == compiled


# --- Errors -----------------------------------------------------------------------------------------------------------

POINTS = [jnp.zeros(2), jnp.ones(2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params_history": POINTS[:1]}, "holds 1 tree"),
        ({"params_history": jnp.zeros((3, 2))}, "stacked=True"),
        ({"params_history": {"a": jnp.zeros(2), "b": jnp.zeros((3, 2))}, "stacked": True}, "leading axes"),
        ({"params_history": [jnp.zeros(2), {"a": jnp.zeros(2)}]}, "structure"),
        ({"params_history": POINTS, "regularization": -1.0}, "regularization=-1.0"),
        ({"params_history": POINTS, "iterate": "last"}, "iterate='last'"),
        ({"params_history": POINTS, "statistics": [*POINTS, jnp.ones(2)]}, "statistics holds 3"),
    ],
)
def test_what_cannot_work_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        optaxaccel.extrapolate(**arguments)


@pytest.mark.parametrize("length", [1, 2.0, True])
def test_a_ring_of_less_than_two_is_refused(length):
    with pytest.raises(ValueError, match=f"length={length}"):
        optaxaccel.history_init(jnp.zeros(2), length=length)


def test_pushing_another_tree_is_refused():
    with pytest.raises(ValueError, match="made for"):
        optaxaccel.history_push(optaxaccel.history_init(jnp.zeros(2)), jnp.zeros(3))
