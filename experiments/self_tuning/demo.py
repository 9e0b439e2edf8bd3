"""What `tuning_free()` reaches, with nothing tuned, on the digits of the demo: the line that ends `make demo`.

The same network, data, batches, epochs and number of seeds as experiments/arena/digits.py at its small scale, whose
contenders choose among four settings each; here there is none to choose.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from optaxaccel.training import loop
from optaxaccel.training.run.spec import Run

RUN = Run(method="tuning_free", model="mlp", data="digits", batch_size=64, epochs=30)


def accuracies(seeds: int, run: Run = RUN) -> list[float]:
    """Return the test accuracy at the end of training, in percent, for seeds 1, 2, ..."""
    with tempfile.TemporaryDirectory() as folder:
        ends = [loop.train(run.replace(seed=1 + k), Path(folder) / f"{k}.jsonl") for k in range(seeds)]
    return [100.0 * float(end.last["accuracy"]) for end in ends]


def line(finals: list[float]) -> str:
    """Return the mean and its standard error in words."""
    error = f" ± {statistics.stdev(finals) / len(finals) ** 0.5:.2f}" if len(finals) > 1 else ""
    return f"untuned: tuning_free() reaches {statistics.mean(finals):.2f}{error} % with no setting to choose"


if __name__ == "__main__":
    print(line(accuracies(int(sys.argv[1]) if len(sys.argv) > 1 else 5)))
