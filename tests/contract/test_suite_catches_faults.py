"""Every item passes on a faultless stand-in and fails on one in which its fault is planted."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from optaxaccel import Card, Cost

from . import faults
from . import test_arguments as arguments
from . import test_buffers as buffers
from . import test_card as cards
from . import test_checkpoints as checkpoints
from . import test_convergence as convergence
from . import test_devices as devices
from . import test_nonfinite as nonfinite
from . import test_schedules as schedules
from . import test_trees as trees
from . import test_types as types
from . import test_wrappers as wrappers
from .problem import MIXED
from .standin import card, plain

pytestmark = pytest.mark.filterwarnings("ignore:.*optax.MultiSteps")  # as in `test_wrappers`


class Fault(NamedTuple):
    """An item with its arguments, a card with a fault, and what the item must say of it."""

    item: Callable
    arguments: tuple
    card: Card
    message: str


def plant(item: Callable, message: str, *arguments: Any, **fault: Any) -> Fault:
    return Fault(item, arguments, card(**fault), message)


def weak(params):
    return jnp.asarray(0)


def negative(params):
    return jax.tree.map(jnp.negative, params)


NAN, INF = float("nan"), float("inf")
FAULTS = [
    plant(cards.test_card_can_be_built_from_literals, "malformed", example={"learning_rate": jnp.ones(())}),
    plant(cards.test_card_can_be_built_from_literals, "only the first argument", make=faults.positional),
    plant(cards.test_card_can_be_built_from_literals, "steps", static_args=("steps",)),
    plant(cards.test_card_is_filled_in, "no citation", paper="Polyak"),
    plant(cards.test_card_is_filled_in, "values=-1.0", cost=Cost(values=-1.0)),
    plant(cards.test_reservations_name_items_and_give_reasons, "no item", reservations={"new": "a b c d"}),
    plant(cards.test_reservations_name_items_and_give_reasons, "no reason", reservations={"descends": "no"}),
    plant(cards.test_what_the_state_tells_is_on_the_card, "bool", diagnostics={"rate": "length of the last step"}),
    plant(cards.test_state_copies_are_as_declared, "1.000 copies", state_copies=2.0),
    plant(cards.test_the_same_start_gives_the_same_run, "not equal", update=faults.scaled(faults.host_noise)),
    plant(convergence.test_descends_a_quadratic, "falls by (1.0|nan|inf)", update=faults.scaled(lambda g: -1.0)),
    plant(convergence.test_descends_a_quadratic, "falls by 0.9[789]", update=faults.scaled(lambda g: 0.2)),
    plant(
        convergence.test_descends_a_quadratic_at_its_defaults,
        "falls by 0.9[789]",
        update=faults.scaled(lambda g: 0.2),
    ),
    plant(convergence.test_descends_a_curved_valley, "slower than", update=faults.scaled(lambda g: 0.2)),
    plant(convergence.test_descends_a_curved_valley, "isfinite|10 ", example={"learning_rate": 90.0}),
    plant(convergence.test_oracle_calls_are_as_declared, "'values': 1.0.*declared", cost=Cost(values=0.5)),
    plant(convergence.test_oracle_calls_are_as_declared, "'values': 2.0", cost=Cost(values=2.0)),
    plant(convergence.test_stays_where_losses_no_longer_differ, "left", update=faults.scaled(lambda g: -1.0)),
    plant(
        convergence.test_complex_parameters_turn_with_their_start,
        "Not equal",
        update=faults.scaled(faults.square_without_conjugate),
    ),
    plant(types.test_types_stay, "int32", "float32", init=faults.state_with(count=weak)),
    plant(types.test_types_stay, "bfloat16", "mixed", update=faults.cast(jnp.float32)),
    plant(types.test_types_stay, "float64", "float32_and_float64", update=faults.cast(jnp.float32)),
    plant(types.test_types_stay_whatever_the_type_of_value, "float", "bfloat16", update=faults.keep_value),
    plant(
        types.test_types_of_the_state_stay_where_gradients_are_wider, "float64", "float32", update=faults.keep_gradient
    ),
    plant(types.test_types_stay_with_complex_parameters, "omplex", "complex64", update=faults.cast(jnp.float32)),
    plant(types.test_state_is_made_of_plain_strong_arrays, "weakly", init=faults.state_with(count=weak)),
    plant(types.test_state_is_made_of_plain_strong_arrays, "is 0", init=faults.state_with(count=lambda p: 0)),
    plant(types.test_state_is_made_of_plain_strong_arrays, "PRNG", **faults.carrying(lambda: jax.random.key(0))),
    plant(types.test_state_is_made_of_plain_strong_arrays, "entries", **faults.carrying(lambda: jnp.zeros((0, 3)))),
    plant(types.test_init_takes_shapes_alone, "ShapeDtypeStruct", init=faults.state_with(velocity=negative)),
    plant(types.test_traces_once, "assert .2. == .1.", init=faults.state_with(count=weak)),
    plant(types.test_numbers_of_python_are_parameters, "no attribute 'shape'", update=faults.broadcasts),
    plant(buffers.test_fresh_state_shares_no_buffer, "twice", init=faults.state_with(velocity=lambda p: p)),
    plant(buffers.test_fresh_state_shares_no_buffer, "twice", init=faults.share_a_counter),
    plant(buffers.test_fresh_state_can_be_donated, "donate the same buffer twice", init=faults.share_a_counter),
    plant(buffers.test_update_never_waits_for_the_host, "callback", update=faults.scaled(faults.host_noise)),
    plant(buffers.test_update_leaks_no_tracer, "Leaked", update=faults.scaled(faults.keep_tracers)),
    plant(
        buffers.test_stored_loss_is_that_of_the_accepted_point,
        "Not equal",
        init=faults.log_zero,
        update=faults.log_value,
    ),
    plant(arguments.test_params_none_works_or_is_explained, "unexplained", update=faults.no_checks),
    plant(arguments.test_params_none_works_or_is_explained, "unnoticed", update=faults.ignores_params),
    plant(arguments.test_missing_loss_works_or_shows_the_call, "not name", ["value_fn"], update=faults.no_checks),
    plant(arguments.test_missing_loss_works_or_shows_the_call, "the call", ["value_fn"], update=faults.complains),
    plant(arguments.test_unknown_extras_are_ignored, "unexpected", update=faults.refuses_extras),
    plant(arguments.test_data_reach_value_fn, "batch", "positional", update=faults.hands_on_nothing),
    plant(arguments.test_missing_data_are_named, "batch", update=faults.no_checks),
    plant(arguments.test_a_loss_that_is_no_scalar_is_refused, "DID NOT RAISE", update=faults.no_checks),
    plant(arguments.test_a_gradient_of_another_shape_is_refused, "DID NOT RAISE", update=faults.broadcasts),
    plant(arguments.test_a_state_of_another_transformation_is_refused, "RAISE", "a dict", update=faults.starts_anew),
    plant(trees.test_cutting_a_vector_into_leaves_changes_nothing, "Not equal", update=faults.norm_of_each_leaf),
    plant(trees.test_trees_that_hold_nothing, "out of range", {}, init=faults.needs_a_first_leaf),
    plant(trees.test_params_in_the_state_can_be_mapped, "out of range", init=faults.needs_a_first_leaf),
    plant(
        trees.test_params_in_the_state_can_be_mapped,
        "1.00 of 2.0 copies",
        state_copies=2.0,
        **faults.carrying(lambda: jnp.zeros(9)),
    ),
    plant(nonfinite.test_a_bad_loss_moves_nothing, "update of", NAN, update=faults.ignore_nonfinite),
    plant(nonfinite.test_a_bad_loss_moves_nothing, "did not rise", INF, update=faults.hold_but_not_count),
    plant(
        nonfinite.test_a_bad_gradient_moves_nothing_or_is_documented,
        "count did not rise",
        NAN,
        update=faults.hold_but_not_count,
    ),
    plant(
        nonfinite.test_a_bad_gradient_moves_nothing_or_is_documented,
        "apply_if_finite",
        NAN,
        make=faults.undocumented,
    ),
    plant(
        schedules.test_what_is_annotated_as_a_schedule_takes_one_and_nothing_else_does,
        "momentum",
        make=faults.undocumented,
    ),
    plant(schedules.test_learning_rate_is_annotated_as_a_schedule, "float", make=faults.unannotated),
    plant(schedules.test_constant_schedules_equal_numbers, "Not equal", make=faults.late_schedule),
    plant(schedules.test_injected_hyperparameters_equal_numbers, "bool", make=faults.branches_on_number),
    plant(schedules.test_injected_hyperparameters_equal_numbers, "int", static_args=()),
    plant(schedules.test_injected_hyperparameters_keep_types, "bfloat16", MIXED, make=faults.promoted_by_its_rate),
    plant(wrappers.test_types_stay_inside_a_wrapper, "cond", "apply_if_finite", update=faults.keep_value),
    plant(wrappers.test_neutral_wrappers_change_nothing, "Not equal", update=faults.scaled(faults.number_of_traces)),
    plant(wrappers.test_apply_if_finite_guards, "cond", update=faults.keep_value),
    plant(wrappers.test_accumulation_waits_in_exact_zeros, "bfloat16", update=faults.cast(jnp.float32)),
    plant(wrappers.test_descends_in_low_precision, "the distance falls by", update=faults.scaled(lambda g: -1.0)),
    plant(wrappers.test_a_partial_mask_hides_leaves_or_is_refused, "did not match", "masked", update=faults.no_checks),
    plant(
        wrappers.test_a_partial_mask_hides_leaves_or_is_refused,
        "MaskedNode",
        "partition",
        make=plain,
        update=faults.uses_the_extra_gradient,
    ),
    plant(devices.test_four_devices_equal_one, "device", init=faults.put_on_the_first_device),
    plant(devices.test_pmap_equals_one_device, "Not equal", update=faults.scaled(faults.device_number)),
    plant(devices.test_shard_map_sees_what_is_replicated, "replicat", update=faults.scaled(faults.device_number)),
    plant(devices.test_explicit_mesh_keeps_types, "[Ss]hard", update=faults.scaled(faults.ravelled_dot)),
    plant(devices.test_vmap_equals_a_loop_over_starts, "Not equal", update=faults.scaled(faults.host_noise)),
    plant(checkpoints.test_survives_flax_serialization, "key", **faults.carrying(lambda: jax.random.key(0))),
    plant(checkpoints.test_survives_orbax, "zero", **faults.carrying(lambda: jnp.zeros((0, 3)))),
]


def check(fault: Fault, card: Card, tmp_path) -> None:
    extra = (tmp_path,) if "tmp_path" in inspect.signature(fault.item).parameters else ()
    fault.item(card, *fault.arguments, *extra)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.item.__name__.removeprefix("test_") for fault in FAULTS])
def test_fault_is_caught(fault: Fault, tmp_path):
    check(fault, card(), tmp_path)
    with pytest.raises(BaseException, match=fault.message):
        check(fault, fault.card, tmp_path / "faulty")


def test_every_item_has_a_fault():
    assert {fault.item.__name__ for fault in FAULTS} == cards.items()
