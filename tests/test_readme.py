"""The README's code runs and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\s+```text\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("code", "expected"), EXAMPLES)
def test_code_prints_what_the_readme_says(code, expected):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == expected


def test_there_is_an_example_of_at_most_twelve_lines_and_every_python_block_is_run():
    assert len(EXAMPLES) == README.count("```python") >= 1
    assert len(EXAMPLES[0][0].splitlines()) <= 12
