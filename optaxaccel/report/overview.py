"""Tables over all experiments: what each says in a row, and what its first steps at paper scale cost."""

from collections.abc import Sequence

from optaxaccel.report import grids, published, tables
from optaxaccel.report.published import Published
from optaxaccel.report.sections import NOT_RUN, first_steps_path, result_path, verdict
from optaxaccel.report.tables import Table
from optaxaccel.training.many import experiment
from optaxaccel.training.many.experiment import AnyPlan, Definition, Grid, Study

PAPERS = {  # folders whose definitions test a paper's claims; others compare or measure
    "pal": "PAL",
    "accelerated_cnn": "AGD, GOSE, ANCM",
    "interpolatron": "Interpolatron, Anderson",
    "indian": "INDIAN",
    "rna": "RNA",
}


def verdicts(definitions: Sequence[Definition]) -> str:
    """Return how the claims of each paper ended: one row a paper, one column a verdict, counts of experiments."""
    rows = []
    for folder, paper in PAPERS.items():
        ended = [
            verdict(definition, "small")[0] if result_path(definition, "small").exists() else NOT_RUN
            for definition in definitions
            if definition.path.parent.name == folder
        ]
        counts = (str(ended.count(word) or "-") for word in experiment.VERDICTS)
        rows.append([f"[{paper}]({folder}/README.md)", *counts])
    note = (
        "Experiments by how they ended, at the small scale: minutes on two CPU cores, with networks and data cut "
        "down. No claim about a network was run at its paper's size: this hardware does not reach it."
    )
    return Table("How the papers' claims ended", ("paper", *experiment.VERDICTS), rows, ("paper",), note).markdown()


def overview(definitions: Sequence[Definition]) -> str:
    """Return one row an experiment and scale: its question and link, the verdict, one number."""
    columns = ("experiment", "scale", "verdict", "one number")
    rows = []
    for definition in definitions:
        folder = definition.path.parent.name
        link = f"[{folder}/{definition.path.stem}]({folder}/README.md)"
        scales = [scale for scale in ("small", "paper") if result_path(definition, scale).exists()]
        for scale in scales:
            results = published.read(result_path(definition, scale))
            number = _number(definition, experiment.scale_of(definition, scale), results)
            rows.append([link, scale, verdict(definition, scale)[0], number])
        if not scales:
            rows.append([link, "small", NOT_RUN, "-"])
    return Table("One row an experiment", columns, rows, columns).markdown()


def _number(definition: Definition, plan: AnyPlan, results: Published) -> str:
    """Return the number that says most: of contenders the first one's, of a study how much was as expected."""
    if isinstance(plan, Study):
        fulfilled = sum(
            plan.expected[name].holds(value)
            for name, value in results.values.items()
            if name in plan.expected and value is not None
        )
        return (
            f"{fulfilled} of {len(plan.expected)} as expected" if plan.expected else f"{len(results.values)} measured"
        )
    by = tables.ranked_by(results.records, plan.by)
    if isinstance(plan, Grid):
        best = min(grids.settings(results.records, by).items(), key=lambda item: item[1][0].value)
        return f"{best[0]}: {'error' if by == 'accuracy' else by} {best[1][0].spread.show(4)}"
    first = tables.lines(results.records, by)[0]
    shown = {"accuracy": first.accuracy.show(2, 100) + " %", "loss": first.loss.show(4)}
    number = f"{first.name}: {by} {shown.get(by, first.train_loss.show(4))}"
    if first.extrapolated.n:
        errors = (first.best, first.extrapolated)
        plain, beside = (error._replace(mean=1 - error.mean).show(2, 100) for error in errors)
        number = f"{first.name}: lowest error {plain} %, extrapolated {beside} %"
    return number


def first_steps(definitions: Sequence[Definition], scale: str = "paper") -> str:
    """Return one row for each experiment whose contenders were all started at a scale: what a step takes here."""
    columns = ("experiment", "network", "images", "batch", "contenders", "compiling (s)", "a step (s)", "memory (GiB)")
    rows = []
    for definition in definitions:
        path = first_steps_path(definition, scale)
        if path.exists():
            start, steps = published.read_first_steps(path)
            name, spec = f"{definition.path.parent.name}/{definition.path.stem}", start["spec"]
            compiling, step, memory = (
                _range([line[what] and line[what] / unit for line in steps], form)
                for what, unit, form in (
                    ("compile_seconds", 1, ".0f"),
                    ("step_seconds", 1, ".2g"),
                    ("peak_bytes", 2**30, ".1f"),
                )
            )
            known = (spec["model"], spec["data"], str(spec["batch_size"]), str(len(steps)))
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
