"""Write what registries, records and measurements know as Markdown, for the pages to include.

Nothing here invents a number: what has not been measured is said to be not measured.
"""

import inspect
import json
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import tables

import optaxaccel
from optaxaccel import METHODS

ROOT = Path(__file__).parents[1]
STATIC = Path(__file__).parent / "_static"
NOT_MEASURED = "Not measured yet"


def write_all(folder: Path) -> None:
    """Write every generated part and page below a folder."""
    parts = folder / "parts"
    write(
        parts / "methods.md", re.sub(r"^\| (`(\w+)`)", r"| [\1](/methods/\2.md)", tables.methods(), flags=re.MULTILINE)
    )
    write(parts / "readme.md", readme())
    write(parts / "names.md", public_names())
    write(parts / "models.md", tables.models())
    write(parts / "datasets.md", tables.datasets())
    for name in METHODS:
        write(parts / f"card-{name}.md", card(name))
        write(parts / f"sensitivity-{name}.md", sensitivity(name))
    write(parts / "sensitivity-protocol.md", sensitivity_protocol())
    write(parts / "arena.md", arena())
    write(parts / "benchmarks.md", benchmarks())
    write(parts / "experiments.md", overview())
    pages = folder / "experiments"
    shutil.rmtree(pages, ignore_errors=True)
    names = [write_experiment(page, pages) for page in sorted((ROOT / "experiments").glob("*/README.md"))]
    write(folder / "experiments.md", experiments_index(names))


def write(path: Path, text: str) -> None:
    """Write a file where it changes, so that a second build finds nothing to do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = text.rstrip().replace(" ± ", "\u00a0±\u00a0") + "\n"  # never broken over two lines
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def readme() -> str:
    """Return the README without its title, with its links to files of the repository turned to this site's pages."""
    text = (ROOT / "README.md").read_text().split("\n", 1)[1]
    text = re.sub(r"\]\(docs/([\w/]+\.md(#[\w-]+)?)\)", r"](/\1)", text)
    text = re.sub(r"\]\(experiments/(\w+)/README\.md\)", r"](/generated/experiments/\1.md)", text)
    text = text.replace("](experiments/README.md)", "](/generated/experiments.md)")
    return re.sub(r"\]\((CONTRIBUTING|SECURITY|CHANGELOG)\.md\)", lambda m: f"](/{m[1].lower()}.md)", text)


def public_names() -> str:
    """Return the functions by subject, a line each; a signature is complete where the name leads."""
    docs, methods = ROOT / "docs", sorted((ROOT / "docs" / "methods").glob("*.md"))
    subjects = {
        "A whole loss": [docs / "minimize.md"],
        "Fixed points": [docs / "fixed_points.md"],
        "Histories of parameters": [docs / "methods" / "extrapolation.md"],
        "Evaluating, masks, checks, merging": [docs / "api.md"],
        "Methods and their parts": [page for page in methods if page.stem in METHODS],
    }
    parts = []
    for subject, pages in subjects.items():
        rows = [row for page in pages for row in _described(page)]
        parts.append(f"## {subject}\n\n{tables.markdown(['name', 'what it does'], 'll', rows)}")
    return "\n\n".join(parts)


def _described(page: Path) -> list[list[str]]:
    """Return the functions that a page describes, each with the first line of its docstring."""
    names = re.findall(r"^\.\. autofunction:: optaxaccel\.(\w+)$", page.read_text(), re.MULTILINE)
    lines = [(inspect.getdoc(getattr(optaxaccel, name)) or "").partition("\n")[0] for name in names]
    lines = [re.sub(r":math:`([^`]+)`", r"$\1$", line) for line in lines]
    return [[f"{{py:func}}`~optaxaccel.{name}`", line] for name, line in zip(names, lines, strict=True)]


# --- Methods ----------------------------------------------------------------------------------------------------------


def card(name: str) -> str:
    """Return a method's card as a table."""
    method = METHODS[name]
    cost = method.cost
    calls = [
        f"{number:g} {word}{'s' if number != 1 else ''}"
        for number, word in zip(cost, ("loss evaluation", "gradient", "Hessian-vector product"), strict=True)
        if number
    ]
    example = ", ".join(f"{key}={value!r}" for key, value in method.example.items())
    command = f"optaxaccel train --method {name} --method-args {example.replace(' ', '').replace(chr(39), '')}"
    if len(command) > 100:  # nothing is cut off at 1280 pixels
        command = command.replace(" --method-args", " \\\n    --method-args")
    rows = [
        ["paper", method.paper],
        ["a step costs, beyond the gradient handed in", ", ".join(calls) or "nothing"],
        ["buffers as large as the parameters in its state", method.copies()],
        ["tells while it runs", "; ".join(f"`{n}`: {about}" for n, about in method.diagnostics.items()) or "nothing"],
        ["hyperparameters that are never traced", ", ".join(f"`{a}`" for a in method.static_args) or "none"],
    ]
    call = f"optaxaccel.{method.make.__name__}({example})"
    table = tables.markdown(["", ""], "ll", rows)
    return f"A first try, in code and from a shell:\n\n```python\n{call}\n```\n\n```console\n{command}\n```\n\n{table}"


def _measured() -> dict[str, Any]:
    return json.loads((STATIC / "sensitivity.json").read_text())


