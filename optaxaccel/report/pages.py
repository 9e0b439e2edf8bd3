"""Publish an experiment's records, and rebuild every table and figure of the pages from what is published.

A page (README.md) marks where generated text stands: `<!-- begin NAME -->` and `<!-- end NAME -->`, where NAME is
`FILE-SCALE` for an experiment of its folder, "across" for the comparison of all plans of a folder, "overview" for one
row an experiment, and "first-steps" for what the first steps at `paper` scale cost. What stands between the markers is
written by `rebuild` and never by hand.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optaxaccel.report import across, figures, grids, groups, published, tables
from optaxaccel.report.published import Published
from optaxaccel.report.tables import Table
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.records import Record
from optaxaccel.training.many import experiment, jobs
from optaxaccel.training.many.experiment import AnyPlan, Definition, Grid, Plan, Reported, Study

NOT_RUN = "not run yet"
_NO_BRACKETS = str.maketrans("[]", "()")  # which would end the alternative text of an image
_MARKED = re.compile(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def publish(definition: Definition, scale: str, out: Path) -> Path:
    """Write what the folder `out` of an experiment's records holds to the results beside its definition.

    Records of runs that are not the plan's are left out.

    Raises:
      ValueError: a run is not finished.
    """
    path = result_path(definition, scale)
    plan = experiment.scale_of(definition, scale)
    if isinstance(plan, Study):
        rows = [json.loads(line) for line in (out / "study.jsonl").read_text(encoding="utf-8").splitlines()]
        if rows[-1]["kind"] != "end":
            raise ValueError(f"{out} is not finished. Go on with optaxaccel run {definition.path} --resume.")
        published.write_study(path, definition.name, scale, rows)
        return path
    found = jobs.planned(plan, records.read_all(out))
    order = {contender.label: i for i, contender in enumerate(plan.contenders)}
    found.sort(key=lambda record: order.get(record.start["label"], len(order)))
    unfinished = [str(record.path) for record in found if record.status == "unfinished"]
    if unfinished:
        raise ValueError(f"{unfinished[0]} is not finished. Go on with optaxaccel run {definition.path} --resume.")
    if isinstance(plan, Grid):
        full = [r for members in grids.settings(found, plan.by).values() for r in members[0].group.members]
    else:
        full = [record for record in found if record.start["phase"] == "final"]
    targets = [plan.target] if isinstance(plan, Plan) and plan.target else []
    published.write_runs(path, definition.name, scale, found, full, targets)
    return path


def publish_first_steps(definition: Definition, scale: str, found: Sequence[Record]) -> Path:
    """Write what the first steps of all contenders cost beside the definition's results.

    Raises:
      ValueError: a contender diverged or failed.
    """
    for record in found:
        if record.status != "done":
            raise ValueError(
                f"{record.start['label']} ended as {record.status!r}, and only runs that start are published. Mend it, "
                "and go on with --resume."
            )
    path = first_steps_path(definition, scale)
    published.write_first_steps(path, definition.name, scale, found)
    return path


def first_steps_path(definition: Definition, scale: str) -> Path:
    """Return where what an experiment's first steps at a scale cost is published."""
    return definition.results / f"{definition.path.stem}-{scale}-first-steps.jsonl"


def result_path(definition: Definition, scale: str) -> Path:
    """Return where an experiment's results at a scale are published."""
    return definition.results / f"{definition.path.stem}-{scale}.jsonl"


# --- One experiment ---------------------------------------------------------------------------------------------------


def tables_of(definition: Definition, plan: AnyPlan, found: Published) -> list[Table]:
    """Return an experiment's tables."""
    if isinstance(plan, Study):
        return [tables.study(found.values, plan.expected, "Measured against expected")]
    told = definition.reported or Reported("", {})
    heading = f"paper: {told.what}"
    if isinstance(plan, Grid):
        return [tables.beside(grids.grid(found.records, plan.by), heading, told.outcome)]
    finals = groups.groups(found.records)
    alone = all(record.start.get("members", 1) == 1 for group in finals for record in group.members)
    result = [tables.beside(tables.contenders(found.records, plan.by), heading, told.outcome)]
    if len(finals) > 1 and alone:
        what, texts = told.training
        result.append(tables.beside(tables.seconds_per_epoch(found.records), f"paper: {what}", texts))
    return result


