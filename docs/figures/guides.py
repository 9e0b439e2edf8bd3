"""The pictures of the guides, drawn by the guides' own code: `python docs/figures/guides.py [NAME ...]`.

The tests run the same code and hold what it draws to what is stored here.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from canvas import STATIC, shrink

sys.path.insert(0, str(Path(__file__).parents[1]))

import executed

GUIDES = Path(__file__).parents[1] / "guides"


def main(names: list[str]) -> None:
    """Run the guides and store what they draw with few colours."""
    (STATIC / "guides").mkdir(exist_ok=True)
    for page in sorted(GUIDES.glob("*.md")):
        if executed.figures(page) and (not names or page.stem in names):
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                executed.run(page)
                plt.close("all")
                for name in executed.figures(page):
                    shrink(Path(name), STATIC / "guides" / name, colours=64)


if __name__ == "__main__":
    main(sys.argv[1:])
