"""`optaxaccel extrapolate`: the checkpoints of any training run."""

from optaxaccel.cli.commands import Extrapolate
from optaxaccel.cli.terminal import DONE, say, table


def extrapolate(command: Extrapolate) -> int:
    """Extrapolate a folder of checkpoints, and return the exit status."""
    from optaxaccel.training.histories import offline

    done = offline.extrapolate_folder(
        command.folder,
        last=command.last,
        regularization=command.regularization,
        relative=not command.absolute,
        iterate=command.iterate,
        params=command.params,
        out=command.out,
    )
    names = done.names[1:] if command.iterate == "tail" else done.names[:-1]
    rows = [[name, f"{weight: .4g}"] for name, weight in zip(names, done.weights, strict=True)]
    table(f"Weights of the checkpoints in {command.folder}", ["checkpoint", "weight"], [*rows, ["sum", " 1"]])
    say(f"parameters: {done.where or 'all of a checkpoint'} ({done.arrays} arrays, {done.numbers:,} numbers)")
    if done.statistics:
        say(f"{done.statistics} was combined with the same weights; better, refresh it on training batches")
    if done.left_out:
        say(f"left out, for want of a number in the name: {', '.join(done.left_out)}")
    say(f"written: {done.path}")
    return DONE