def draw(definition: Definition, plan: AnyPlan, scale: str, found: Published, folder: Path | None = None) -> list[Path]:
    """Draw an experiment's figures into the folder of its results and return their paths."""
    stem = (folder or definition.results) / f"{definition.path.stem}-{scale}"
    title = f"{definition.name}, {scale}"
    if isinstance(plan, Study):
        return [figures.study(found.points, definition.panels, stem.with_suffix(".png"), title)]
    if isinstance(plan, Grid):
        return [figures.boxes(found.records, stem.with_suffix(".png"), plan.by, title)]
    told = definition.reported.accuracies if definition.reported else {}
    drawn = [figures.draw(found.records, stem.with_suffix(".png"), title, plan.by, told)]
    if any(record.last("extrapolation") for record in found.records):
        drawn.append(figures.extrapolated(found.records, stem.with_name(f"{stem.name}-extrapolated.png"), title))
    path = stem.with_name(f"{stem.name}-sensitivity.png")
    sensitivity = figures.sensitivity(found.records, path, plan.by, title)
    return drawn + ([sensitivity] if sensitivity else [])


def section(definition: Definition, scale: str) -> str:
    """Return an experiment's part of its paper's page, from its published results."""
    command = f"`optaxaccel run experiments/{definition.path.parent.name}/{definition.path.name} --scale {scale}`"
    path = result_path(definition, scale)
    claim, protocol, expected = (_field(definition, name) for name in ("Claim", "Protocol", "Expected"))
    head = [definition.headline, "", f"* Claim: {claim}", f"* Protocol: {protocol}", f"* Expected: {expected}", ""]
    if not path.exists():
        return "\n".join([*head, f"**{NOT_RUN.capitalize()}.** Command: {command}. Cost: {_field(definition, 'Cost')}"])
    plan, found = experiment.scale_of(definition, scale), published.read(path)
    word, reason = _verdict(definition, scale)
    lines = [*head, f"**{word.capitalize()}.** {reason}".strip(), "", f"Command: {command}. {_provenance(found)}", ""]
    for table in tables_of(definition, plan, found):
        lines += [table.markdown(), ""]
    images = sorted(p for p in definition.results.glob(f"{path.stem}*.png") if _belongs(p, path))
    lines += [f"![{_alternative(definition, plan, image.stem)}](results/{image.name})" for image in images]
    return "\n".join(lines)


def _alternative(definition: Definition, plan: AnyPlan, stem: str) -> str:
    """Return what a figure shows, for those who do not see it."""
    if isinstance(plan, Study):
        shown = f"Panels: {'; '.join(panel.title for panel in definition.panels.values())}"
    elif isinstance(plan, Grid):
        shown = f"Box plots of the {plan.by} of all settings and the best quarter, and curves of each method's best"
    elif stem.endswith("-extrapolated"):
        shown = "Test error of the network and of its extrapolation by epoch, one panel a contender"
    elif stem.endswith("-sensitivity"):
        shown = "Outcome of tuning against the main hyperparameter, one panel a method"
    else:
        shown = "Curves of the contenders' losses and of accuracies measured on the way, with bands of a standard error"
    return f"{shown} ({definition.name})".translate(_NO_BRACKETS)


