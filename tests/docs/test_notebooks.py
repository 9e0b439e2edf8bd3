"""A notebook holds what its page holds: the same code in the same order, and below each cell what it prints."""

import json
import re

import notebooks
import pytest

PLACE = "https://example.org/blob/main"
PAGES = sorted(page for page in notebooks.GUIDES.glob("*.md") if page.stem != "index")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("notebooks")
    notebooks.write(made, PLACE)
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_has_the_code_the_output_and_the_prose_of_its_page(page, folder):
    book = json.loads((folder / f"{page.stem}.ipynb").read_text())
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    text = page.read_text()
    fenced = re.split(r"^```", text, flags=re.MULTILINE)[1::2]  # language, then what is in the fence
    shown = ["".join(cell["source"]) for cell in code if not cell["source"][0].startswith("!")]
    assert shown == [fence.partition("\n")[2].rstrip("\n") for fence in fenced if fence.startswith("python\n")]
    printed = ["".join(output["text"]) for cell in code for output in cell["outputs"]]
    assert printed == [fence.partition("\n")[2] for fence in fenced if fence.startswith("text\n")]
    prose = "\n".join("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "markdown")
    assert text.partition("\n")[0] in prose
    assert not re.search(r"\]\((?!https?:|#)", prose)
    assert "```" not in prose
