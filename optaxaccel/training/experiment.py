"""Experiments: definitions that are data, and the one way to run them.

A definition is a Python file with a docstring (claim, command, cost, expected value) and RUNS, a dictionary from scale
to `Plan`. It also runs as a script:

    if __name__ == "__main__":
        run_definition(__file__)  # from optaxaccel.cli
"""

import dataclasses
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from optaxaccel import registry
from optaxaccel.training.spec import Run

TUNING_SEED = 1000
TUNING_SHARE = 0.2
SCALES = ("smoke", "small", "paper")


@dataclasses.dataclass(frozen=True)
class Contender:
    """One line of a table: a label and the settings to choose from (one setting: nothing to choose)."""

    label: str
    settings: tuple[Run, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an experiment runs at one scale.

    Each contender's settings are trained once with a tuning seed, on part of the training images, and judged on the
    rest of them (accuracy at the end, then loss); the best is trained again with fresh seeds on all training images
    and judged on the test images.

    Attributes:
      contenders: the lines of the table.
      seeds: number of final runs a contender, with seeds 1, 2, ...
    """

    contenders: tuple[Contender, ...]
    seeds: int = 3

    def __post_init__(self):
        """Refuse contenders that may tune more than others."""
        budgets = {contender.label: len(contender.settings) for contender in self.contenders}
        if len(set(budgets.values())) > 1:
            raise ValueError(f"The tuning budgets differ: {budgets}. Give every contender the same number of settings.")
        if len(budgets) != len(self.contenders):
            raise ValueError(f"Two contenders share a label: {[c.label for c in self.contenders]}. Name each apart.")


class Definition(NamedTuple):
    """A loaded definition: its name, docstring and plans by scale."""

    name: str
    claim: str
    runs: Mapping[str, Plan]


class Job(NamedTuple):
    """One run of a plan and the record it writes."""

    run: Run
    label: str
    phase: str
    path: Path


def load(path: Path) -> Definition:
    """Load a definition from its file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file defines no RUNS.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No experiment at {path}. Definitions are Python files under experiments/.")
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file. Definitions are Python files under experiments/.")
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    runs = getattr(module, "RUNS", None)
    if not isinstance(runs, Mapping):
        raise ValueError(f"{path} defines no RUNS. Write RUNS = {{'smoke': Plan(...), 'small': Plan(...)}}.")
    name = f"{path.resolve().parent.name}-{path.stem}"
    return Definition(name, inspect.cleandoc(module.__doc__ or ""), runs)


def tuning_jobs(plan: Plan, out: Path) -> Iterator[Job]:
    """Yield the runs that choose each contender's setting; none where there is nothing to choose."""
    for contender in plan.contenders:
        if len(contender.settings) > 1:
            for setting in contender.settings:
                run = setting.replace(
                    seed=TUNING_SEED, validation=TUNING_SHARE, eval_every=float(setting.epochs or 1e9)
                )
                yield Job(run, contender.label, "tune", out / "tune" / f"{run.digest()}.jsonl")


def final_jobs(plan: Plan, seeds: int, out: Path, score: Callable[[Path], tuple[float, float]]) -> Iterator[Job]:
    """Yield the runs of each contender's best setting, seed by seed across contenders.

    Args:
      plan: what to run.
      seeds: number of seeds.
      out: folder of the records.
      score: the validation result in a record, larger is better.
    """
    tuned = {job.path: job for job in tuning_jobs(plan, out)}
    best: dict[str, Run] = {}
    for contender in plan.contenders:
        best[contender.label] = contender.settings[0]
        if len(contender.settings) > 1:
            paths = [path for path, job in tuned.items() if job.label == contender.label]
            best[contender.label] = contender.settings[max(range(len(paths)), key=lambda i: (score(paths[i]), -i))]
    for seed in range(1, seeds + 1):
        for label, setting in best.items():
            run = setting.replace(seed=seed)
            yield Job(run, label, "final", out / "final" / f"{run.digest()}.jsonl")


def scale_of(definition: Definition, scale: str) -> Plan:
    """Return the plan at a scale.

    Raises:
      ValueError: the definition has no such scale.
    """
    return registry.lookup("scale", scale, definition.runs)


def validation_score(path: Path) -> tuple[float, float]:
    """Return (accuracy, -loss) at the end of a tuning run, and the worst score if it did not end well."""
    from optaxaccel.training import records

    record = records.read(path)
    last = record.last("eval")
    if record.status != "done" or not last or not isinstance(last["loss"], float):
        return (-1.0, float("-inf"))
    return (last["accuracy"], -last["loss"])


def execute(job: Job, *, data_dir: str | None = None, progress: Any = None) -> str:
    """Train one job and return its status."""
    from optaxaccel.training import loop

    run = job.run if data_dir is None else job.run.replace(data_dir=data_dir)
    outcome = loop.train(run, job.path, label=job.label, phase=job.phase, progress=progress)
    return outcome.status
