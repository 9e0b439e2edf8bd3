"""The checks of arguments let good ones through and say of bad ones what, why and which call is right."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel.methods import contract

# --- Factories --------------------------------------------------------------------------------------------------------


GOOD = [0.5, 1, 0.0, np.float32(0.5), np.int64(1), jnp.array(7.0), lambda step: -1.0]
BAD = [-0.1, 1.1, math.nan, math.inf, -math.inf, 2, True, None, "0.5", b"1", np.float32(2), np.int8(-1), np.True_]
BAD += [[0.5], (0.5,), {}, 1j, jnp.array([0.5]), np.array([0.5, 0.5])]


@pytest.mark.parametrize("good", GOOD)
def test_numbers_in_range_and_what_is_no_number_pass(good):
    contract.check_number("momentum", good, "it decays", at_least=0.0, at_most=1.0)


@pytest.mark.parametrize("bad", BAD)
def test_bad_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=r"momentum=.*it decays.*Pass momentum"):
        contract.check_number("momentum", bad, "it decays", at_least=0.0, at_most=1.0)


def test_exclusive_limits_exclude():
    with pytest.raises(ValueError, match=r"rate=0\.0 is out of range: it divides\. Pass rate > 0 and < 1\."):
        contract.check_number("rate", 0.0, "it divides", above=0.0, below=1.0)
    with pytest.raises(ValueError, match=r"rate=1\.0"):
        contract.check_number("rate", 1.0, "it divides", above=0.0, below=1.0)
    with pytest.raises(ValueError, match=r"rate=inf is out of range: it divides\. Pass rate > 0 and finite\."):
        contract.check_number("rate", math.inf, "it divides", above=0.0)
    with pytest.raises(ValueError, match=r"Pass rate finite"):
        contract.check_number("rate", math.nan, "it divides")


def test_tracers_pass():
    def made(rate):
        contract.check_number("rate", rate, "it divides", above=0.0)
        return rate

    assert float(jax.jit(made)(-1.0)) == -1.0


def test_infinity_may_stand_for_no_limit():
    contract.check_number("limit", math.inf, "it limits", above=0.0, unlimited=True)
    for bad in (-math.inf, math.nan):
        with pytest.raises(ValueError, match="limit="):
            contract.check_number("limit", bad, "it limits", above=0.0, unlimited=True)


def test_a_schedule_of_what_is_read_once_is_refused():
    with pytest.raises(ValueError, match=r"first=.* is a schedule, but it is of the first step\. Pass first=<number>"):
        contract.check_number("first", lambda step: 0.5, "it starts", fixed="it is of the first step")


def test_integers_of_numpy_are_integers():
    contract.check_count("history", np.int64(2), "it is a shape", at_least=2, at_most=8)
    tx = optaxaccel.anderson(np.float32(0.1), history=np.int64(3), regularization=np.float64(1e-6))
    assert tx.init(jnp.zeros(2)).iterates.shape == (3, 2)


@pytest.mark.parametrize(
    ("factory", "arguments", "names"),
    [
        ("gose_sgd", {}, ("check_every", "finder", "seed")),
        ("gose_agd", {}, ("check_every", "finder", "seed")),
        ("ancm", {}, ("period", "ncd_max_steps", "finder", "seed")),
        ("rna_sgd", {}, ("history", "period", "start", "reset_base")),
        ("anderson", {}, ("history", "constraint")),
        ("negative_curvature_descent", {}, ("finder", "max_steps", "step_rule", "seed")),
    ],
)
def test_injecting_static_arguments_names_them_all_at_once(factory, arguments, names):
    """And with what it names it works."""
    make = getattr(optaxaccel, factory)
    with pytest.raises(ValueError, match=r"static_args=\(.*\)") as raised:
        optax.inject_hyperparams(make)(0.1, **arguments).init(jnp.zeros(2))
    assert f"static_args=({', '.join(map(repr, names))})" in str(raised.value)
    optax.inject_hyperparams(make, static_args=names)(0.1, **arguments).init(jnp.zeros(2))


CHANGING = {  # a number that has no default, or one whose change has to be seen: (factory, argument, before, after)
    "pal momentum": (lambda **a: optaxaccel.pal(**a), "momentum", 0.0, 0.9),
    "pal loose_approximation": (
        lambda **a: optaxaccel.pal(max_step_size=math.inf, **a),
        "loose_approximation",
        0.6,
        3.0,
    ),
    "indian alpha": (lambda **a: optaxaccel.indian(0.1, **a), "alpha", 0.5, 2.0),
    "indian beta": (lambda **a: optaxaccel.indian(0.1, **a), "beta", 0.1, 0.5),
    "nesterov": (lambda **a: optaxaccel.nesterov(0.5, **a), "strong_convexity", 0.0, 0.5),
    "anderson": (lambda **a: optaxaccel.anderson(0.1, **a), "regularization", 1e-6, 10.0),
    "rna": (lambda **a: optaxaccel.rna_sgd(0.1, period=1, history=3, **a), "regularization", 1e-6, 10.0),
    "rna momentum": (lambda **a: optaxaccel.rna_sgd(0.1, **a), "momentum", 0.0, 0.9),
    "gose_sgd momentum": (lambda **a: optaxaccel.gose_sgd(0.1, **a), "momentum", 0.0, 0.9),
    "gose": (lambda **a: optaxaccel.gose_agd(0.1, check_every=1, **a), "gradient_threshold", 0.0, math.inf),
    "ancm threshold": (lambda **a: optaxaccel.ancm(0.1, period=1, **a), "gradient_threshold", 0.0, math.inf),
    "ancm weight": (lambda **a: optaxaccel.ancm(0.1, **a), "proximal_weight", 0.0, 1.0),
    "proximal term": (
        lambda **a: optax.chain(optaxaccel.add_proximal_term(recenter_every=10, **a), optax.sgd(0.1)),
        "weight",
        0.0,
        1.0,
    ),
    "curvature": (
        lambda **a: optaxaccel.negative_curvature_descent(0.1, finder=optaxaccel.lanczos(2), **a),
        "curvature_threshold",
        10.0,
        0.1,
    ),
    "lipschitz": (
        lambda **a: optaxaccel.negative_curvature_descent(0.1, finder=optaxaccel.lanczos(2), step_rule="carmon", **a),
        "hessian_lipschitz",
        10.0,
        5.0,
    ),
}


@pytest.mark.parametrize("name", CHANGING)
def test_a_schedule_that_changes_acts_from_its_step_on(name):
    """Until then the run is that with the first value, afterwards it is not."""
    make, argument, before, after = CHANGING[name]

    def loss(p):
        return 0.5 * p[0] ** 2 - 0.5 * p[1] ** 2 + 0.25 * p[1] ** 4

    def run(number):
        tx, params, points = make(**{argument: number}), jnp.array([1.0, 0.1]), []
        state = tx.init(params)
        update = jax.jit(lambda g, s, p: tx.update(g, s, p, value=loss(p), value_fn=loss))
        for _ in range(5):
            updates, state = update(jax.grad(loss)(params), state, params)
            params = optax.apply_updates(params, updates)
            points.append(np.asarray(params))
        return np.array(points)

    got, want = run(lambda step: jnp.where(step < 2, before, after)), run(before)
    np.testing.assert_allclose(got[:2], want[:2], rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(got[2:] - want[2:])) > 1e-4


@pytest.mark.parametrize("bad", [0, 9, 2.0, True, "3", None, jnp.array(2)])
def test_bad_counts_are_refused_with_the_way_to_inject_them(bad):
    contract.check_count("history", 2, "it is a shape", at_least=2, at_most=8)
    with pytest.raises(ValueError, match=r"history=.*>= 2 and <= 8: it is a shape.*static_args=\('history',\)"):
        contract.check_count("history", bad, "it is a shape", at_least=2, at_most=8)


def test_choices():
    contract.check_choice("slope", "exact", ("exact", "norm"))
    with pytest.raises(ValueError, match=r"'exakt' is unknown\. Did you mean 'exact'\? Pass one of: 'exact', 'norm'\."):
        contract.check_choice("slope", "exakt", ("exact", "norm"))


@pytest.mark.parametrize("good", [0.0, 1e-3, optax.constant_schedule(-1.0), jnp.array(-1.0)])
def test_learning_rates_that_pass(good):
    contract.check_learning_rate(good)


@pytest.mark.parametrize("bad", [-1e-3, math.inf, math.nan, None])
def test_learning_rates_that_do_not(bad):
    with pytest.raises(ValueError, match=r"learning_rate=.*climbs"):
        contract.check_learning_rate(bad)


def test_a_schedule_is_read_at_its_step_and_a_number_is_not():
    assert contract.at_step(lambda count: count * 2, 3) == 6
    assert contract.at_step(0.5, 3) == 0.5


@pytest.mark.parametrize(
    "bad", [jnp.ones(3), np.ones((1,)), [0.1], None, "0.1", math.nan, np.float32(np.nan)], ids=repr
)
def test_a_schedule_that_returns_no_number_is_refused(bad):
    tx, w = optaxaccel.agd(lambda count: bad), jnp.ones(3)
    with pytest.raises(ValueError, match=r"A schedule returned .*one number for all parameters.*optaxaccel\.partition"):
        jax.eval_shape(lambda: tx.update(w, tx.init(w), w))


MEMORIES = {
    "agd": lambda: optaxaccel.agd(0.1),
    "indian": lambda: optaxaccel.indian(0.1),
    "innaprop": lambda: optaxaccel.innaprop(0.1, weight_decay=0.0),
    "nesterov": lambda: optaxaccel.nesterov(0.1),
}


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("shapes", [(1, 3), (3, 1)], ids=["gradient", "state"])
def test_shapes_are_those_of_the_state_where_no_parameters_are_given(name, shapes):
    tx, (of_gradient, of_state) = MEMORIES[name](), shapes
    with pytest.raises(ValueError, match=r"is of shape \(.,\), and .* of shape \(.,\)"):
        jax.eval_shape(lambda: tx.update(jnp.ones(of_gradient), tx.init(jnp.ones(of_state))))


@pytest.mark.parametrize("name", ["agd", "indian"])
def test_a_gradient_that_is_another_tree_is_shown_beside_the_parameters(name):
    tx, w = MEMORIES[name](), {"a": jnp.ones(3)}
    with pytest.raises(
        ValueError, match=rf"{name}: the gradient is a tree .*'b'.*parameters are .*'a'.*jax\.grad\(loss_fn"
    ):
        tx.update({"b": w["a"]}, tx.init(w), w)
    with pytest.raises(TypeError, match="state is an array"):
        tx.update(w["a"], w["a"], w["a"])


# --- Updates ----------------------------------------------------------------------------------------------------------


def bind(value_fn, **extra):
    return contract.bind_value_fn("method", value_fn, extra)


def test_missing_params_and_extras_show_the_call():
    contract.require_params("method", {})
    contract.require_extra("method", "value_fn", print)
    with pytest.raises(ValueError, match=r"method needs .*params.*tx\.update\(grads, state, params"):
        contract.require_params("method", None)
    with pytest.raises(ValueError, match=r"value_fn=None.*tx\.update\(grads, state, params, value=loss"):
        bind(None)
    with pytest.raises(TypeError, match=r"value_fn=0\.5 is not a function"):
        bind(0.5)


@pytest.mark.parametrize(
    "value_fn",
    [
        lambda params, x: params + x,
        lambda params, *, x: params + x,
        lambda params, x=100.0: params + x,
        lambda params, x, unknown=0.0: params + x + unknown,
        lambda params, **data: params + data["x"],
        functools.partial(lambda shift, params, x: params + x + shift, 0.0),
    ],
)
def test_data_reach_value_fn_by_name(value_fn):
    assert float(bind(value_fn, x=2.0, unused=5.0)(jnp.array(1.0))) == 3.0


def test_a_closure_needs_no_data():
    assert float(bind(lambda params: params * 2, unused=5.0)(jnp.array(1.0))) == 2.0


def test_missing_data_are_named():
    with pytest.raises(ValueError, match=r"value_fn needs x, y, .*value_fn=value_fn, x=\.\.\., y=\.\.\.\)"):
        bind(lambda params, x, y, z=1.0: params, z=3.0)


def test_the_loss_is_a_scalar_in_float32_or_better():
    assert bind(lambda p: jnp.sum(p))(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    assert not bind(lambda p: 1.0)(jnp.ones(2)).weak_type
    with jax.enable_x64(True):
        assert bind(lambda p: jnp.sum(p))(jnp.ones(2, jnp.float64)).dtype == jnp.float64
    with pytest.raises(ValueError, match=r"shape \(2,\).*Return the mean"):
        bind(lambda p: p)(jnp.ones(2))


def test_hidden_leaves_are_refused_where_the_loss_needs_them():
    params = {"a": jnp.ones(2), "b": optax.MaskedNode()}
    assert contract.is_masked(params["b"])
    assert not contract.is_masked(params["a"])
    with pytest.raises(TypeError, match=r"a mask hides some.*optaxaccel\.masked or optaxaccel\.partition"):
        bind(lambda p: jnp.sum(p["a"]) + p["b"])(params)
    assert float(bind(lambda p: jnp.sum(p["a"]))(params)) == 2.0


def test_step_is_finite():
    good = {"a": jnp.ones(2), "b": jnp.ones((), jnp.bfloat16), "c": None, "d": jnp.ones((0, 2))}
    assert bool(contract.step_is_finite(good, None))
    assert bool(contract.step_is_finite(good, 1.0))
    assert not bool(contract.step_is_finite(good, math.nan))
    assert not bool(contract.step_is_finite(good, -math.inf))
    assert not bool(contract.step_is_finite({**good, "b": jnp.array(jnp.inf)}, 1.0))
    assert bool(contract.step_is_finite({}, None))
