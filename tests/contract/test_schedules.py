"""What is annotated as a schedule takes one, and what is a number can be traced."""

import inspect
import re
import typing

import jax.numpy as jnp
import optax
import pytest

from optaxaccel import Card

from .problem import MIXED, assert_close, compile_step, reference, run, start, types
from .test_types import trace_update

STEPS = 10


def arguments(card: Card) -> dict:
    """All arguments of the factory as the card's example and the defaults set them."""
    bound = inspect.signature(card.make).bind(**card.example)
    bound.apply_defaults()
    return dict(bound.arguments)


def numbers(card: Card) -> set[str]:
    """The arguments that hold a number and are not static."""
    given = {name: value for name, value in arguments(card).items() if name not in card.static_args}
    return {name for name, v in given.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def scheduled(card: Card) -> set[str]:
    """The numbers that take a schedule; all others refuse one when the factory is called, and say so."""
    return {name for name in numbers(card) if refusal(card, name) is None}


def refusal(card: Card, name: str) -> str | None:
    try:
        card.make(**{**arguments(card), name: optax.constant_schedule(0.5)})
    except ValueError as error:
        return str(error)


def test_what_is_annotated_as_a_schedule_takes_one_and_nothing_else_does(card: Card):
    hints = typing.get_type_hints(card.make)
    annotated = {name for name in numbers(card) if hints[name] == optax.ScalarOrSchedule}
    assert scheduled(card) == annotated
    for name in numbers(card) - annotated:
        assert re.search(rf"{name}=.* is a schedule, but .*Pass {name}=<number>", refusal(card, name) or "")


def test_learning_rate_is_annotated_as_a_schedule(card: Card):
    if "learning_rate" in inspect.signature(card.make).parameters:
        assert typing.get_type_hints(card.make)["learning_rate"] == optax.ScalarOrSchedule


def test_constant_schedules_equal_numbers(card: Card):
    """The schedule is read at steps 0, 1, ...: at any other it is not a number."""
    given, names = arguments(card), scheduled(card)

    def constant(number):
        return lambda step: jnp.where((step >= 0) & (step <= STEPS), number, jnp.nan)

    tx = card.make(**{name: constant(v) if name in names else v for name, v in given.items()})
    got, want = run(compile_step(tx), STEPS), reference(card, STEPS)[-1]
    assert_close(got.params, want.params, 1e-5)


def injected(card: Card):
    return optax.inject_hyperparams(card.make, static_args=card.static_args)(**card.example)


def test_injected_hyperparameters_equal_numbers(card: Card):
    """`optax.inject_hyperparams` traces every number that is not in `static_args`."""
    step = compile_step(injected(card))
    points = run(step, 3, record=True)
    for got, want in zip(points, reference(card, 3), strict=True):
        assert_close(got.updates, want.updates, 1e-5)
        assert_close(got.state.inner_state, want.state, 1e-4)
    assert step.traces == [1]
    assert set(points[-1].state.hyperparams) >= scheduled(card)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, MIXED], ids=["bfloat16", "mixed"])
def test_injected_hyperparameters_keep_types(card: Card, dtype):
    tx, params = injected(card), start(dtype)
    state = tx.init(params)
    updates, after = trace_update(tx, params, state)
    assert types(updates) == types(params)
    assert types(after.inner_state) == types(state.inner_state)
