"""Write the guides as notebooks: prose, code, and below each cell what the tests saw it print.

`python docs/notebooks.py FOLDER`, or `make notebooks`. Nothing is run, since a page and its output are held together by
the tests; git keeps no notebook. The format is nbformat 4.5, which is JSON.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

GUIDES = Path(__file__).parent / "guides"
BLOCK = re.compile(r"^```(python|console|text)\n(.*?)^```$\n*", re.DOTALL | re.MULTILINE)


def notebook(page: str, address: str) -> dict[str, Any]:
    """Return a page as a notebook; relative links and pictures become addresses below the given one."""
    cells: list[dict[str, Any]] = []
    before = 0
    for block in BLOCK.finditer(page):
        _add_prose(cells, page[before : block.start()], address)
        language, text = block.groups()
        if language == "text" and cells and cells[-1]["cell_type"] == "code":
            cells[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": _lines(text)}]
        elif language != "text":
            commands = "".join(f"!{line}\n" for line in text.splitlines())
            code = (commands if language == "console" else text).rstrip("\n")
            cells.append(_cell("code", code) | {"execution_count": None, "outputs": []})
        before = block.end()
    _add_prose(cells, page[before:], address)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _add_prose(cells: list[dict[str, Any]], text: str, address: str) -> None:
    """Add a cell of Markdown, without what only Sphinx reads, unless nothing is left of it."""
    figure = re.compile(r"```\{figure\} (\S+)\n:alt: ([^\n]*)\n\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    text = figure.sub(r"![\2](\1)\n\n\3", text)
    text = re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", lambda link: f"]({_absolute(link[1], address)})", text).strip()
    if text:
        cells.append(_cell("markdown", text))


def _absolute(target: str, address: str) -> str:
    """Return the address of a file that a guide names relative to its own folder."""
    inside = (GUIDES / target).resolve().relative_to(GUIDES.parents[1].resolve())
    return f"{address}/{inside.as_posix()}"


def _cell(kind: str, text: str) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": _lines(text)}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def write(folder: Path, address: str) -> list[Path]:
    """Write a notebook for every guide with code into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for guide in sorted(GUIDES.glob("*.md")):
        page = guide.read_text(encoding="utf-8")
        if "```python" in page:
            paths.append(folder / f"{guide.stem}.ipynb")
            text = json.dumps(notebook(page, address), indent=1, ensure_ascii=False)
            paths[-1].write_text(text + "\n", encoding="utf-8")
    return paths


if __name__ == "__main__":
    import tomllib

    project = tomllib.loads((GUIDES.parents[1] / "pyproject.toml").read_text())["project"]
    for path in write(Path(sys.argv[1]), f"{project['urls']['Repository']}/blob/main"):
        print(path)
