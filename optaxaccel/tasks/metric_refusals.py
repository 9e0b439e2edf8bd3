"""Refuse metrics that are no numbers or have the name of another field of records, and a `finish` that fails."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from optaxaccel.tasks.task import Task

OF_ROWS = ("kind", "split", "step", "epoch", "value_calls", "grad_calls", "hvp_calls", "seconds")
"""What rows of evaluations hold beside the loss and the metrics, whose names are others."""


def finished(task: Task, finish: Callable[[Any], Any], means: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the shapes of what `finish` makes of means of these shapes; refuse what is no metrics."""
    changes_loss = False

    def traced(means: Mapping[str, Any]) -> Any:
        nonlocal changes_loss
        output = finish(means)
        changes_loss = isinstance(output, Mapping) and output.get("loss", means["loss"]) is not means["loss"]
        return output

    try:
        more = jax.eval_shape(traced, dict(means))
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(
            f"{task.name}: finish(means) failed: {said}. It is called with the means over all examples: "
            f"{', '.join(means)}."
        ) from error
    if not isinstance(more, Mapping):
        raise ValueError(
            f"{task.name}: finish returned a {type(more).__name__}. Return the further metrics by name: "
            "{'perplexity': jnp.exp(means['loss'])}, say."
        )
    check_numbers(task, "what finish calls", more)
    check_names(task, "what finish calls", more, changes_loss)
    return more


def check_numbers(task: Task, what: str, metrics: Mapping[str, Any]) -> None:
    """Refuse metrics that are no numbers with names."""
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise ValueError(f"{task.name}: {what} {name!r} has no text for a name. Name it 'accuracy', say.")
        if getattr(value, "shape", None) != ():
            has = f"has shape {value.shape}" if hasattr(value, "shape") else f"is a {type(value).__name__}"
            raise ValueError(
                f"{task.name}: {what} {name!r} {has}, but a metric is one number with a name. Return its mean over the "
                "batch."
            )


def check_names(task: Task, what: str, metrics: Mapping[str, Any], changes_loss: bool) -> None:
    """Refuse names of what a row of an evaluation holds beside the metrics; "loss" may stand for the loss itself."""
    for name in metrics:
        if name in OF_ROWS or (name == "loss" and changes_loss):
            otherwise = "another number than the loss" if name == "loss" else "no metric"
            raise ValueError(
                f"{task.name}: {what} {name!r} would take the place of what records hold under that name, {otherwise}. "
                f"Name it otherwise: 'my_{name}', say."
            )
