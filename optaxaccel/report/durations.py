"""Tables of seconds: what compiling, a step and an epoch took."""

from collections.abc import Sequence

from optaxaccel.report.grouping import groups
from optaxaccel.report.tables import WORDS, Table, estimate
from optaxaccel.training.keeping.records import Record


def costs(records: Sequence[Record], title: str = "") -> Table:
    """Return what each run cost: seconds of compilation and of a step (the first left out), and the highest memory."""
    rows = []
    for record in records:
        end, more = record.end, record.end.get("step", 0) - 1
        per_step = f"{end['seconds'] / more:.3f}" if more > 0 else "-"
        memory = f"{end['peak_bytes'] / 2**30:.2f}" if end.get("peak_bytes") else "-"
        compiling = record.start.get("compile_seconds")  # missing where a run failed before it
        compiled = "-" if compiling is None else f"{compiling:.1f}"
        rows.append((record.start["label"], compiled, per_step, memory, str(record.status)))
    note = "Runs that share a compiled program share its seconds. Memory: highest of the process so far, in GiB."
    return Table(
        title, ("method", "compiling (s)", "a step (s)", "memory (GiB)", "ended"), rows, ("method", "ended"), note
    )


def per_epoch(records: Sequence[Record]) -> Table:
    """Return seconds an epoch and their ratio to the first contender's, paired by seed; all ran in one process."""
    all_groups = groups(records)
    speed = [
        {r.start["spec"]["seed"]: r.last("eval")["seconds"] / r.last("eval")["epoch"] for r in group.done}
        for group in all_groups
    ]
    rows = []
    for group, seconds in zip(all_groups, speed, strict=True):
        ratios = [seconds[seed] / speed[0][seed] for seed in seconds if seed in speed[0]]
        epochs = estimate(r.last("eval")["epoch"] for r in group.done)
        texts = (epochs.show(2), estimate(seconds.values()).show(3), estimate(ratios).show(2), group.count())
        rows.append([group.name, *texts])
    columns = ("method", "epochs", "seconds an epoch", f"over {all_groups[0].name}", "n")
    return Table("Training time, without compilation and evaluation", columns, rows, WORDS)
