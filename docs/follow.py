"""Write what follows from the methods' cards: the README's table, and a page for each method that has none yet.

`make pages` runs this, and a test fails while something is behind. Everything else that the site says of a method is
generated when it is built (`generate.py`); a new page holds every section that a page has, to be filled in by hand.
"""

import inspect
import re
import sys
from pathlib import Path

import tables

from optaxaccel import METHODS

ROOT = Path(__file__).parents[1]
SECTIONS = ("The idea", "When it helps", "When it does not", "What it costs", "Tuning", "Deviations from the paper")
UNWRITTEN = "Not written yet; the docstring below says what there is to say."


def behind() -> dict[Path, str]:
    """Return the files that do not say what the cards say, each with the text that it should have."""
    texts = {ROOT / "README.md": readme((ROOT / "README.md").read_text())}
    pages = {name: ROOT / "docs" / "methods" / f"{name}.md" for name in METHODS}
    texts |= {page: skeleton(name) for name, page in pages.items() if not page.exists()}
    return {path: text for path, text in texts.items() if not path.exists() or path.read_text() != text}


def readme(text: str) -> str:
    """Return the README with the table of methods as the cards have it."""
    return re.sub(r"^\| method \| losses .*?(?=\n\n)", lambda _: tables.methods(), text, flags=re.DOTALL | re.MULTILINE)


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


def main() -> None:
    """Write every file that is behind and name it."""
    for path, text in behind().items():
        path.write_text(text)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
