"""One experiment's section of a page: its tables and figures, its verdict, and where its numbers come from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optaxaccel.report import durations, figures, grids, grouping, published, studies, tables
from optaxaccel.report.published import Published
from optaxaccel.report.tables import Table
from optaxaccel.training.many import experiment
from optaxaccel.training.many.experiment import AnyPlan, Definition, Grid, Reported, Study

NOT_RUN = "not run yet"
_NO_BRACKETS = str.maketrans("[]", "()")  # which would end the alternative text of an image


def first_steps_path(definition: Definition, scale: str) -> Path:
    """Return where what an experiment's first steps at a scale cost is published."""
    return definition.results / f"{definition.path.stem}-{scale}-first-steps.jsonl"


def result_path(definition: Definition, scale: str) -> Path:
    """Return where an experiment's results at a scale are published."""
    return definition.results / f"{definition.path.stem}-{scale}.jsonl"


def tables_of(definition: Definition, plan: AnyPlan, results: Published) -> list[Table]:
    """Return an experiment's tables."""
    if isinstance(plan, Study):
        return [studies.table(results.values, plan.expected, "Measured against expected")]
    reported = definition.reported or Reported("", {})
    heading = f"paper: {reported.what}"
    if isinstance(plan, Grid):
        return [tables.beside(grids.grid(results.records, plan.by), heading, reported.outcome)]
    finals = grouping.groups(results.records)
    alone = all(record.start.get("members", 1) == 1 for group in finals for record in group.members)
    result = [tables.beside(tables.contenders(results.records, plan.by), heading, reported.outcome)]
    if len(finals) > 1 and alone:
        what, texts = reported.training
        result.append(tables.beside(durations.per_epoch(results.records), f"paper: {what}", texts))
    return result


def draw(
    definition: Definition, plan: AnyPlan, scale: str, results: Published, folder: Path | None = None
) -> list[Path]:
    """Draw an experiment's figures into the folder of its results and return their paths."""
    stem = (folder or definition.results) / f"{definition.path.stem}-{scale}"
    title = f"{definition.name}, {scale}"
    if isinstance(plan, Study):
        return [studies.figure(results.points, definition.panels, stem.with_suffix(".png"), title)]
    if isinstance(plan, Grid):
        return [figures.boxes(results.records, stem.with_suffix(".png"), plan.by, title)]
    reported = definition.reported.accuracies if definition.reported else {}
    drawn = [figures.draw(results.records, stem.with_suffix(".png"), title, plan.by, reported)]
    if any(record.last("extrapolation") for record in results.records):
        drawn.append(figures.extrapolated(results.records, stem.with_name(f"{stem.name}-extrapolated.png"), title))
    path = stem.with_name(f"{stem.name}-sensitivity.png")
    sensitivity = figures.sensitivity(results.records, path, plan.by, title)
    return drawn + ([sensitivity] if sensitivity else [])


def section(definition: Definition, scale: str) -> str:
    """Return an experiment's part of its paper's page, from its published results."""
    command = f"`optaxaccel run experiments/{definition.path.parent.name}/{definition.path.name} --scale {scale}`"
    path = result_path(definition, scale)
    claim, protocol, expected = (_field(definition, name) for name in ("Claim", "Protocol", "Expected"))
    head = [definition.headline, "", f"* Claim: {claim}", f"* Protocol: {protocol}", f"* Expected: {expected}", ""]
    if not path.exists():
        return "\n".join([*head, f"**{NOT_RUN.capitalize()}.** Command: {command}. Cost: {_field(definition, 'Cost')}"])
    plan, results = experiment.scale_of(definition, scale), published.read(path)
    word, reason = verdict(definition, scale)
    lines = [*head, f"**{word.capitalize()}.** {reason}".strip(), "", f"Command: {command}. {_provenance(results)}", ""]
    for table in tables_of(definition, plan, results):
        lines += [table.markdown(), ""]
    images = sorted(p for p in definition.results.glob(f"{path.stem}*.png") if _belongs(p, path))
    lines += [f"![{_alternative(definition, plan, image.stem)}](results/{image.name})" for image in images]
    return "\n".join(lines)


def _alternative(definition: Definition, plan: AnyPlan, stem: str) -> str:
    """Return what a figure shows, for those who do not see it."""
    if isinstance(plan, Study):
        shown = f"Panels: {'; '.join(panel.title for panel in definition.panels.values())}"
    elif isinstance(plan, Grid):
        shown = "Box plots of what all settings and the best quarter came to, and curves of each method's best"
    elif stem.endswith("-extrapolated"):
        shown = "Test error of the network and of its extrapolation by epoch, one panel a contender"
    elif stem.endswith("-sensitivity"):
        shown = "Outcome of tuning against the main hyperparameter, one panel a method"
    else:
        shown = "Curves of the contenders' losses and of accuracies measured on the way, with bands of a standard error"
    return f"{shown} ({definition.name})".translate(_NO_BRACKETS)


def _field(definition: Definition, name: str) -> str:
    """Return a field of a definition's docstring as one line."""
    match = re.search(rf"^{name}:\s+(.*?)(?=^[A-Z]\w+: |\Z)", definition.claim, re.DOTALL | re.MULTILINE)
    return " ".join(match[1].split()) if match else "-"


def _belongs(image: Path, path: Path) -> bool:
    return image.stem.removeprefix(path.stem) in ("", "-extrapolated", "-sensitivity")


def verdict(definition: Definition, scale: str) -> tuple[str, str]:
    """Return what the definition concludes; without that, a study whose expectations hold speaks for itself."""
    if scale in definition.verdict:
        return definition.verdict[scale]
    plan = definition.runs[scale]
    if isinstance(plan, Study) and plan.expected:
        values = published.read(result_path(definition, scale)).values
        fulfilled = [name for name, wanted in plan.expected.items() if values.get(name) is not None]
        fulfilled = [name for name in fulfilled if plan.expected[name].holds(values[name])]
        if len(fulfilled) == len(plan.expected):
            return "reproduced", ""
        return "not reproduced", f"Off: {', '.join(n for n in plan.expected if n not in fulfilled)}."
    return "measured", ""


def _starts(results: Published) -> list[Mapping[str, Any]]:
    return [record.start for record in results.records] or [results.header["start"]]


def commits(results: Published) -> str:
    """Return all commits whose code measured the results."""
    commits = ((s["commit"][:9] or "none") + (" (changed)" if s["dirty"] else "") for s in _starts(results))
    return ", ".join(dict.fromkeys(commits))


def _provenance(results: Published) -> str:
    starts = _starts(results)
    devices = dict.fromkeys(f"{s['device']}, {s['machine']}" for s in starts)
    jax = dict.fromkeys(s["versions"]["jax"] for s in starts)
    return f"Commit {commits(results)}; {'; '.join(devices)}; jax {', '.join(jax)}; {starts[0]['time'][:10]}."
