"""Derivatives of whole runs by numbers and starts, against finite differences; where there are none, the reason."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import optaxaccel
from optaxaccel import METHODS, Card

START = {"a": np.array([0.7, -0.4, 0.9]), "b": np.array(0.5)}
SEARCHES = ("ancm", "gose_agd", "gose_sgd", "negative_curvature_descent")
H = 1e-5


def loss(p):
    d = p["a"] - 0.3
    return 0.5 * jnp.sum(jnp.array([1.0, 0.5, 0.2]) * d**2) + 0.1 * jnp.sum(jnp.cos(p["a"])) + 0.5 * p["b"] ** 2


def saddle(p):
    x, y, z = p["a"]
    return 0.5 * x**2 - 0.5 * y**2 * (1 + 0.3 * z) + y**4 / 4 + 0.3 * z**2 + 0.1 * x * y + 0.5 * p["b"] ** 2


def end_of(card: Card, point, names, loss=loss, steps=7):
    """The loss after some steps, as a function of the start and of the numbers named."""
    start, unravel = ravel_pytree(jax.tree.map(jnp.asarray, START))
    params, numbers = unravel(point[: start.size]), dict(zip(names, point[start.size :], strict=True))
    tx = card.make(**{**card.example, **numbers})

    def step(carry, _):
        params, state = carry
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (params, tx.init(params)), length=steps)
    return loss(optaxaccel.eval_params(state, params))


def numeric(function, point):
    function = jax.jit(function)
    return np.array([(function(point + s) - function(point - s)) / (2 * H) for s in H * np.eye(point.size)])


def prepared(card: Card):
    names = [n for n, value in card.example.items() if isinstance(value, float) and n not in card.static_args]
    start, _ = ravel_pytree(jax.tree.map(jnp.asarray, START))
    return names, jnp.append(start, jnp.array([card.example[name] for name in names]))


@pytest.mark.parametrize("card", METHODS.values(), ids=METHODS)
def test_a_run_has_the_derivatives_of_its_differences(card: Card):
    with jax.enable_x64(True):
        names, point = prepared(card)

        def function(point):
            return end_of(card, point, names)

        want = numeric(function, point)
        for mode in (jax.jacfwd,) if card.name in SEARCHES else (jax.jacfwd, jax.jacrev):
            np.testing.assert_allclose(jax.jit(mode(function))(point), want, atol=1e-6)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_refuses_reverse_mode_and_says_why(name):
    with jax.enable_x64(True):
        names, point = prepared(METHODS[name])
        with pytest.raises(NotImplementedError, match=r"no derivative in reverse mode.*jax\.jacfwd.*stop_gradient"):
            jax.grad(lambda point: end_of(METHODS[name], point, names, steps=1))(point)


def test_a_jump_has_a_derivative_in_forward_mode():
    tx = optaxaccel.negative_curvature_descent(0.5, curvature_threshold=0.1, finder=optaxaccel.lanczos(4))

    def function(point):
        params = {"a": point[:3], "b": point[3]}
        updates, state = tx.update(jax.grad(saddle)(params), tx.init(params), params, value_fn=saddle)
        return saddle(optax.apply_updates(params, updates)), state.num_jumps

    with jax.enable_x64(True):
        point = jnp.array([0.02, 0.03, 0.01, 0.1])
        assert int(function(point)[1]) == 1
        got = jax.jit(jax.jacfwd(lambda p: function(p)[0]))(point)  # batched, too
        np.testing.assert_allclose(got, numeric(lambda p: function(p)[0], point), atol=1e-6)


# --- Extrapolation ----------------------------------------------------------------------------------------------------


def extrapolations():
    def listed(trees, ridge, **arguments):
        return optaxaccel.extrapolate(trees, regularization=ridge, **arguments)

    def ring(trees, ridge):
        history = optaxaccel.history_init(trees[0], length=len(trees) + 2)
        slots = jax.tree.map(lambda *x: jnp.stack([*x, 0 * x[0], 0 * x[0]]), *trees)
        return listed(history._replace(slots=slots, count=jnp.int32(len(trees))), ridge)

    return {
        "tail": listed,
        "head": lambda trees, ridge: listed(trees, ridge, iterate="head"),
        "absolute": lambda trees, ridge: listed(trees, ridge, relative=False),
        "stacked": lambda trees, ridge: listed(jax.tree.map(lambda *x: jnp.stack(x), *trees), ridge, stacked=True),
        "ring": ring,
        "adaptive": lambda trees, ridge: optaxaccel.extrapolate_adaptive(
            trees, lambda p: jnp.sum(p["a"] ** 2), regularizations=ridge * jnp.array([1.0, 3.0])
        ),
    }


@pytest.mark.parametrize("extrapolate", extrapolations().values(), ids=extrapolations())
def test_an_extrapolation_has_the_derivatives_of_its_differences(extrapolate):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        trees = [{"a": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.asarray(rng.normal(size=2))} for _ in range(4)]
        trees[2]["b"] = trees[1]["b"]  # differences that vanish have derivatives, too
        point, unravel = ravel_pytree((trees, jnp.array(0.03)))
        pick = jnp.asarray(rng.normal(size=8))

        def function(point):
            trees, ridge = unravel(point)
            with_integers = [dict(tree, n=jnp.int32(k)) for k, tree in enumerate(trees)]
            result = extrapolate(with_integers, ridge)
            return jnp.append(result["a"].ravel(), result["b"]) @ pick

        want = numeric(function, point)
        for mode in (jax.jacfwd, jax.jacrev):
            np.testing.assert_allclose(jax.jit(mode(function))(point), want, atol=1e-7)


def test_second_derivatives_of_an_extrapolation_are_refused():
    def function(x):
        return optaxaccel.extrapolate([x, 2 * x + 1, 0.5 * x**2]).sum()

    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jax.hessian(function)(jnp.array([0.3, 0.7]))
