"""Write what follows from the methods' cards and from experiments into files that git holds.

That is the README's table of methods, a page for each method that has none yet, and what stands between the markers of
the experiments' pages. `make pages` runs this, and tests fail while something is behind. Everything else that the site
says is generated when it is built (`generate.py`); a new page holds every section, to be filled in by hand.
"""

import inspect
import re
import sys
from pathlib import Path

import tables
from PIL import Image

from optaxaccel import METHODS

ROOT = Path(__file__).parents[1]
SECTIONS = ("The idea", "When it helps", "When it does not", "What it costs", "Tuning", "Deviations from the paper")
PICTURES = ("rosenbrock.png", "kinked_valley.png", "saddle.png")
UNWRITTEN = "Not written yet; the docstring below says what there is to say."


def behind() -> dict[Path, str]:
    """Return the files that do not say what the cards say, each with the text that it should have."""
    texts = {ROOT / "README.md": readme((ROOT / "README.md").read_text(encoding="utf-8"))}
    pages = {name: ROOT / "docs" / "methods" / f"{name}.md" for name in METHODS}
    texts |= {page: skeleton(name) for name, page in pages.items() if not page.exists()}
    return {path: text for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text}


def undrawn() -> dict[str, list[str]]:
    """Return the pictures of paths that do not show every method, each with the names of those that it lacks."""
    lacking = {}
    for name in PICTURES:
        with Image.open(ROOT / "docs" / "_static" / name) as image:
            lacking[name] = sorted(set(METHODS) - set(image.text["methods"].split()))
    return {name: methods for name, methods in lacking.items() if methods}


def due() -> str:
    """Return what has to be run so that everything follows from the cards again, and why; nothing if it does."""
    late = ", ".join(path.relative_to(ROOT).as_posix() for path in behind())
    lacking = undrawn()
    methods = sorted({method for names in lacking.values() for method in names})
    return " ".join(
        [f"Run `make pages`, which writes {late}; then fill in what a new page leaves open."] * bool(late)
        + [f"Run `make figures`, which draws {', '.join(methods)} into {', '.join(lacking)}."] * bool(lacking)
    )


def readme(text: str) -> str:
    """Return the README with the table of methods as the cards have it, and that of verdicts as experiments do."""
    text = re.sub(r"^\| method \| losses .*?(?=\n\n)", lambda _: tables.methods(), text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(
        r"^How the papers' claims ended\..*?reach it\.$", lambda _: _verdicts(), text, flags=re.DOTALL | re.MULTILINE
    )


def _verdicts() -> str:
    """Return the table of verdicts with links from the README."""
    from optaxaccel.report import overview
    from optaxaccel.training.many import experiment

    table = overview.verdicts(experiment.find(ROOT / "experiments"))
    return re.sub(r"\]\((\w+/README.md)\)", r"](experiments/\1)", table)


def skeleton(name: str) -> str:
    """Return the page of a method about which nothing has been written by hand."""
    make = METHODS[name].make
    include = "```{{include}} ../generated/parts/{}.md\n```"
    filled = {"Tuning": f"{include.format(f'sensitivity-{name}')}\n\n{include.format('sensitivity-protocol')}"}
    public = sys.modules[make.__module__].__all__
    described = [f".. autofunction:: optaxaccel.{public_name}" for public_name in public if public_name[0].islower()]
    for state in (public_name for public_name in public if public_name[0].isupper()):
        described += [f".. autoclass:: optaxaccel.{state}", "   :exclude-members: __new__"]
    title = (inspect.getdoc(make) or "").partition("\n")[0].rstrip(".")
    parts = [f"# {title}: `{name}`", include.format(f"card-{name}")]
    for section in SECTIONS:
        parts += [f"## {section}", filled.get(section, UNWRITTEN)]
    parts += ["## Reference", "```{eval-rst}\n" + "\n".join(described) + "\n```"]
    return "\n\n".join(parts) + "\n"


def experiments() -> dict[Path, str]:
    """Return the experiments' pages that do not say what definitions and published results say, as `behind` does."""
    from optaxaccel.report import pages
    from optaxaccel.training.many import experiment

    folder = ROOT / "experiments"
    definitions = experiment.find(folder)
    texts = {page: pages.render(page, definitions) for page in sorted(folder.rglob("README.md"))}
    return {page: text for page, text in texts.items() if page.read_text(encoding="utf-8") != text}


def main() -> None:
    """Write every file that is behind and name it."""
    for path, text in (behind() | experiments()).items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
