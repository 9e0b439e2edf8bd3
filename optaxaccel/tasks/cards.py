"""The cards of the tasks that ship: plain data, so that the command line can list them without starting JAX."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class TaskCard(NamedTuple):
    """What everyone but the task itself knows about it.

    Attributes:
      name: the key in TASKS and on the command line.
      maker: "module:function" of the factory `make(**arguments) -> Task`; imported when used.
      about: one line.
      score: the metric that counts.
      smoke: arguments of the size for tests, seconds.
      small: those of the size for two cores; the maker's defaults where there are none.
      needs: the extra that it needs beyond `train`, such as "tables"; empty for none.
      first_try: a method with arguments that trains it, as the command line takes it.
    """

    name: str
    maker: str
    about: str
    score: str
    smoke: Mapping[str, Any] = {}
    small: Mapping[str, Any] = {}
    needs: str = ""
    first_try: str = "optax.adam(learning_rate=0.001)"


_SHORT = {"steps": 30}
_ADAM = "optax.adam(learning_rate={})"
_TEXT = {"characters": 60_000, "length": 32, "layers": 1, "width": 32, "steps": 300}


def _card(
    place: str, about: str, score: str, rate: float, smoke: Mapping[str, Any] = {}, small: Mapping[str, Any] = {}
) -> TaskCard:
    """Return the card of a maker of this package, tried first with Adam at a rate."""
    own, first_try = place.partition(":")[2], _ADAM.format(rate)
    return TaskCard(own, f"optaxaccel.tasks.{place}", about, score, {**_SHORT, **smoke}, small, first_try=first_try)


CARDS: tuple[TaskCard, ...] = (
    _card("images:images", "images of the zoo's data sets by its networks", "accuracy", 0.003),
    _card(
        "language:language",
        "next character by a transformer",
        "perplexity",
        0.003,
        {
            "characters": 20_000,
            "length": 16,
            "layers": 1,
            "width": 16,
            "batch_size": 16,
        },
        _TEXT,
    ),
    TaskCard(
        "words",
        "optaxaccel.tasks.language:language",
        "next word by a transformer",
        "perplexity",
        {
            **_SHORT,
            "unit": "word",
            "characters": 40_000,
            "vocabulary": 100,
            "length": 16,
            "layers": 1,
            "width": 16,
            "batch_size": 16,
        },
        {**_TEXT, "unit": "word", "batch_size": 8},
        first_try=_ADAM.format(0.003),
    ),
    _card(
        "recurrent:copy",
        "a word told again after a pause by a gated recurrent unit",
        "accuracy",
        0.01,
        {
            "length": 2,
            "pause": 1,
            "hidden": 16,
        },
    ),
    _card("autoencoder:autoencoder", "digits through a narrow code", "loss", 0.003),
    TaskCard(
        "table",
        "optaxaccel.tasks.tabular:table",
        "rows of a .csv or .parquet file, or of scikit-learn's sets",
        "accuracy or r2",
        _SHORT,
        needs="tables",
        first_try=_ADAM.format(0.01),
    ),
    _card("physics:poisson_1d", "Poisson's equation on an interval by a network", "relative_l2", 0.003),
    _card("physics:poisson_2d", "Poisson's equation on a square by a network", "relative_l2", 0.003),
    _card("physics:burgers", "the viscous equation of Burgers by a network", "relative_l2", 0.003, {"points": 50}),
    _card("physics:allen_cahn", "the equation of Allen and Cahn by a network", "relative_l2", 0.003, {"points": 50}),
    _card("landscapes:rosenbrock", "Rosenbrock's valley", "gap", 0.03),
    _card("landscapes:softmax_regression", "convex, on digits with planted soft labels", "gap", 0.1, {"examples": 100}),
    _card("landscapes:lasso", "least squares with a 1-norm, a planted sparse answer", "gap", 0.03),
    _card("landscapes:matrix_factorisation", "a matrix of low rank, near a saddle", "gap", 0.03),
    _card("landscapes:phase_retrieval", "a signal from squared projections", "gap", 0.03),
    _card("landscapes:cp_tensor", "a tensor of low rank", "gap", 0.03),
)
