"""Further takers of a run's rows: TensorBoard and Weights & Biases, both optional."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optaxaccel import registry
from optaxaccel.training.keeping.records import Sink
from optaxaccel.training.run.spec import Run


def sink(name: str, run: Run, folder: Path) -> Sink:
    """Return what writes rows to "tensorboard" (below `folder`) or to "wandb".

    Raises:
      ValueError: another name.
      ImportError: the package behind it is not installed; the message says which to install.
    """
    return registry.lookup("log target", name, _SINKS)(run, folder)


def _numbers(kind: str, fields: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row under `kind/name`; the step is no curve, and the first row holds none."""
    if kind in ("start", "end"):
        return {}
    prefix = f"{kind}/{fields['split']}" if "split" in fields else kind
    numbers = {name: value for name, value in fields.items() if isinstance(value, (int, float)) and name != "step"}
    return {f"{prefix}/{name}": float(value) for name, value in numbers.items()}


def _tensorboard(run: Run, folder: Path) -> Sink:
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("--log tensorboard needs tensorboardX. Call pip install tensorboardX.") from error
    opened: list[Any] = []

    def take(kind: str, fields: Mapping[str, Any]) -> None:
        if not opened:  # rows from this step on, of a run that was stopped after its last checkpoint, are forgotten
            opened.append(SummaryWriter(str(folder / "tensorboard"), purge_step=int(fields.get("step", 0))))
            opened[0].add_text("spec", str(run.as_dict()))
        writer = opened[0]
        for name, value in _numbers(kind, fields).items():
            writer.add_scalar(name, value, fields["step"])
        writer.flush()

    return take


def _wandb(run: Run, folder: Path) -> Sink:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("--log wandb needs Weights & Biases. Call pip install wandb.") from error
    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]  # two folders of one run are two runs there
    name = f"{run.digest()}-{place}"
    session = wandb.init(project="optaxaccel", config=run.as_dict(), dir=str(folder), id=name, resume="allow")

    def take(kind: str, fields: Mapping[str, Any]) -> None:
        numbers = _numbers(kind, fields)
        if numbers:
            session.log(numbers, step=fields["step"])
        if kind == "end":
            session.finish(exit_code=0 if fields["status"] == "done" else 1)

    return take


_SINKS: Mapping[str, Callable[[Run, Path], Sink]] = {"tensorboard": _tensorboard, "wandb": _wandb}