def _field(definition: Definition, name: str) -> str:
    """Return a field of a definition's docstring as one line."""
    found = re.search(rf"^{name}:\s+(.*?)(?=^[A-Z]\w+: |\Z)", definition.claim, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else "-"


def _belongs(image: Path, path: Path) -> bool:
    return image.stem.removeprefix(path.stem) in ("", "-extrapolated", "-sensitivity")


def _verdict(definition: Definition, scale: str) -> tuple[str, str]:
    """Return what the definition concludes; without that, a study whose expectations hold speaks for itself."""
    if scale in definition.verdict:
        return definition.verdict[scale]
    plan = definition.runs[scale]
    if isinstance(plan, Study) and plan.expected:
        values = published.read(result_path(definition, scale)).values
        held = [name for name, wanted in plan.expected.items() if values.get(name) is not None]
        held = [name for name in held if plan.expected[name].holds(values[name])]
        if len(held) == len(plan.expected):
            return "reproduced", ""
        return "not reproduced", f"Off: {', '.join(n for n in plan.expected if n not in held)}."
    return "measured", ""


def _starts(found: Published) -> list[Mapping[str, Any]]:
    return [record.start for record in found.records] or [found.header["start"]]


def _commits(found: Published) -> str:
    """Return all commits whose code measured the results."""
    commits = ((s["commit"][:9] or "none") + (" (changed)" if s["dirty"] else "") for s in _starts(found))
    return ", ".join(dict.fromkeys(commits))


def _provenance(found: Published) -> str:
    starts = _starts(found)
    devices = dict.fromkeys(f"{s['device']}, {s['machine']}" for s in starts)
    jax = dict.fromkeys(s["versions"]["jax"] for s in starts)
    return f"Commit {_commits(found)}; {'; '.join(devices)}; jax {', '.join(jax)}; {starts[0]['time'][:10]}."


# --- The overview -----------------------------------------------------------------------------------------------------


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
            known = (start["device"].partition(" ")[0], _commits(found), _verdict(definition, scale)[0])
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


# --- Pages ------------------------------------------------------------------------------------------------------------


def rebuild(root: Path, *, only: Definition | None = None) -> list[Path]:
    """Rebuild figures and pages below a folder from the published results, and return the files written.

    Args:
      root: the folder.
      only: the experiment whose figures are drawn; by default those of all are. Pages are always all rebuilt.
    """
    definitions = experiment.find(root)
    written = []
    for definition in [only] if only else definitions:
        for scale in definition.runs:
            if result_path(definition, scale).exists():
                found = published.read(result_path(definition, scale))
                written += draw(definition, experiment.scale_of(definition, scale), scale, found)
    for page in sorted(root.rglob("README.md")):
        page.write_text(render(page, definitions), encoding="utf-8")
        written.append(page)
    return written


def render(page: Path, definitions: Sequence[Definition]) -> str:
    """Return a page with all that stands between markers written anew.

    Raises:
      ValueError: a marker names no experiment of the page's folder.
    """
    text = page.read_text(encoding="utf-8")
    here = [d for d in definitions if d.path.resolve().parent == page.resolve().parent]
    blocks = dict(_blocks(here, definitions))

    def replaced(match: re.Match) -> str:
        name = match["name"]
        if name not in blocks:
            raise ValueError(f"{page} marks {name!r}, but there is only: {', '.join(blocks)}.")
        return f"<!-- begin {name} -->\n{blocks[name]()}\n<!-- end {name} -->"

    return _MARKED.sub(replaced, text)


def _blocks(here: Sequence[Definition], everything: Sequence[Definition]) -> Iterator[tuple]:
    yield "overview", lambda: overview(everything)
    yield "first-steps", lambda: first_steps(everything)
    yield "across", lambda: _across(here)
    for definition in here:
        for scale in definition.runs:
            yield f"{definition.path.stem}-{scale}", lambda d=definition, s=scale: section(d, s)


def _across(definitions: Sequence[Definition], scale: str = "small") -> str:
    """Return ranks and tuning-free scores over the plans of a folder that are published at a scale."""
    found = {
        d.path.stem: across.Problem(published.read(result_path(d, scale)).records, plan.by, plan.target)
        for d in definitions
        for plan in [d.runs.get(scale)]
        if isinstance(plan, Plan) and d.path.stem.startswith("all_") and result_path(d, scale).exists()
    }
    if len(found) < 2:
        return f"**{NOT_RUN.capitalize()}**: fewer than two of the problems have been run."
    parts = [across.ranks(found).markdown()]
    scored = {name: p for name, p in found.items() if any(r.start["phase"] == "score" for r in p.records)}
    if len(scored) >= 3:
        parts.append(across.not_tuning(scored).markdown())
    return "\n\n".join(parts)
