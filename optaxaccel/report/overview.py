"""Tables over all experiments: what each says in a row, and what its first steps at paper scale cost."""

from collections.abc import Sequence
from typing import NamedTuple

from optaxaccel.report import grids, published, tables
from optaxaccel.report.published import Published
from optaxaccel.report.sections import NOT_RUN, commits, first_steps_path, result_path, verdict
from optaxaccel.report.tables import Table
from optaxaccel.training.many import experiment
from optaxaccel.training.many.experiment import AnyPlan, Definition, Grid, Study


class _Row(NamedTuple):
    measured: str
    n: str
    calls: str


def overview(definitions: Sequence[Definition]) -> str:
    """Return one row an experiment and scale: claim, measured, n, oracle calls, device, commit, verdict."""
    columns = ("experiment", "question", "scale", "measured", "n", "oracle calls a run", "device", "commit", "verdict")
    rows = []
    for definition in definitions:
        link = f"[{definition.path.parent.name}/{definition.path.stem}]({definition.path.parent.name}/README.md)"
        scales = [scale for scale in ("small", "paper") if result_path(definition, scale).exists()]
        for scale in scales:
            found = published.read(result_path(definition, scale))
            start = found.header["start"]
            row = _summary(definition, experiment.scale_of(definition, scale), found)
            known = (start["device"].partition(" ")[0], commits(found), verdict(definition, scale)[0])
            rows.append([link, definition.headline, scale, *row, *known])
        if not scales:
            rows.append([link, definition.headline, "small", "-", "-", "-", "-", "-", NOT_RUN])
    return Table("One row an experiment", columns, rows, columns).markdown()


def _summary(definition: Definition, plan: AnyPlan, found: Published) -> _Row:
    if isinstance(plan, Study):
        values = {name: found.values[name] for name in plan.expected if name in found.values} or found.values
        held = sum(plan.expected[n].holds(v) for n, v in values.items() if n in plan.expected and v is not None)
        shown = ", ".join(f"{n}: {'-' if v is None else f'{v:.4g}'}" for n, v in list(values.items())[:4])
        return _Row(f"{held} of {len(plan.expected)} as expected; {shown}", "-", "-")
    most = max((tables.calls(r.rows[-1]) for r in found.records if r.rows), default=0.0)
    if isinstance(plan, Grid):
        best = sorted(grids.settings(found.records, plan.by).items(), key=lambda item: item[1][0].value)
        shown = ", ".join(f"{label} {members[0].spread.show(4)}" for label, members in best[:4])
        return _Row(
            f"best {'error' if plan.by == 'accuracy' else plan.by}: {shown}",
            best[0][1][0].group.count(),
            f"{most:,.0f}",
        )
    lines = [line for line in tables.lines(found.records, plan.by) if line.accuracy.n]
    shown = {"accuracy": lambda line: f"{line.accuracy.show(2, 100)} %", "loss": lambda line: line.loss.show(4)}.get(
        plan.by, lambda line: line.train_loss.show(4)
    )
    text = ", ".join(f"{line.name} {shown(line)}" for line in lines[:4])
    return _Row(f"{plan.by}: {text}" + (" ..." if len(lines) > 4 else ""), str(lines[0].accuracy.n), f"{most:,.0f}")


def first_steps(definitions: Sequence[Definition], scale: str = "paper") -> str:
    """Return one row for each experiment whose contenders were all started at a scale: what a step takes here."""
    columns = ("experiment", "network", "images", "batch", "contenders", "compiling (s)", "a step (s)", "memory (GiB)")
    rows = []
    for definition in definitions:
        path = first_steps_path(definition, scale)
        if path.exists():
            start, found = published.read_first_steps(path)
            name, spec = f"{definition.path.parent.name}/{definition.path.stem}", start["spec"]
            compiling, step, memory = (
                _range([line[what] and line[what] / unit for line in found], form)
                for what, unit, form in (
                    ("compile_seconds", 1, ".0f"),
                    ("step_seconds", 1, ".2g"),
                    ("peak_bytes", 2**30, ".1f"),
                )
            )
            known = (spec["model"], spec["data"], str(spec["batch_size"]), str(len(found)))
            machine = f"{start['device'].partition(' ')[0]}, {start['machine']}", start["commit"][:9]
            rows.append([name, *known, compiling, step, memory, *machine])
    columns = (*columns, "device", "commit")
    words = ("experiment", "network", "images", "device", "commit")
    return Table("The first steps at full size, lowest to highest over the contenders", columns, rows, words).markdown()


def _range(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:  # memory, where the device does not tell
        return "-"
    low, high = (format(value, form) for value in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"