def sensitivity(name: str) -> str:
    """Return how a method minds each of its hyperparameters: one table each, from the stored measurement."""
    measured = _measured()
    rows = [row for row in measured["rows"] if row["method"] == name]
    if not rows:
        return f"{NOT_MEASURED}."
    base = ", ".join(f"`{key}={_plain(value)}`" for key, value in measured["base"][name].items())
    parts = [f"What is not varied: {base}."]
    for varied in dict.fromkeys(row["varied"] for row in rows):
        chosen = [row for row in rows if row["varied"] == varied]
        columns = [f"`{varied}`", *(f"{_plain(row['value'])}" for row in chosen)]
        line = ["accuracy %", *(_accuracy(row["accuracy"]) for row in chosen)]
        parts.append(tables.markdown(columns, "l" + "r" * len(chosen), [line]))
    if own := measured.get("later", {}).get(name):
        parts.append(f"Measured later than other methods: commit {own['commit'][:9]}, {own['time'][:10]}.")
    return "\n\n".join(parts)


def _plain(value: Any) -> str:
    return f"({', '.join(f'{v:g}' for v in value)})" if isinstance(value, list) else str(value)


def _accuracy(values: list[float | None]) -> str:
    """Return mean ± standard error in percent, and how many diverged."""
    good = [100.0 * value for value in values if value is not None]
    lost = len(values) - len(good)
    note = f" ({lost} diverged)" if lost else ""
    if not good:
        return "diverged"
    mean = statistics.fmean(good)
    if len(good) == 1:
        return f"{mean:.1f}{note}"
    error = statistics.stdev(good) / len(good) ** 0.5
    return f"{mean:.1f} ± {error:.1f}{note}"


def sensitivity_protocol() -> str:
    """Return how the sensitivities were measured, with their provenance."""
    start = _measured()["start"]
    return (
        f"Measured on the embedded `{start['data']}` with the `{start['model']}` (64 pixels, 128 hidden units), "
        f"minibatches of {start['batch_size']}, {start['epochs']} epochs of 17 updates, constant hyperparameters; "
        f"accuracy on 287 held-out training images at the end, mean ± standard error over {len(start['seeds'])} seeds. "
        "One more image right is 0.3 %, so differences under half a percent say nothing. "
        f"`make sensitivity` repeats it; commit {start['commit'][:9]}, {start['machine']}, jax "
        f"{start['versions']['jax']}, {start['time'][:10]}."
    )


# --- Experiments and benchmarks ---------------------------------------------------------------------------------------


def arena() -> str:
    """Return the arena's page without its title, or that there is none yet."""
    page = ROOT / "experiments" / "arena" / "README.md"
    results = list((ROOT / "experiments" / "arena" / "results").glob("*.jsonl"))
    if not page.exists() or not results:
        return (
            f"**{NOT_MEASURED}.** The comparison of all methods under equal tuning budgets (`experiments/arena`) has "
            "no published results in this version. What stands below is from the sensitivity measurements alone, "
            "which are small and no ranking."
        )
    intro, *sections = re.split(
        r"^## ", _with_images(page, Path(__file__).parent / "generated" / "parts"), flags=re.MULTILINE
    )
    done = [section for section in sections if "not run yet" not in section.lower()]
    missing = [section.splitlines()[0] for section in sections if section not in done]
    parts = [intro.split("\n", 1)[1].split("What stands between the markers")[0].strip()]
    if missing:
        parts.append(f"**{NOT_MEASURED}:** {', '.join(missing)}.")
    return _without_links("\n\n".join([*parts, *(f"## {section.strip()}" for section in done)]))


def overview() -> str:
    """Return experiments/README.md without its title, with links to this site's pages."""
    text = (ROOT / "experiments" / "README.md").read_text()
    text = re.sub(r"^# .*\n", "", text, count=1, flags=re.MULTILINE)
    return _without_links(re.sub(r"\]\((\w+)/README\.md(#[^)]*)?\)", r"](generated/experiments/\1.md\2)", text))


def write_experiment(page: Path, folder: Path) -> str:
    """Copy one paper's page and its figures into the site; return its name."""
    name = page.parent.name
    write(folder / f"{name}.md", _without_links(_with_images(page, folder)))
    return name


def _with_images(page: Path, folder: Path) -> str:
    """Return a page's text; the images that it shows are copied to a folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def copied(match: re.Match[str]) -> str:
        source = page.parent / match["path"]
        if not source.exists():
            return f"(figure {match['path']} is missing)"
        target = folder / f"{page.parent.name}-{source.name}"
        shutil.copyfile(source, target)
        return f"![{match['alt'] or source.stem}]({target.name})"

    return re.sub(r"!\[(?P<alt>[^\]]*)\]\((?P<path>[^)]+)\)", copied, page.read_text())


def _without_links(text: str) -> str:
    """Turn links to files that are not part of the site into their text."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|generated/)[^)]*\)", r"\1", text)


def experiments_index(names: list[str]) -> str:
    """Return the page that lists the papers' pages."""
    lines = ["# Results, paper by paper", ""]
    if not names:
        return "\n".join([*lines, f"{NOT_MEASURED}: no experiment has published results in this version."])
    return "\n".join([*lines, "```{toctree}", *(f"experiments/{name}" for name in names), "```"])


def benchmarks() -> str:
    """Return the published tables of the benchmarks, or that there are none yet."""
    pages = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
    if not pages:
        return f"**{NOT_MEASURED}.** No table of the benchmarks is published in this version; `make bench` measures."
    parts = []
    for path in pages:
        text = re.sub(r"^(#+) ", r"#\1 ", _without_links(path.read_text()), flags=re.MULTILINE)
        parts.append(text if text.startswith("#") else f"## {path.stem}\n\n{text}")
    return "\n\n".join(parts)
