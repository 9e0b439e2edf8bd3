"""Experiments: definitions that are data, and the one way to run them.

A definition is a Python file with a docstring (claim, command, cost, expected value) and RUNS, a dictionary from scale
to a plan of one of three kinds:

* `Plan`: contenders tune with equal budgets, then train with fresh seeds.
* `Grid`: every setting trains with every seed; nothing is chosen.
* `Study`: a function of literals returns points and measured values; nothing is trained by the loop.

It may also hold PANELS (how a study's points are drawn) and VERDICT (what was concluded, by scale). It also runs as a
script:

    if __name__ == "__main__":
        run_definition(__file__)  # from optaxaccel.cli
"""

import dataclasses
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from optaxaccel import data, registry
from optaxaccel.neighbours import neighbours
from optaxaccel.training.run.spec import Run

TUNING_SEED = 1000
SCORING_SEED = 1001
TUNING_SHARE = 0.2
SCALES = ("smoke", "small", "paper")
SMOKE = {"model": "mlp", "model_args": {"hidden": (8,)}, "data": "digits", "batch_size": 32, "steps": 3, "log_every": 1}
"""Fields of a run of milliseconds: all smoke scales use them, so that they share compiled programs."""
RANKED_BY = ("accuracy", "loss", "train loss")


# --- Plans ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Contender:
    """One line of a table: a label and the settings to choose from (one setting: nothing to choose).

    Attributes:
      label: the line's name.
      settings: what it may choose from.
      default: the setting of a user who tunes nothing, where there is one.
    """

    label: str
    settings: tuple[Run, ...]
    default: Run | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Contenders that tune with the same budget.

    Each contender's settings are trained once with a tuning seed, on part of the training images, and judged on the
    rest of them (on all of them, and judged there, if only the training loss counts); the best is trained again with
    fresh seeds on all training images and judged on the test images.

    Attributes:
      contenders: the lines of the table.
      seeds: number of final runs a contender, with seeds 1, 2, ...
      by: what is tuned and ranked: "accuracy" (then loss) or "loss" on held-out images, or "train loss".
      scored: whether every setting is trained with a second tuning seed, and each contender's `default` as well, so
        that what not tuning costs is told by other runs than those that chose.
      target: a training loss; the oracle calls to it are the score of a problem whose loss has no minimum.
    """

    contenders: tuple[Contender, ...]
    seeds: int = 3
    by: str = "accuracy"
    scored: bool = False
    target: float | None = None

    def __post_init__(self):
        """Refuse contenders that may tune more than others."""
        _check_labels(self.contenders)
        registry.lookup("ranking", self.by, dict.fromkeys(RANKED_BY))
        budgets = {contender.label: len(contender.settings) for contender in self.contenders}
        if len(set(budgets.values())) > 1:
            raise ValueError(f"The tuning budgets differ: {budgets}. Give every contender the same number of settings.")


@dataclasses.dataclass(frozen=True)
class Grid:
    """Every setting of every contender, with every seed.

    Attributes:
      contenders: the lines of the table; they may have different numbers of settings.
      seeds: number of runs a setting, with seeds 1, 2, ...
      by: what settings are ranked by, as in `Plan`.
    """

    contenders: tuple[Contender, ...]
    seeds: int = 3
    by: str = "train loss"

    def __post_init__(self):
        """Refuse two contenders of one name."""
        _check_labels(self.contenders)
        registry.lookup("ranking", self.by, dict.fromkeys(RANKED_BY))


class Expect(NamedTuple):
    """Where a measured value should lie, ends included, and who says so."""

    low: float
    high: float
    source: str

    def holds(self, value: float) -> bool:
        """Tell whether a value lies there."""
        return self.low <= value <= self.high


def about(value: float, tolerance: float, source: str) -> Expect:
    """Expect a value within a tolerance."""
    return Expect(value - tolerance, value + tolerance, source)


class Measured(NamedTuple):
    """What a study's function returns.

    Attributes:
      points: dictionaries with "panel", "series", "x", "y" and, for a band, "low" and "high".
      values: the measured numbers by name.
    """

    points: list[dict[str, Any]]
    values: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Study:
    """A function of literals.

    Attributes:
      measure: the function; it is called with `arguments`.
      arguments: its keyword arguments, literals.
      expected: where measured values should lie; others are shown without a judgement.
    """

    measure: Callable[..., Measured]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    expected: Mapping[str, Expect] = dataclasses.field(default_factory=dict)


AnyPlan = Plan | Grid | Study


class Panel(NamedTuple):
    """How one panel of a study's figure is drawn: labels with units, and which axes are logarithmic."""

    title: str
    x: str
    y: str
    log: str = ""
    kind: str = "line"
    equal: bool = False


