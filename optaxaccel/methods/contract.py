"""The contract that every method keeps.

A factory takes hyperparameters and returns an `optax.GradientTransformationExtraArgs` whose update is called

    updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_of_params, **data)

* `value`, `grad` and `value_fn` always have these names; a method uses those it needs and ignores every other
  extra argument, so one training loop serves all methods.
* `value_fn(params, **data)` returns the scalar loss. It is deterministic within a step (same batch, same dropout key,
  same batch statistics) and, on several devices, the mean over all of them. Data reach it by name: every further
  keyword argument of `update` that `value_fn` names is handed on. A closure over the batch needs none.
* A step whose loss is not finite moves nothing and stores nothing but `notfinite_count + 1`. Nor does a gradient that
  is not finite, in methods that look at the loss; others spare themselves the pass, and `optax.apply_if_finite` guards.
* Where `params` is a look-ahead point, `eval_params(opt_state, params)` gives the iterate to evaluate.
* Each method describes itself to tests, documentation, command line and experiments with a `Card`.

Everything that a method's file needs of it is here; what each piece does stands in its own module: `card`, `arguments`,
`losses`, `masks`, `iterates`, `states` and `transformation`.
"""

from optaxaccel.methods.arguments import (
    at_step,
    base_of,
    check_choice,
    check_count,
    check_learning_rate,
    check_number,
    check_params,
    check_static,
    is_number,
    require_extra,
    require_params,
)
from optaxaccel.methods.card import Card, Cost
from optaxaccel.methods.iterates import eval_params
from optaxaccel.methods.losses import ValueFn, bind_value_fn, handed_on, loss_is_finite, step_is_finite
from optaxaccel.methods.masks import as_seen_by, hidden_as, is_masked, refuse_masked
from optaxaccel.methods.states import diagnostics, line_calls, measurement_failed, restart, search_attempts
from optaxaccel.methods.transformation import transformation

__all__ = [
    "Card",
    "Cost",
    "ValueFn",
    "as_seen_by",
    "at_step",
    "base_of",
    "bind_value_fn",
    "check_choice",
    "check_count",
    "check_learning_rate",
    "check_number",
    "check_params",
    "check_static",
    "diagnostics",
    "eval_params",
    "handed_on",
    "hidden_as",
    "is_masked",
    "is_number",
    "line_calls",
    "loss_is_finite",
    "measurement_failed",
    "refuse_masked",
    "require_extra",
    "require_params",
    "restart",
    "search_attempts",
    "step_is_finite",
    "transformation",
]
