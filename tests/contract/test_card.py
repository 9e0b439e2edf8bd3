"""A card tells the truth about its method."""

import ast
import inspect
import math
import pkgutil
import re
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import optax

import contract
import optaxaccel
from optaxaccel import METHODS, Card

from .problem import build, covers, run, shared_step, start


def items() -> set[str]:
    """All items of the suite: the test functions that take a card."""
    modules = [import_module(f"contract.{m.name}") for m in pkgutil.iter_modules(contract.__path__)]
    functions = [f for m in modules for f in vars(m).values() if inspect.isfunction(f) and f.__name__[:5] == "test_"]
    return {f.__name__ for f in functions if "card" in inspect.signature(f).parameters}


def test_names_are_keys():
    assert {name: card.name for name, card in METHODS.items()} == {name: name for name in METHODS}


def test_card_can_be_built_from_literals(card: Card):
    assert ast.literal_eval(repr(dict(card.example))) == dict(card.example)
    assert isinstance(build(card), optax.GradientTransformationExtraArgs)
    parameters = inspect.signature(card.make).parameters
    assert set(card.static_args) <= set(parameters)
    free = [p.name for p in parameters.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert len(free) <= 1, f"only the first argument may be positional, not {free}"


def test_card_is_filled_in(card: Card):
    assert card.name == card.name.lower().strip()
    assert card.name
    assert len(card.paper.split()) > 2, f"paper={card.paper!r} is no citation"
    assert all(cost >= 0 and math.isfinite(cost) for cost in card.cost), card.cost
    assert card.state_copies >= 0


def test_reservations_name_items_and_give_reasons(card: Card):
    for key, reason in card.reservations.items():
        assert any(covers(key, item) for item in items()), f"{key!r} names no item of {sorted(items())}"
        assert len(reason.split()) > 3, f"{key!r}: {reason!r} is no reason"


def test_what_the_state_tells_is_on_the_card(card: Card):
    """Vectors without the number of the entry; what a record says of the place of a row is no name for it."""
    readings = {re.sub(r"_\d+$", "", name) for name in optaxaccel.diagnostics(build(card).init(start()))}
    assert readings <= set(card.diagnostics)
    assert bool(readings) == bool(card.diagnostics)
    assert not readings & {"kind", "step", "epoch", "value_calls", "grad_calls", "hvp_calls", "seconds"}
    assert all(name.isidentifier() and len(meaning.split()) > 1 for name, meaning in card.diagnostics.items())


def copies_of(tx) -> float:
    params = {"a": jax.ShapeDtypeStruct((1000, 500), jnp.float32), "b": jax.ShapeDtypeStruct((500_000,), jnp.float32)}
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(tx.init, params))) / 1e6


def test_state_copies_are_as_declared(card: Card):
    """At the defaults, which is what a user gets, and with the example."""
    plain, example = copies_of(card.make(**card.defaults())), copies_of(build(card))
    assert abs(plain - card.state_copies) < 0.01, f"the state holds {plain:.3f} copies of the parameters"
    declared = card.state_copies if card.example_copies is None else card.example_copies
    assert abs(example - declared) < 0.01, f"the example's state holds {example:.3f} copies of the parameters"
    assert card.example_copies != card.state_copies, "None says so"
    histories = inspect.signature(card.make).parameters.keys() & {"history"}
    for name in histories:  # another setting: as many copies fewer or more as there are trees
        one, three = (copies_of(card.make(**{**card.defaults(), name: count})) for count in (1, 3))
        per_tree = (three - one) / 2
        usual = inspect.signature(card.make).parameters[name].default
        assert abs(one + per_tree * (usual - 1) - card.state_copies) < 0.01


def test_the_same_start_gives_the_same_run(card: Card):
    points = [run(shared_step(card), 3) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *points)
    assert jax.tree.structure(points[0].params) == jax.tree.structure(start())