class Reported(NamedTuple):
    """What the paper reports, to stand beside what was measured: texts by the contender's label.

    Attributes:
      what: the quantity and its unit, a heading.
      outcome: the number that each contender ended with.
      training: the heading and texts beside the table of training times.
      accuracies: accuracies at epochs 0, 1, ... of every published run, drawn behind the measured curves.
    """

    what: str
    outcome: Mapping[str, str]
    training: tuple[str, Mapping[str, str]] = ("", {})
    accuracies: Mapping[str, Sequence[Sequence[float]]] = MappingProxyType({})


class Definition(NamedTuple):
    """A loaded definition.

    Attributes:
      name: folder and file, such as "pal-grid".
      path: the file.
      claim: its docstring.
      runs: plans by scale.
      panels: how a study's points are drawn, by the points' "panel".
      verdict: what was concluded, by scale: (one of VERDICTS, the reason).
      reported: what the paper reports of the contenders, if it gives numbers.
    """

    name: str
    path: Path
    claim: str
    runs: Mapping[str, AnyPlan]
    panels: Mapping[str, Panel]
    verdict: Mapping[str, tuple[str, str]]
    reported: Reported | None = None

    @property
    def results(self) -> Path:
        """The folder of published results."""
        return self.path.parent / "results"

    @property
    def headline(self) -> str:
        """The first line of the docstring."""
        return self.claim.partition("\n")[0]


VERDICTS = (
    "reproduced",
    "partly reproduced",
    "not reproduced",  # only where the claim could have shown
    "not tested at this size",
    "not testable here",
    "measured",
)


def load(path: Path) -> Definition:
    """Load a definition from its file; it may import modules that lie beside it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file defines no RUNS, or a verdict of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No experiment at {path}. Definitions are Python files under experiments/.")
    spec = importlib.util.spec_from_file_location(f"experiment_{path.parent.name}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file. Definitions are Python files under experiments/.")
    module: ModuleType = importlib.util.module_from_spec(spec)
    with neighbours(path):  # as if it ran as a script
        spec.loader.exec_module(module)
    runs = getattr(module, "RUNS", None)
    if not isinstance(runs, Mapping):
        raise ValueError(f"{path} defines no RUNS. Write RUNS = {{'smoke': Plan(...), 'small': Plan(...)}}.")
    verdict = getattr(module, "VERDICT", {})
    for word, _ in verdict.values():
        registry.lookup("verdict", word, dict.fromkeys(VERDICTS))
    claim = inspect.cleandoc(module.__doc__ or "")
    name = f"{path.resolve().parent.name}-{path.stem}"
    return Definition(
        name, path, claim, runs, getattr(module, "PANELS", {}), verdict, getattr(module, "REPORTED", None)
    )


def find(root: Path) -> list[Definition]:
    """Return every definition at or below a path, in the order of their names."""
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))
    return [load(path) for path in files if "\nRUNS" in path.read_text(encoding="utf-8")]


def scale_of(definition: Definition, scale: str) -> AnyPlan:
    """Return the plan at a scale.

    Raises:
      ValueError: the definition has no such scale.
    """
    return registry.lookup("scale", scale, definition.runs)


def beginning(plan: AnyPlan, steps: int) -> Grid:
    """Return a plan of the first updates of every contender's first setting, evaluated on one batch of images.

    Raises:
      ValueError: `steps` is no count, or the plan is a study, which trains nothing.
    """
    if isinstance(plan, Study):
        raise ValueError("first_steps is for runs, and a study trains nothing. Leave out --first-steps.")

    def first(run: Run) -> Run:
        images = data.card_of(run.data).splits.get(run.test_split, run.batch_size)
        split = run.test_split if "[" in run.test_split else f"{run.test_split}[:{min(images, run.batch_size)}]"
        return run.replace(steps=steps, seconds=None, test_split=split, log_every=1, extrapolate={})

    contenders = (Contender(contender.label, (first(contender.settings[0]),)) for contender in plan.contenders)
    return Grid(tuple(contenders), seeds=1, by=plan.by)


def _check_labels(contenders: Sequence[Contender]) -> None:
    labels = [contender.label for contender in contenders]
    if len(set(labels)) != len(labels):
        raise ValueError(f"Two contenders share a label: {labels}. Name each apart.")
