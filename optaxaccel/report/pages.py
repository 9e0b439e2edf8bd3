"""Publish an experiment's records, and rebuild every table and figure of the pages from what is published.

A page (README.md) marks where generated text stands: `<!-- begin NAME -->` and `<!-- end NAME -->`, where NAME is
`FILE-SCALE` for an experiment of its folder, "across" for the comparison of all plans of a folder, "overview" for one
row an experiment, "verdicts" for how each paper's claims ended, and "first-steps" for what the first steps at `paper`
scale cost. What stands between the markers is written by `rebuild` and never by hand.
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from optaxaccel.report import across, grids, published
from optaxaccel.report.overview import first_steps, overview, verdicts
from optaxaccel.report.sections import NOT_RUN, draw, first_steps_path, result_path, section
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.records import Record
from optaxaccel.training.many import experiment, jobs
from optaxaccel.training.many.experiment import Definition, Grid, Plan, Study

_MARKED = re.compile(r"<!-- begin (?P<name>[\w-]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def publish(definition: Definition, scale: str, out: Path) -> Path:
    """Write what the folder `out` of an experiment's records holds to the results beside its definition.

    Records of runs that are not the plan's are left out.

    Raises:
      ValueError: a run is not finished.
    """
    path = result_path(definition, scale)
    plan = experiment.scale_of(definition, scale)
    command = f"optaxaccel run {shlex.quote(str(definition.path))} --resume"
    if isinstance(plan, Study):
        rows = [json.loads(line) for line in (out / "study.jsonl").read_text(encoding="utf-8").splitlines()]
        if rows[-1]["kind"] != "end":
            raise ValueError(f"{out} is not finished. Go on with {command}.")
        published.write_study(path, definition.name, scale, rows)
        return path
    runs = jobs.planned(plan, records.read_all(out))
    order = {contender.label: i for i, contender in enumerate(plan.contenders)}
    runs.sort(key=lambda record: order.get(record.start["label"], len(order)))
    unfinished = [str(record.path) for record in runs if record.status == "unfinished"]
    if unfinished:
        raise ValueError(f"{unfinished[0]} is not finished. Go on with {command}.")
    if isinstance(plan, Grid):
        full = [r for members in grids.settings(runs, plan.by).values() for r in members[0].group.members]
    else:
        full = [record for record in runs if record.start["phase"] == "final"]
    targets = [plan.target] if isinstance(plan, Plan) and plan.target else []
    published.write_runs(path, definition.name, scale, runs, full, targets)
    return path


def publish_first_steps(definition: Definition, scale: str, runs: Sequence[Record]) -> Path:
    """Write what the first steps of all contenders cost beside the definition's results.

    Raises:
      ValueError: a contender diverged or failed.
    """
    for record in runs:
        if record.status != "done":
            raise ValueError(
                f"{record.start['label']} ended as {record.status!r}, and only runs that start are published. Mend it, "
                "and go on with --resume."
            )
    path = first_steps_path(definition, scale)
    published.write_first_steps(path, definition.name, scale, runs)
    return path


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
                results = published.read(result_path(definition, scale))
                written += draw(definition, experiment.scale_of(definition, scale), scale, results)
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
    yield "verdicts", lambda: verdicts(everything)
    yield "first-steps", lambda: first_steps(everything)
    yield "across", lambda: _across(here)
    for definition in here:
        for scale in definition.runs:
            yield f"{definition.path.stem}-{scale}", lambda d=definition, s=scale: section(d, s)


def _across(definitions: Sequence[Definition], scale: str = "small") -> str:
    """Return ranks and what not tuning costs over the plans of a folder that are published at a scale."""
    problems = {
        d.path.stem: across.Problem(published.read(result_path(d, scale)).records, plan.by, plan.target)
        for d in definitions
        for plan in [d.runs.get(scale)]
        if isinstance(plan, Plan) and d.path.stem.startswith("all_") and result_path(d, scale).exists()
    }
    if len(problems) < 2:
        return f"**{NOT_RUN.capitalize()}**: fewer than two of the problems have been run."
    parts = [across.ranks(problems).markdown()]
    scored = {name: p for name, p in problems.items() if any(r.start["phase"] == "score" for r in p.records)}
    if len(scored) >= 3:
        parts.append(across.not_tuning(scored).markdown())
    return "\n\n".join(parts)
