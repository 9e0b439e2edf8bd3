"""`optaxaccel evaluate`: measure and export what a run has trained."""

import tempfile
from pathlib import Path
from typing import Any

from optaxaccel.cli.commands import Evaluate
from optaxaccel.cli.terminal import DONE, say, start_jax


def evaluate(command: Evaluate) -> int:
    """Measure a trained network, export it where that is asked for, and return the exit status."""
    out = command.export
    if out is not None and out.suffix not in (".safetensors", ".npz"):
        raise ValueError(f"--export {out}: pass a name that ends with .safetensors or .npz.")
    if out is not None and out.exists():
        raise FileExistsError(f"{out} is there already. Pass another name, or remove it.")
    start_jax()
    from optaxaccel.training import loading

    which: Any = int(command.which) if command.which.isdigit() else command.which
    run = loading.load(command.run, which)
    scores = "  ".join(f"{name} {value:.6g}" for name, value in run.evaluate().items())
    say(f"{run.task.name}, {command.which}, after step {run.step}: {scores}")
    if out is not None:
        _export(out, run, command.run)
        say(f"written: {out}")
    return DONE


def _export(out: Path, run: Any, folder: Path) -> None:
    """Write a trained network where nobody sees it, then move it: it is there whole, or not at all."""
    import jax

    from optaxaccel.training.histories import formats
    from optaxaccel.training.keeping import interrupt

    tree = jax.device_get({"params": run.params, "net_state": run.net_state})
    kind = formats.for_writing(out, formats.NPZ)
    out.parent.mkdir(parents=True, exist_ok=True)
    with interrupt.Signals().installed(), tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as place:
        kind.write(Path(place) / out.name, tree, folder)
        if out.exists():  # another process was faster
            raise FileExistsError(f"{out} is there already. Pass another name, or remove it.")
        (Path(place) / out.name).rename(out)
