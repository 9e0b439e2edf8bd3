"""One call serves all methods: what a method does not use it ignores, what it misses it asks for."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from optaxaccel import Card

from .problem import BATCH, build, evaluate, loss, program, start, uses_value_fn, value_and_grad


def trace(card: Card, params="given", drop=(), value_fn=loss, batch=True, **extra) -> str:
    """The program of the first update, called with all arguments but those dropped."""
    tx = build(card)

    def update(start, data):
        value, grads = evaluate(loss, start, data)
        arguments = {"value": value, "grad": grads, "value_fn": value_fn} | ({"batch": data} if batch else {}) | extra
        given = start if params == "given" else params
        return tx.update(grads, tx.init(start), given, **{k: v for k, v in arguments.items() if k not in drop})

    return program(update, start(), BATCH)


def test_params_none_works_or_is_explained(card: Card):
    full, without, error = trace(card), None, None
    try:
        without = trace(card, params=None)
    except ValueError as raised:
        error = str(raised)
    assert (without == full) if error is None else ("params" in error), f"absence unnoticed, or unexplained: {error}"


@pytest.mark.parametrize("drop", [["value"], ["grad"], ["value_fn"], ["value", "grad", "value_fn"]], ids=" ".join)
def test_missing_loss_works_or_shows_the_call(card: Card, drop):
    error = None
    try:
        trace(card, drop=drop)
    except (TypeError, ValueError) as raised:
        error = str(raised)
    assert error is None or any(name in error for name in drop), f"{error} does not name what is missing"
    assert error is None or "tx.update(" in error, f"{error} does not show the call"


def test_unknown_extras_are_ignored(card: Card):
    assert trace(card) == trace(card, unexpected=jnp.ones(3), metrics={"a": 1.0}, key=None, step=3)


@pytest.mark.parametrize("form", ["positional", "keyword", "all", "partial", "closure"])
def test_data_reach_value_fn(card: Card, form):
    """Every evaluation sees the batch that `update` was given, whichever way `value_fn` takes it."""
    seen = []

    def keyword(params, *, batch):
        seen.append(batch)
        return loss(params, batch)

    forms = {
        "positional": lambda params, batch: keyword(params, batch=batch),
        "keyword": keyword,
        "all": lambda params, **data: keyword(params, batch=data["batch"]),
        "partial": functools.partial(lambda scale, params, batch: scale * keyword(params, batch=batch), 1.0),
        "closure": lambda params: keyword(params, batch=jnp.asarray(BATCH)),
    }
    trace(card, value_fn=forms[form], unused=jnp.ones(2))
    assert bool(seen) == uses_value_fn(card)
    assert all(jnp.shape(batch) == BATCH.shape for batch in seen)


def test_missing_data_are_named(card: Card):
    if uses_value_fn(card):
        with pytest.raises(ValueError, match=r"batch.*tx\.update\("):
            trace(card, batch=False)
    else:
        trace(card, batch=False)


def test_a_loss_that_is_no_scalar_is_refused(card: Card):
    if uses_value_fn(card):
        with pytest.raises((TypeError, ValueError), match=r"scalar|shape|one number"):
            trace(card, value_fn=lambda params, batch: loss(params, batch) * jnp.ones(3))


def refused(card: Card, kind: type[Exception], pattern: str, cut=lambda grads: grads, state=None) -> None:
    """Hold that an update is refused with these words while it is traced."""
    tx, params = build(card), start()
    state = tx.init(params) if state is None else state(params)
    value, grads = value_and_grad(params, jnp.asarray(BATCH))
    extra = {"value": value, "grad": cut(grads), "value_fn": loss, "batch": BATCH}
    with pytest.raises(kind, match=pattern):
        jax.eval_shape(lambda: tx.update(cut(grads), state, params, **extra))


def test_a_gradient_of_another_shape_is_refused(card: Card):
    """Broadcast, it would move several parameters by one entry, and nothing would tell."""
    pattern = r"the gradient\['w'\] is of shape \(1, 2\), and the parameters\['w'\] of shape \(4, 2\)"
    refused(card, ValueError, pattern, cut=lambda grads: {**grads, "w": grads["w"][:1]})


FOREIGN = {"of optax": optax.adam(0.1).init, "of a chain": lambda params: (optax.EmptyState(),), "a dict": dict}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_state_of_another_transformation_is_refused(card: Card, foreign):
    refused(card, TypeError, r"state is a (tuple|dict), not its own .*tx\.init\(params\)", state=FOREIGN[foreign])
