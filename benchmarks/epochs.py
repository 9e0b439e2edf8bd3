"""What searches for negative curvature add to a whole epoch: the three-convolution network on MNIST, at the defaults.

A step without a search is in `curvature`; here the searches of real training are counted in, as often as they come. The
seconds are those of the training loop's own clock, compilation and evaluations left out.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Row, alternate, rows_of
from optaxaccel import data
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.run.spec import Run

MOMENTUM = {"learning_rate": 0.02, "momentum": 0.9}
BASES = {  # each method after its base, with its goal
    "optax.sgd": {"gose_sgd": 1.05, "ancm": 1.5},
    "agd": {"gose_agd": 1.05},
}


def run(rounds: int) -> list[Row]:
    """Return one row a variant; an epoch takes seconds, so there are few rounds."""
    try:
        data.check("mnist", None)
    except FileNotFoundError:
        missing = "mnist is not prepared: optaxaccel data prepare mnist"
        return [{"benchmark": "training seconds an epoch, searches included", "variant": missing}]
    rows = []
    for base, goals in BASES.items():
        searches: dict[str, int] = {}
        variants = {name: _epoch(name, searches) for name in (base, *goals)}
        timings = alternate(variants, rounds=max(3, rounds // 16), warm_up=0)
        title = f"training milliseconds an epoch, searches included, cnn, MNIST, batch 128: {base} and what rests on it"
        rows += [
            row | {"searches": searches[row["variant"]]} if row["variant"] in searches else row
            for row in rows_of(title, timings, goals=goals)
        ]
    return rows


def _epoch(method: str, searches: dict[str, int]) -> Callable[[], float]:
    """Return a function that trains an epoch, notes how often was searched, and returns the seconds."""
    spec = Run(method, MOMENTUM, model="cnn", data="mnist", batch_size=128, epochs=1, eval_every=1e9)

    def seconds() -> float:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "record.jsonl"
            loop.train(spec, path)
            end = records.read(path).end
            if "searches" in end:
                searches[method] = end["searches"]
            return end["seconds"]

    return seconds
