"""What a task is: data and two functions, and which of its numbers is the score."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import jax

Tree = Any
Metrics = Mapping[str, Any]


class Init(Protocol):
    """Make the parameters and what the network carries beside them (batch statistics, say; `{}` where nothing is)."""

    def __call__(self, key: jax.Array, /) -> tuple[Tree, Tree]:
        """Return (params, net_state)."""
        ...


class Loss(Protocol):
    """Compute the loss of a batch, and named numbers that tell of it."""

    def __call__(
        self, params: Tree, net_state: Tree, batch: Tree, /, *, key: jax.Array, train: bool
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        """Return (loss, (new net_state, metrics)): a scalar, and scalars by name.

        A method may evaluate it again at other parameters of the same batch and key. Without `train` it is an
        evaluation: no dropout, and net_state comes back as it was; only then need it hold the score.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A problem to train on. Nothing in it knows a method.

    Attributes:
      init: `init(key) -> (params, net_state)`.
      loss: `loss(params, net_state, batch, *, key, train) -> (loss, (net_state, metrics))`.
      train: what is trained on: a tree of arrays that share their first axis, the examples; or a function
        `sample(key) -> batch` that draws new examples inside the compiled step. With `batch_size=None` the whole tree
        is the batch, whatever its shapes are; `{}` where the loss needs no data.
      test: what the score is measured on, likewise; None for the training data.
      validation: what settings are chosen on; None for a tenth of the training examples, held out, or where all of
        them are one batch for the loss on them.
      batch_size: examples a step; the last, smaller batch of an epoch is dropped. None for all at once.
      eval_batch_size: examples of an evaluation at once, where `batch_size` is given.
      score: the metric that counts, of an evaluation; "loss" is always there.
      higher_is_better: whether more of it is better.
      finish: further metrics from the means over all examples, such as a perplexity from the mean loss.
      predict: `predict(params, net_state, inputs)`, what a trained network says, for those who load one; None for none.
      precision: "float64" computes in double precision.
      steps: updates that a run takes unless told otherwise.
      name: what records and tables call it.
      note: what a reader of its results should know.

    Example:
      >>> import jax.numpy as jnp
      >>> def loss(params, net_state, batch, *, key, train):
      ...     gap = jnp.mean((batch["x"] @ params - batch["y"]) ** 2)
      ...     return gap, (net_state, {"rmse": jnp.sqrt(gap)})
      >>> data = {"x": jnp.eye(2), "y": jnp.array([1.0, 3.0])}
      >>> task = Task(lambda key: (jnp.zeros(2), {}), loss, train=data, score="rmse")
      >>> params, net_state = task.init(None)
      >>> float(task.loss(params, net_state, data, key=None, train=True)[0])  # (1 + 9) / 2
      5.0
    """

    init: Init
    loss: Loss
    train: Tree = dataclasses.field(default_factory=dict)
    test: Tree = None
    validation: Tree = None
    batch_size: int | None = None
    eval_batch_size: int = 512
    score: str = "loss"
    higher_is_better: bool = False
    finish: Callable[[Metrics], Metrics] | None = None
    predict: Callable[[Tree, Tree, Any], Any] | None = None
    precision: Literal["float32", "float64"] = "float32"
    steps: int = 1000
    name: str = "task"
    note: str = ""

    def __post_init__(self):
        """Make numbers of NumPy and JAX Python's: records hold them."""
        for name in ("batch_size", "eval_batch_size", "steps"):
            value = getattr(self, name)
            if getattr(value, "ndim", None) == 0:
                object.__setattr__(self, name, value.item())

    def replace(self, **changes: Any) -> Task:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def from_loss(
    loss: Callable[..., Any],
    params: Any,
    *,
    train: Tree = None,
    test: Tree = None,
    batch_size: int | None = None,
    **more: Any,
) -> Task:
    """Return the task of a plain loss.

    Args:
      loss: `loss(params)`, or `loss(params, batch)` where there are data; it returns a scalar, or a scalar and a
        dictionary of scalars. Where it names an argument `key`, it gets a random key of the step, for dropout; where it
        names `train`, whether it trains or is evaluated.
      params: the parameters to begin at, or `init(key)` that draws them.
      train: as `Task`.
      test: as `Task`.
      batch_size: as `Task`.
      **more: further fields of `Task`. Where `jax_enable_x64` is on, its precision is "float64" unless it is given.

    Example:
      >>> import jax.numpy as jnp
      >>> task = from_loss(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2))
      >>> float(task.loss(*task.init(None), {}, key=None, train=True)[0])
      18.0
    """
    with_data = train is not None
    named = _named(loss, 2 if with_data else 1)

    def init(key):
        return (params(key) if callable(params) else params), {}

    def whole(params: Tree, net_state: Tree, batch: Tree, *, key: Any, train: bool) -> Any:
        more = {name: value for name, value in (("key", key), ("train", train)) if name in named}
        output = loss(params, batch, **more) if with_data else loss(params, **more)
        value, metrics = output if isinstance(output, tuple) and len(output) == 2 else (output, {})
        return value, (net_state, metrics)

    whole.called_as = "loss(params, batch)" if with_data else "loss(params)"  # what errors say of it
    if "precision" not in more:
        import jax

        more["precision"] = "float64" if jax.config.jax_enable_x64 else "float32"  # pyright: ignore
    more.setdefault("name", getattr(loss, "__name__", "loss").strip("<>"))
    return Task(init, whole, {} if train is None else train, test, batch_size=batch_size, **more)


def _named(loss: Callable[..., Any], beyond: int) -> frozenset[str]:
    """Return the names of a loss's arguments beyond the parameters and a batch; none where they cannot be known."""
    try:
        return frozenset(list(inspect.signature(loss).parameters)[beyond:])
    except (TypeError, ValueError):
        return frozenset()
