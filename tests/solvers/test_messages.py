"""What `minimize`, `fixed_point` and `proximal_gradient` say to arguments of other libraries, and to reverse mode."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel import bfgs, fixed_point, lbfgs, masked, minimize, proximal_gradient
from optaxaccel.solvers.minimize_methods import MINIMIZE_METHODS

X = jnp.zeros(2)


def loss(x, a=1.0):
    return jnp.sum((x - a) ** 2 + x**4)


OTHERS = {
    "maxiter": (lambda: minimize(loss, X, maxiter=3), "no argument 'maxiter'. Pass max_steps=1000."),
    "gtol": (lambda: minimize(loss, X, gtol=1e-3), "no argument 'gtol'. It is tol=1e-5"),
    "args": (lambda: minimize(loss, X, args=(1.0,)), "no argument 'args'. Pass data={'name': ...}"),
    "a misspelt one": (lambda: minimize(loss, X, max_step=3), "Did you mean 'max_steps'?"),
    "an unknown one": (lambda: minimize(loss, X, colour=3), "It has fun, params, method, has_aux, tol,"),
    "tol": (
        lambda: fixed_point(jnp.cos, 1.0, tol=1e-3),
        "Pass rtol=1e-6, relative to |F(x)|, or atol=1e-6 with rtol=0",
    ),
    "max_steps": (lambda: fixed_point(jnp.cos, 1.0, max_steps=9), "Pass max_maps=1000"),
    "l1reg": (lambda: proximal_gradient(loss, X, l1reg=0.1), "prox=functools.partial(prox_lasso, l1reg=0.1)"),
    "swapped": (lambda: minimize(X, loss), "Call minimize(fun, params)"),
    "a map": (lambda: fixed_point(1.0, jnp.cos), "Call fixed_point(fun, params)"),
    "a smooth loss": (lambda: proximal_gradient(X, loss), "Call proximal_gradient(fun, params)"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_arguments_of_others_are_translated(case):
    call, said = OTHERS[case]
    with pytest.raises(TypeError) as raised:
        call()
    assert said in str(raised.value)


@pytest.mark.parametrize("function", [minimize, fixed_point, proximal_gradient])
def test_the_signature_stays(function):
    parameters = inspect.signature(function).parameters
    assert "kwargs" not in parameters
    assert next(iter(parameters)) == "fun"


METHODS = {
    "pal": "method=optaxaccel.pal(...)",
    "hindsight": "method=optaxaccel.scale_by_hindsight(...)",
    "adam": "method=optax.adam(...)",
    "BFGS": "Did you mean 'bfgs'?",
    "L-BFGS-B": "method='lbfgs', with bounds=(lower, upper)",
    "Nelder-Mead": "none without derivatives",
    "bgfs": "Did you mean 'bfgs'?",
    "masked_out": "Pass one of: 'bfgs', 'lbfgs'",
}


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_others_are_named(method):
    with pytest.raises(ValueError, match="method=") as raised:
        minimize(loss, X, method=method)
    assert METHODS[method] in str(raised.value)
    assert all(name in str(raised.value) for name in ("bfgs", *(MINIMIZE_METHODS if method != "BFGS" else ())))


def test_a_pair_that_was_not_announced_is_explained_without_arguments_of_others():
    for call in (minimize, proximal_gradient):
        with pytest.raises(TypeError, match=r"returned a tuple, but it is one number\. Pass has_aux=True"):
            call(lambda x: (jnp.sum(x), x), jnp.zeros(2))


def test_whole_numbers_are_no_start():
    for call in (minimize, proximal_gradient):
        with pytest.raises(TypeError, match=r"int32, which has no gradient\. Pass floating numbers"):
            call(loss, jnp.zeros(3, jnp.int32))


def test_a_masked_method_is_refused_with_what_to_do():
    def bowl(p):
        return (p["a"] - 1.0) ** 2 + (p["b"] - p["a"]) ** 2

    start = {"a": jnp.array(0.0), "b": jnp.array(5.0)}
    for inner in (bfgs(), lbfgs()):
        with pytest.raises(TypeError, match=r"Keep what does not move out of params, in data"):
            minimize(bowl, start, method=masked(inner, {"a": True, "b": False}))


def test_a_list_of_pairs_is_shown_how_to_come_as_two_bounds():
    pairs = [(0, None), (None, 0.5)]
    with pytest.raises(ValueError, match=r"numpy\.array") as raised:
        minimize(loss, jnp.zeros(2), bounds=pairs)
    lower = eval(str(raised.value).split("lower = ")[1].split(", and upper")[0], {"numpy": np, "pairs": pairs})
    np.testing.assert_array_equal(lower, [0.0, -np.inf])


def test_what_is_no_method_has_no_neighbour():
    with pytest.raises(ValueError, match=r"'aitken' is unknown\. Pass one of: 'anderson', 'acx', 'plain'"):
        fixed_point(jnp.cos, 1.0, method="aitken")


@pytest.mark.parametrize("bad", [2.5, np.float32(0.5), jnp.array(2.0), "3", True, None, float("nan"), [3]], ids=repr)
def test_limits_are_whole_numbers(bad):
    for call in (
        lambda: minimize(loss, X, max_steps=bad),
        lambda: proximal_gradient(loss, X, max_steps=bad),
        lambda: fixed_point(jnp.cos, 1.0, max_maps=bad),
    ):
        with pytest.raises(ValueError, match=r"max_(steps|maps)="):
            call()


def test_whole_numbers_of_any_kind_are_limits_and_infinity_is_none():
    for limit in (2, 2.0, np.int64(2), np.float64(2), jnp.array(2)):
        assert int(minimize(loss, X, max_steps=limit, tol=0.0).steps) == 2
        assert int(proximal_gradient(loss, X, max_steps=limit, tol=0.0).steps) == 2
        assert int(fixed_point(jnp.cos, 1.0, max_maps=limit, rtol=0.0).maps) in (2, 3)
    assert int(minimize(loss, X, max_steps=float("inf")).status) == int(minimize(loss, X).status)
    assert int(proximal_gradient(loss, X, max_steps=1e12).status) == int(proximal_gradient(loss, X).status)
    assert int(jax.jit(lambda n: minimize(loss, X, max_steps=n, tol=0.0).steps)(2)) == 2


# --- Derivatives ------------------------------------------------------------------------------------------------------


def solution(a):
    """The root of 2 (x - a) + 4 x^3, whose derivative is 2 / (2 + 12 x^2)."""
    result = minimize(loss, 0.0, data={"a": a}, tol=1e-6)
    return fixed_point(lambda x, a: x - 0.1 * jax.grad(loss)(x, a), result.params, a).value


def test_the_remedy_for_reverse_mode_is_right():
    x = solution(1.0)
    np.testing.assert_allclose(jax.grad(solution)(1.0), 2 / (2 + 12 * x**2), rtol=1e-4)

    def lowest(a):
        return loss(jax.lax.stop_gradient(minimize(loss, 0.0, data={"a": a}, tol=1e-6).params), a)

    np.testing.assert_allclose(jax.grad(lowest)(1.0), 2 * (1.0 - x), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "wrap", "function"),
    [
        ("minimize", jax.vmap, lambda a: minimize(loss, 0.0, data={"a": a}).params),
        ("minimize", jax.jit, lambda a: minimize(lambda x: (x - a) ** 2, 0.0, method=optax.sgd(0.1)).value),
        ("minimize", lambda f: f, lambda a: minimize(lambda x: ((x - a) ** 2, x), 0.0, has_aux=True).aux),
        ("proximal_gradient", lambda f: f, lambda a: proximal_gradient(loss, 0.0, data={"a": a}).params),
    ],
    ids=["data", "closure", "aux", "proximal"],
)
def test_reverse_mode_is_refused_with_the_remedy(name, wrap, function):
    a = jnp.ones(2) if wrap is jax.vmap else jnp.array(1.0)
    with pytest.raises(TypeError, match=rf"{name} has no derivative in reverse mode.*fixed_point.*stop_gradient"):
        wrap(jax.grad(function))(a)


class Loss:
    """A loss that says what equals it, and so has no hash, as instances of data classes have none."""

    def __init__(self, at):
        self.at = at

    def __eq__(self, other):
        return isinstance(other, Loss) and self.at == other.at

    __hash__ = None

    def __call__(self, x):
        return jnp.sum((x - self.at) ** 2)


def test_a_loss_without_a_hash_is_itself():
    one = Loss(1.0)
    np.testing.assert_allclose(minimize(one, X).params, 1.0)
    np.testing.assert_allclose(minimize(Loss(2.0), X).params, 2.0)
    one.at = 3.0
    np.testing.assert_allclose(minimize(one, X).params, 3.0)


@pytest.mark.parametrize("bad", ["bool", "int32", "complex64"])
@pytest.mark.parametrize("solve", [minimize, lambda fun, x: proximal_gradient(fun, x, prox=lambda x, scaling: x)])
def test_a_loss_that_has_no_gradient_is_refused(bad, solve):
    with pytest.raises(TypeError, match=f"returned {bad}, but a loss is one real number"):
        solve(lambda x: jnp.sum(x).astype(bad), X)


def test_data_are_arrays_and_numbers():
    with pytest.raises(TypeError, match=r"data\['name'\] is a str; data are arrays and numbers"):
        minimize(lambda x, name: loss(x), X, data={"name": "adult"})
    with pytest.raises(TypeError, match=r"args\[0\] is a PjitFunction; further arguments of F are arrays"):
        fixed_point(lambda x, f: f(x), X, jnp.sin)
    for solve in (minimize, fixed_point, proximal_gradient):
        with pytest.raises(TypeError, match="the start is a str; unknowns are arrays and numbers"):
            solve(loss, "abc")
        with pytest.raises(TypeError, match="fun=3 is not a function"):
            solve(3, X)
    result = minimize(lambda x, a, b: loss(x, a) + b[0].real, X, data={"a": 1, "b": [1j, True, np.float64(2)]})
    np.testing.assert_allclose(result.params, 0.58975, rtol=1e-3)  # the root of 2 (x - 1) + 4 x^3


def test_a_state_goes_on_in_single_precision_beside_double():
    with jax.enable_x64(True):
        start = jnp.zeros(2, jnp.float32)
        first = minimize(loss, start, max_steps=2)
        assert minimize(loss, start, state=first.state).steps > first.steps


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: proximal_gradient(loss, X, prox=lambda x, scaling: x[:1]), "prox returned"),
        (lambda: proximal_gradient(loss, X, prox=lambda x, scaling: {"a": x}), "a tree like the parameters"),
        (lambda: proximal_gradient(loss, X, prox=None), "prox=None is not a function"),
        (lambda: fixed_point(jnp.cos, X, project=1), "project=1 is not a function"),
        (lambda: fixed_point(jnp.cos, X, callback=3), "callback=3 is not a function"),
        (lambda: minimize(loss, X, callback=3), "callback=3 is not a function"),
    ],
)
def test_functions_that_are_none_or_return_another_tree(call, says):
    with pytest.raises((TypeError, ValueError), match=says):
        call()
