"""What is no weight, what is not finite, and what JAX would round: the edges of `extrapolate`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from methods.histories import decaying

import optaxaccel


def with_statistics(wrap):
    """Weights that approach 1, and statistics that move otherwise, in trees of the user's making."""
    rows = [(1 + 0.9**k, 1 + 0.5**k, 3.0 - (-0.7) ** k, 0.4 * 0.8**k) for k in range(5)]
    return [wrap(*(jnp.array([x], jnp.float32) for x in row)) for row in rows], np.array(rows, np.float32)


class BatchStat(dict):
    """Stands for Flax NNX's variable, of which only the name is known."""


jax.tree_util.register_pytree_with_keys(
    BatchStat,
    lambda box: ([(jax.tree_util.GetAttrKey("value"), box["value"])], None),
    lambda _, children: BatchStat(value=children[0]),
)

WRAPS = {
    "PyTorch": lambda w, b, m, v: {"c.weight": w, "c.bias": b, "bn.running_mean": m, "bn.running_var": v},
    "Keras": lambda w, b, m, v: {"c": {"kernel": w, "bias": b}, "bn": {"moving_mean": m, "moving_variance": v}},
    "Flax": lambda w, b, m, v: {"params": {"w": w, "b": b}, "batch_stats": {"mean": m, "var": v}},
    "NNX": lambda w, b, m, v: {"l": {"w": w, "b": b}, "bn": {"mean": BatchStat(value=m), "var": BatchStat(value=v)}},
    "pure NNX": lambda w, b, m, v: {"l": w, "bn": {"bias": b, "mean": {"value": m}, "var": {"value": v}}},
}


@pytest.mark.parametrize(("layout", "form"), [*((name, "list") for name in WRAPS), ("NNX", "stacked"), ("NNX", "ring")])
def test_statistics_inside_the_parameters_have_no_say_and_keep_their_range(layout, form):
    history, rows = with_statistics(WRAPS[layout])
    alone = [{"w": jnp.asarray(row[:1]), "b": jnp.asarray(row[1:2])} for row in rows]
    c = np.asarray(optaxaccel.extrapolation_weights(alone, regularization=1e-6), float)
    assert c @ rows[1:, 3] < rows[:, 3].min()  # the weights alone would put the variance out of its range
    if form == "stacked":
        history = jax.tree.map(lambda *x: jnp.stack(x), *history)
    elif form == "ring":
        pushed = optaxaccel.history_init(history[0], length=7)
        for tree in history:
            pushed = optaxaccel.history_push(pushed, tree)
        history = pushed
    got = optaxaccel.extrapolate(history, regularization=1e-6, stacked=form == "stacked")
    expected = WRAPS[layout](*(np.array([x], np.float32) for x in (*(c @ rows[1:, :3]), rows[:, 3].min())))
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4)


def test_a_learned_mean_and_variance_are_weights():
    history = [{"mean": jnp.array([1 + 0.5**k]), "var": jnp.array([2 + 0.5**k])} for k in range(3)]
    got = optaxaccel.extrapolate(history, regularization=0.0)
    np.testing.assert_allclose([*got["mean"], *got["var"]], [1.0, 2.0], rtol=1e-5)


@pytest.mark.parametrize("x64", [False, True])
def test_leaves_keep_their_dtypes_and_whole_numbers_their_bits(x64):
    history = [
        {"w": 1 + 0.5 ** np.array([k, 2.0 * k]), "z": np.complex128([1 + 0.5**k * 1j]), "seen": np.int64(2**40 + k)}
        | {"f": np.float32([0.5**k]), "flag": np.bool_(k == 2), "small": 7 + k, "large": 2**50 + k}
        for k in range(3)
    ]
    with jax.enable_x64(x64):
        got = optaxaccel.extrapolate(history, regularization=0.0)
        stacked = jax.tree.map(lambda *x: np.stack(x), *history)
        second = optaxaccel.extrapolate(stacked, regularization=0.0, stacked=True)
        for one in (got, second):
            assert (one["w"].dtype, one["z"].dtype, one["f"].dtype) == (np.float64, np.complex128, np.float32)
            assert int(one["seen"]) == 2**40 + 2
            assert one["seen"].dtype == np.int64
            assert bool(one["flag"]) is True
            assert (int(one["small"]), int(one["large"])) == (9, 2**50 + 2)
    rows = np.array([[1.0, 1.0, 1.0, 1.0], [0.5, 0.25, 0.5, 0.5], [0.25, 0.0625, 0.25, 0.25]])  # w, imaginary z, f
    c = np.linalg.solve(np.diff(rows, axis=0) @ np.diff(rows, axis=0).T, np.ones(2))
    c /= c.sum()
    points = np.array([x["w"] for x in history])
    np.testing.assert_allclose(got["w"], c @ points[1:], rtol=1e-12)


BAD = [np.nan, np.inf, -np.inf, 3e38]


@pytest.mark.parametrize("where", [0, 2, 4])
@pytest.mark.parametrize("value", BAD)
def test_a_tree_that_is_not_finite_is_named_and_inside_jit_the_newest_comes_back(value, where):
    history = [{"w": jnp.asarray(p, jnp.float32)} for p in decaying(5, size=6)]
    history[where]["w"] = history[where]["w"].at[1].set(value)
    for call in (optaxaccel.extrapolate, optaxaccel.extrapolation_weights):
        with pytest.raises(ValueError, match=rf"params_history\[{where}\]\['w'\] holds"):
            call(history)
    with pytest.raises(ValueError, match=rf"params_history\[{where}\]"):
        optaxaccel.extrapolate_adaptive(history, lambda params: jnp.sum(params["w"] ** 2))
    np.testing.assert_array_equal(jax.jit(optaxaccel.extrapolate)(history)["w"], history[-1]["w"])
    np.testing.assert_array_equal(jax.jit(optaxaccel.extrapolation_weights)(history), [0, 0, 0, 1])


@pytest.mark.parametrize("where", [0, 2, 4])
def test_statistics_that_are_not_finite_are_named(where):
    statistics = [{"var": jnp.ones(2)} for _ in range(5)]
    statistics[where] = {"var": jnp.array([1.0, np.nan])}
    with pytest.raises(ValueError, match=rf"statistics\[{where}\]\['var'\] holds NaN"):
        optaxaccel.extrapolate(list(decaying(5)), statistics=statistics, regularization=1e-2)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    "tree", [{}, None, {"steps": np.int32(3)}, {"running_var": np.ones(2, np.float32), "steps": np.int32(3)}]
)
def test_trees_without_weights_are_refused(tree, stacked):
    history = jax.tree.map(lambda x: np.stack([x] * 3), tree) if stacked else [tree] * 3
    for call in (optaxaccel.extrapolate, optaxaccel.extrapolation_weights):
        with pytest.raises(ValueError, match="no floating weights"):
            call(history, stacked=stacked)


def test_a_stacked_history_of_arrays_is_not_cut_into_rows(monkeypatch):
    """A row of an array of JAX is a copy, and what is combined is looked at inside the compiled program."""
    history = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)), "n": np.arange(4)}
    want = optaxaccel.extrapolate(history, stacked=True)
    rows = []
    taken = type(history["w"]).__getitem__
    monkeypatch.setattr(type(history["w"]), "__getitem__", lambda x, k: rows.append(k) or taken(x, k))
    again = optaxaccel.extrapolate(history, stacked=True)
    assert rows == []
    np.testing.assert_array_equal(again["w"], want["w"])
    assert again["n"] == 3
