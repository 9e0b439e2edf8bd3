"""What stands at the prompt is complete: meaning, example, arguments, result."""

import inspect
import re

import pytest

import optaxaccel

FUNCTIONS = sorted(name for name in optaxaccel.__all__ if inspect.isfunction(getattr(optaxaccel, name)))
TUPLES = sorted(name for name in optaxaccel.__all__ if hasattr(getattr(optaxaccel, name), "_fields"))


def entries(text, header):
    """The names below a header, with what is said of each."""
    part = re.search(rf"^{header}:\n((?:  .*\n|\n)*)", text + "\n", re.MULTILINE)
    whole = re.split(r"\n(?=  \S)", part[1].rstrip()) if part else []
    pairs = (entry.split(":", 1) for entry in whole)
    return {name.strip().lstrip("*"): " ".join(said.split()) for names, said in pairs for name in names.split(",")}


def faults(name):
    """What is wrong with a function's docstring, as sentences."""
    function = getattr(optaxaccel, name)
    text = inspect.getdoc(function) or ""
    lines, said = text.splitlines(), entries(text, "Args")
    if not lines[0].endswith(".") or lines[1] or lines[2] != "Example:":
        yield "begins otherwise than with its meaning in a line, and an example"
    if ">>>" not in text.partition("Args:")[0]:
        yield "the example in front of the arguments is no code"
    if list(said) != list(inspect.signature(function).parameters):
        yield f"its arguments are {list(inspect.signature(function).parameters)}, described are {list(said)}"
    for argument, words in said.items():
        if re.match(r"(see|as) (`|there)", words):
            yield f"{argument} sends the reader elsewhere: {words}"
    if "\nReturns:\n" not in text:
        yield "what it returns is not said"
    if re.search(r"^  See `\w+`\.$", text, re.MULTILINE):
        yield "a section sends the reader elsewhere"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_explained_at_the_prompt(name):
    assert not list(faults(name))


@pytest.mark.parametrize("name", TUPLES)
def test_every_field_of_a_public_tuple_is_explained(name):
    kind = getattr(optaxaccel, name)
    text = inspect.getdoc(kind) or ""
    assert text.splitlines()[0].endswith((".", ";", ","))
    assert list(entries(text, "Attributes")) == list(kind._fields)
