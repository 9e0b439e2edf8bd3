"""Merging against sums in NumPy: weights by order, by RNA and by a loss, in every form of a history."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import optaxaccel

COUNT = 6
SHAPES = {
    "linear": lambda t: 1 - t,
    "cosine": lambda t: (1 + np.cos(np.pi * t)) / 2,
    "one_minus_sqrt": lambda t: 1 - t**0.5,
    "square": lambda t: 1 - t**2,  # handed over as a function
}
TIMES = {
    "inside": lambda i, k: i / (k + 1),
    "from_zero": lambda i, k: (i - 1) / k,
    "to_one": lambda i, k: i / k,
}


def path(count=COUNT, seed=0, size=7):
    return np.cumsum(np.random.default_rng(seed).normal(size=(count, size)), axis=0)


def kind_of(shape):
    return SHAPES[shape] if shape == "square" else shape


# --- Weights by order -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", TIMES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, COUNT])
def test_a_shape_takes_back_what_a_decayed_rate_would_not_have_moved(count, shape, points):
    x, k = path(count), count - 1
    factors = [SHAPES[shape](TIMES[points](i, k)) for i in range(1, k + 1)]
    expected = x[0] - sum(w * (x[i] - x[i + 1]) for i, w in enumerate(factors))
    weights = optaxaccel.merge_weights(kind_of(shape), count, points=points)
    np.testing.assert_allclose(weights @ x, expected, rtol=0, atol=1e-12)
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    assert weights.min() >= 0
    assert (count == 1) or (weights[0] < 1e-15) == (points == "from_zero") or shape == "square"
    assert (count == 1) or (weights[-1] < 1e-15) == (points == "to_one")


def test_with_gradients_that_do_not_depend_on_the_parameters_it_is_the_decayed_run():
    gradient, rate, k = path(1)[0], 0.3, 5
    factors = [SHAPES["cosine"](i / (k + 1)) for i in range(1, k + 1)]
    constant = [-rate * i * gradient for i in range(k + 1)]
    decayed = -rate * sum(factors) * gradient
    np.testing.assert_allclose(optaxaccel.merge(constant, "cosine"), decayed, rtol=0, atol=1e-12)


def test_a_linear_shape_is_the_mean():
    linear, mean = (optaxaccel.merge_weights(kind, 9) for kind in ("linear", "mean"))
    np.testing.assert_allclose(linear, mean, rtol=0, atol=1e-15)
    np.testing.assert_allclose(mean, 1 / 9, rtol=1e-15)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("count", [1, 2, COUNT])
def test_exponential_means_are_their_recursions(count, decay):
    x = path(count)
    mean, sum_, total = x[0], 0.0, 0.0
    for point in x:
        sum_, total = decay * sum_ + (1 - decay) * point, decay * total + (1 - decay)
    for point in x[1:]:
        mean = decay * mean + (1 - decay) * point
    np.testing.assert_allclose(optaxaccel.merge(list(x), "ema", decay=decay), mean, rtol=0, atol=1e-12)
    got = optaxaccel.merge(list(x), "ema", decay=decay, debias=True)
    np.testing.assert_allclose(got, sum_ / total, rtol=0, atol=1e-12)


# --- Merging ----------------------------------------------------------------------------------------------------------


def test_leaves_keep_their_dtypes_and_what_is_no_weight_is_the_newest():
    x = path()
    wide = [{"w": p, "h": p.astype(ml_dtypes.bfloat16), "n": np.int64(2**40 + k)} for k, p in enumerate(x)]
    got = optaxaccel.merge(wide, weights := np.array([0.5, -0.25, 0.0, 0.25, 0.25, 0.25]))
    assert (got["w"].dtype, got["h"].dtype, got["n"]) == (np.float64, ml_dtypes.bfloat16, 2**40 + COUNT - 1)
    np.testing.assert_allclose(got["w"], weights @ x, rtol=0, atol=1e-12)
    halves = np.stack([tree["h"].astype(float) for tree in wide])
    np.testing.assert_allclose(got["h"].astype(float), weights @ halves, rtol=2**-8, atol=1e-6)


def test_a_constant_is_kept_to_the_bit():
    tree = {"w": jnp.float32([1 / 3, 1e-30, 1e30])}
    np.testing.assert_array_equal(optaxaccel.merge([tree] * 7, "cosine")["w"], tree["w"])


@pytest.mark.parametrize("weights", ["mean", "ema", "cosine", "rna"])
@pytest.mark.parametrize("pushed", [3, 4, 7])
def test_list_stack_and_ring_give_the_same(pushed, weights):
    x = path(pushed).astype(np.float32)
    ring = optaxaccel.history_init(jnp.zeros(x.shape[1]), length=4)
    for point in x:
        ring = optaxaccel.history_push(ring, jnp.asarray(point))
    window = list(x[-4:])
    expected = optaxaccel.merge(window, weights)
    np.testing.assert_allclose(optaxaccel.merge(np.stack(window), weights, stacked=True), expected, rtol=1e-5)
    np.testing.assert_allclose(optaxaccel.merge(ring, weights), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(optaxaccel.merge, static_argnums=1)(ring, weights), expected, rtol=1e-5)


def test_a_ring_that_is_not_full_takes_as_many_weights_as_it_holds():
    ring = optaxaccel.history_init(jnp.zeros(()), length=4)
    for point in (1.0, 2.0, 4.0):
        ring = optaxaccel.history_push(ring, jnp.array(point))
    assert float(optaxaccel.merge(ring, [0.25, 0.25, 0.5])) == 2.75
    with pytest.raises(ValueError, match=r"holds 3 tree"):
        optaxaccel.merge(ring, [0.25] * 4)
    assert float(jax.jit(optaxaccel.merge)(ring, jnp.full(4, 0.25))) == 4.0  # nothing can be told: the newest


def test_rna_is_the_extrapolation():
    x = list(path())
    for options in ({"regularization": 1e-3}, {"iterate": "head"}, {"relative": False}):
        expected = optaxaccel.extrapolate(x, **options)
        np.testing.assert_array_equal(optaxaccel.merge(x, "rna", **options), expected)


def test_statistics_follow_and_variances_stay_in_their_range():
    x = path()
    stats = [{"mean": p, "var": p**2} for p in x]
    weights = np.array([0.0, 0.0, 0.0, 0.0, -2.0, 3.0])
    params, statistics = optaxaccel.merge(list(x), weights, statistics=stats)
    np.testing.assert_allclose(params, weights @ x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(statistics["mean"], weights @ x, rtol=0, atol=1e-12)
    assert np.all(statistics["var"] <= np.max(x**2, axis=0))
    assert np.all(statistics["var"] >= np.min(x**2, axis=0))


def test_weights_may_be_traced_and_differentiated():
    x = path().astype(np.float32)
    weights = jnp.full(COUNT, 1 / COUNT, jnp.float32)
    slope = jax.grad(lambda c: jnp.sum(optaxaccel.merge(list(x), c) ** 2))(weights)
    mean = x.mean(0)  # the newest is the point that the others are counted from, so only differences mean anything
    np.testing.assert_allclose(slope - slope[-1], 2 * (x - x[-1]) @ mean, rtol=1e-4, atol=1e-4)


# --- By a loss --------------------------------------------------------------------------------------------------------


def soup(trees, loss):
    """Recipe 1, with lists."""
    order = sorted(trees, key=loss)
    kept, value = [order[0]], loss(order[0])
    for tree in order[1:]:
        with_it = loss(np.mean([*kept, tree], axis=0))
        if with_it <= value:
            kept, value = [*kept, tree], with_it
    return np.mean(kept, axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_greedy_choice_is_the_soup(seed):
    x, target = path(9, seed), path(9, seed)[4:7].mean(0)

    def loss(p):
        return float(np.sum((np.asarray(p, float) - target) ** 2))

    got = optaxaccel.merge(list(x), "greedy", value_fn=loss)
    np.testing.assert_allclose(got, soup(list(x), loss), rtol=0, atol=1e-12)
    weights = optaxaccel.greedy_weights(list(x), loss)
    assert len(set(weights[weights > 0].round(12))) == 1
    stacked = optaxaccel.merge(x, "greedy", value_fn=loss, stacked=True)
    np.testing.assert_allclose(stacked, got, rtol=0, atol=1e-12)


def test_the_adaptive_choice_is_never_worse_than_the_newest_and_takes_the_best_of_those_given():
    x = path()
    for target in (x[-1], x[-2:].mean(0), x.mean(0)):
        weights = optaxaccel.adaptive_weights(list(x), lambda p, y: np.sum((p - y) ** 2), y=target)
        np.testing.assert_allclose(weights @ x, target, rtol=0, atol=1e-6)
    with_nan = optaxaccel.adaptive_weights(list(x), lambda p: np.nan if np.any(p != x[-1]) else 1.0)
    np.testing.assert_array_equal(with_nan, np.eye(COUNT)[-1])
    given = [np.eye(COUNT)[2], np.eye(COUNT)[3]]
    chosen = optaxaccel.adaptive_weights(list(x), lambda p: np.sum((p - x[3]) ** 2), candidates=given)
    np.testing.assert_array_equal(chosen, given[1])


def test_the_adaptive_choice_extrapolates_where_that_is_best():
    x = [1 + np.array([0.9, 0.5]) ** k for k in range(4)]
    got = optaxaccel.merge(x, "adaptive", value_fn=lambda p: float(np.sum((p - 1) ** 2)))
    np.testing.assert_allclose(got, 1.0, atol=1e-3)


# --- Refusals ---------------------------------------------------------------------------------------------------------

ONE = [np.ones(2), np.zeros(2)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optaxaccel.merge([]), "nothing to merge"),
        (lambda: optaxaccel.merge(ONE, "means"), "unknown"),
        (lambda: optaxaccel.merge(ONE, [0.5, 0.6]), "sum to 1.1"),
        (lambda: optaxaccel.merge(ONE, [np.nan, 1.0]), "sum to nan"),
        (lambda: optaxaccel.merge(ONE, [1.0]), "holds 2 tree"),
        (lambda: optaxaccel.merge([*ONE, np.full(2, np.nan)]), r"params_history\[2\]"),
        (lambda: optaxaccel.merge(ONE, "greedy"), "Pass value_fn"),
        (lambda: optaxaccel.merge(ONE, "greedy", value_fn=lambda p: p), "by one number"),
        (lambda: optaxaccel.merge(ONE, "adaptive", value_fn=lambda p: np.nan), "finite for none"),
        (lambda: optaxaccel.merge(ONE, statistics=ONE[:1]), "statistics holds 1"),
        (lambda: optaxaccel.merge(ONE, "ema", decay=1.0), "decay=1.0 is out of range"),
        (lambda: optaxaccel.merge_weights("mean", 0), "count=0"),
        (lambda: optaxaccel.merge_weights("linear", 3, points="middle"), "points='middle' is unknown"),
        (lambda: optaxaccel.merge_weights(lambda t: t, 3), "is no decay|those of a decay fall"),
    ],
)
def test_what_cannot_be_merged_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_is_merged_in_float32(dtype):
    history = [{"w": jnp.array([1.0, 2.0 + 2 * k], dtype)} for k in range(3)]
    merged = optaxaccel.merge(history)
    assert merged["w"].dtype == dtype
    np.testing.assert_array_equal(merged["w"].astype(jnp.float32), [1.0, 4.0])
    assert optaxaccel.extrapolate(history)["w"].dtype == dtype


def test_a_mean_squares_nothing():
    history = [{"w": jnp.array([1e30, k], jnp.float32)} for k in (1.0, 3.0)]
    np.testing.assert_array_equal(optaxaccel.merge(history)["w"], jnp.array([1e30, 2.0], jnp.float32))
    with pytest.raises(ValueError, match="differs by from the newest, overflows"):
        optaxaccel.merge([{"w": jnp.array([3e38, 1.0])}, {"w": jnp.array([-3e38, 2.0])}])
    with pytest.raises(ValueError, match="The merged point"):
        optaxaccel.merge([{"w": jnp.array([6e4], jnp.float16)}, {"w": jnp.array([-6e4], jnp.float16)}], [-1.0, 2.0])
