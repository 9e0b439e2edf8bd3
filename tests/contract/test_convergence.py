"""A method finds the minimum with its card's example, for the price that the card declares."""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import Card, eval_params

from .problem import BATCH, build, compile_step, loss, run, shared_step, start, to_numpy, whole_step

STEPS = 400
START = {"x": -1.0, "y": 1.0}


def valley(params):
    """Rosenbrock's valley with 5 in place of 100, scaled to curvatures of about one."""
    return ((1.0 - params["x"]) ** 2 + 5.0 * (params["y"] - params["x"] ** 2) ** 2) / 50.0


class Descent(NamedTuple):
    """A run down the valley: the losses on the way, the iterate to evaluate, and the oracle calls of all steps."""

    values: np.ndarray
    end: Any
    calls: dict[str, int]


def descend(card: Card) -> Descent:
    return _descend(card.make, tuple(card.example), tuple(card.example.values()))


@functools.cache
def _descend(make, names, numbers) -> Descent:
    tx, calls = make(**dict(zip(names, numbers, strict=True))), {"values": 0, "grads": 0, "hvps": 0}
    step = whole_step(tx, lambda params, batch: valley(params), value_fn=counted(valley, calls))

    @jax.jit
    def all_steps(params):
        def one(carry, _):
            params, state, _ = step(*carry, None)
            return (params, state), valley(carry[0])

        (params, state), values = jax.lax.scan(one, (params, tx.init(params)), length=STEPS)
        return eval_params(state, params), values

    end, values = to_numpy(all_steps(jax.tree.map(jnp.float32, START)))
    jax.effects_barrier()
    return Descent(values, end, calls)


def counted(loss, calls: dict[str, int]):
    """The same loss, counting what runs: values, gradients, and products with the Hessian (forward over reverse)."""

    def count(kind, dependency):
        def add(_):
            calls[kind] += 1

        jax.debug.callback(add, dependency)

    @jax.custom_jvp
    def mark(x):
        count("grads", x)
        return x

    @mark.defjvp
    def mark_jvp(primals, tangents):
        count("hvps", tangents[0])  # once a product, also where the gradient is linearised once for many
        return primals[0], tangents[0]

    @jax.custom_vjp
    def value(params):
        count("values", params["x"])
        return loss(params)

    def forward(params):
        return jax.value_and_grad(loss)({**params, "x": mark(params["x"])})

    value.defvjp(forward, lambda grads, cotangent: (jax.tree.map(lambda g: g * cotangent, grads),))
    return value


def assert_converges(card: Card) -> None:
    """The loss, whose least curvature is 0.1, falls as fast as gradient descent with steps of 0.3 has it fall there."""
    first, steps = float(loss(start(), BATCH)), 200
    last = run(shared_step(card), steps)
    for params in (last.params, eval_params(last.state, last.params)):
        rate = (float(loss(params, BATCH)) / first) ** (0.5 / steps)
        assert rate <= 1 - 0.3 * 0.1, f"the distance falls by {rate:.4f} a step"


def test_descends_a_quadratic(card: Card):
    assert_converges(card)


def test_descends_a_quadratic_at_its_defaults(card: Card):
    """The example's values stand for arguments without a default only."""
    default = {name: parameter.default for name, parameter in inspect.signature(card.make).parameters.items()}
    needed = {name: value for name, value in card.example.items() if default[name] is inspect.Parameter.empty}
    assert_converges(card._replace(example=needed))


def test_stays_where_losses_no_longer_differ(card: Card):
    """Long after the minimum is reached, in float32, what two losses differ by is rounding; whatever is made of it."""
    step = whole_step(build(card), lambda params, batch: loss(params, BATCH) + batch)
    steps = 3000

    @jax.jit
    @jax.vmap
    def all_steps(lowest):
        params = start()

        def one(carry, _):
            return step(*carry, lowest)[:2], None

        (params, state), _ = jax.lax.scan(one, (params, build(card).init(params)), length=steps)
        return loss(params, BATCH), loss(eval_params(state, params), BATCH), state

    *ends, state = to_numpy(all_steps(jnp.array([0.0, 1.0])))
    assert np.max(ends) <= float(loss(start(), BATCH)), "it left the minimum"
    finite = [np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state) if np.issubdtype(leaf.dtype, np.inexact)]
    assert np.all(finite), "something in the state grew without end"


@functools.cache
def gradient_descent(rate: float) -> float:
    """The valley's loss after as many steps of gradient descent."""
    x, y = START["x"], START["y"]
    for _ in range(STEPS):
        gap = y - x**2
        x, y = x - rate * (-2 * (1 - x) - 20 * x * gap) / 50, y - rate * 10 * gap / 50
    return valley({"x": x, "y": y})


def test_descends_a_curved_valley(card: Card):
    values, end, _ = descend(card)
    assert np.all(np.isfinite(values))
    assert np.max(values) < 10 * valley(START)
    assert valley(end) <= gradient_descent(0.25), "slower than gradient descent with steps of 0.25"


def test_oracle_calls_are_as_declared(card: Card):
    spent = {kind: calls / STEPS for kind, calls in descend(card).calls.items()}
    declared = card.cost._asdict()
    assert all(spent[kind] <= declared[kind] + 1e-6 for kind in spent), f"{spent} per step, declared {declared}"
    if not declared["grads"] and not declared["hvps"]:  # nothing is searched for now and then: the count is exact
        assert spent == declared


def test_complex_parameters_turn_with_their_start(card: Card):
    """The loss depends on moduli only: from a turned start the whole run is the real one, turned by the same angle."""
    turn = np.exp(1j * 0.7)
    points = run(compile_step(build(card)), 5, jax.tree.map(lambda x: (x * turn).astype(jnp.complex64), start()))
    want = run(shared_step(card), 5)
    for got, real in zip(jax.tree.leaves(to_numpy(points.params)), jax.tree.leaves(want.params), strict=True):
        np.testing.assert_allclose(got, np.asarray(real) * turn, atol=1e-5)
