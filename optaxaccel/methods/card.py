"""The card by which a method describes itself to tests, documentation, command line and experiments."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

__all__ = ["Card", "Cost"]


class Cost(NamedTuple):
    """Oracle calls of a step beyond the gradient that it is handed, as expected numbers.

    Attributes:
      values: evaluations of the loss.
      grads: gradients of the loss.
      hvps: products of the Hessian of the loss with a vector.
    """

    values: float = 0.0
    grads: float = 0.0
    hvps: float = 0.0


class Card(NamedTuple):
    """What everyone but the method itself knows about a method.

    Attributes:
      name: the key in `METHODS` and on the command line.
      make: factory that takes literals only and returns the transformation.
      paper: the source, as a short citation.
      example: keyword arguments with which `make` works on a well-scaled problem.
      cost: oracle calls of one step beyond the gradient handed in.
      state_copies: buffers as large as the parameters that the state keeps, at the defaults.
      static_args: hyperparameters that set shapes or loops; they are never traced.
      reservations: items of the contract suite that do not apply, each with its reason.
      counts_attempts: whether the state tells how often a finder ran, see `search_attempts`; `cost` is then what is
        spent where every chance is taken.
      example_copies: as `state_copies`, of `example`; None where it is no other number.
      diagnostics: what the state tells while a run goes on, name and meaning, see `states.Diagnoses`; records, figures
        and TensorBoard hold it, and what trains knows none of the names.
    """

    name: str
    make: Callable[..., optax.GradientTransformationExtraArgs]
    paper: str
    example: Mapping[str, Any]
    cost: Cost = Cost()
    state_copies: float = 0.0
    static_args: tuple[str, ...] = ()
    reservations: Mapping[str, str] = {}
    counts_attempts: bool = False
    example_copies: float | None = None
    diagnostics: Mapping[str, str] = {}

    def defaults(self) -> dict[str, Any]:
        """Return what a call at the defaults has to be given: of the example what has none."""
        parameters = inspect.signature(self.make).parameters
        return {
            name: value for name, value in self.example.items() if parameters[name].default is inspect.Parameter.empty
        }

    def copies(self) -> str:
        """Return the state's copies in words: at the defaults, and with the example where that is another number."""
        if self.example_copies is None:
            return f"{self.state_copies:g}"
        return f"{self.state_copies:g} ({self.example_copies:g} as in the example)"
