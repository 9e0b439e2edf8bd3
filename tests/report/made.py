"""Records made by hand."""

from optaxaccel.training.keeping import records
from optaxaccel.training.run.spec import Run

VERSIONS = {"jax": "0.10.2"}


def record(
    path, label, losses, *, status="done", phase="final", accuracy=0.5, seed=1, extrapolated=None, trained=None, **spec
):
    """Write a record with a row of each kind a step; the loss on training images is `trained`, False for none."""
    split = spec.pop("split", "test")
    args, compiled = {"learning_rate": spec.pop("rate", 0.1)}, spec.pop("compiled", 1.0)
    members = spec.pop("members", 1)
    run = Run(method="optax.sgd", method_args=args, seed=seed, **spec)
    with records.Writer(path) as writer:
        start = {
            "commit": "0123456789abcdef",
            "dirty": False,
            "versions": VERSIONS,
            "device": "cpu cpu",
            "machine": "m",
        }
        start |= {"time": "2026-01-01T00:00:00", "digest": run.digest(), "steps_per_epoch": 2, "steps": len(losses)}
        start |= {"compile_seconds": compiled, **({"members": members} if members > 1 else {})}
        writer.write("start", spec=run.as_dict(), label=label, phase=phase, data_note="", **start)
        for step, loss in enumerate(losses, 1):
            row = {"step": step, "epoch": step / 2, "value_calls": 0.5 * step, "grad_calls": step, "hvp_calls": 0}
            row |= {"seconds": 0.1 * step, "loss": loss, "accuracy": accuracy}
            writer.write("train", **row)
            writer.write("eval", split=split, **row)
            if trained is not False:
                writer.write("train_eval", split="train", **{**row, "loss": loss if trained is None else trained})
            if extrapolated is not None:
                writer.write("extrapolation", split="test", **{**row, "accuracy": extrapolated})
        writer.write("end", status=status, step=len(losses))
