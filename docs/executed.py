"""Run a guide: every block of code in the order of the page, in the current folder, held to what stands below it.

`python docs/executed.py pinn` does so and leaves the page's figure in the folder. The tests run every guide so, and
`docs/figures/guides.py` stores what they draw for the pages.
"""

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FIGURE = re.compile(r"^```\{figure\} \.\./_static/guides/(\S+)$", re.MULTILINE)
BOUND = re.compile(r"^At most (\d+) seconds of processor time", re.MULTILINE)


def run(page: Path) -> None:
    """Run the code of a page, and its commands in this process.

    Raises:
      AssertionError: a block prints something else than the page says, or a command fails.
    """
    from optaxaccel import cli

    names: dict[str, object] = {}
    printed = ""
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, page.name, "exec"), names)
            printed = out.getvalue()
        elif language == "console":
            for line in text.splitlines():
                assert line.startswith("optaxaccel "), line
                assert cli.run(shlex.split(line)[1:]) == 0, line
        else:
            assert language == "text", language
            assert printed == text


def figures(page: Path) -> list[str]:
    """Return the names of the pictures that a page shows and its code draws."""
    return FIGURE.findall(page.read_text(encoding="utf-8"))


def seconds(page: Path) -> int:
    """Return the seconds of processor time that a page says it takes at most."""
    return int(BOUND.findall(page.read_text(encoding="utf-8"))[0])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(__file__).resolve().parent / "guides" / f"{name}.md")
