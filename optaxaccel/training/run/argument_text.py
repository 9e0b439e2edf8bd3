"""Arguments as text: `a=1,b=(0.1,0.9),c=word`, and lengths in epochs. Standard library only."""

import ast
import re
from collections.abc import Mapping
from typing import Any

_LENGTH = re.compile(r"(?<![\w'\"])([0-9.]+ ?epochs?)(?![\w'\"])")  # an unquoted one
_TEXT_OR_WORD = re.compile(  # a text in quotes, or a whole value of characters that words and paths are made of
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?<![^=,(\[\s])([\w.~/][\w.~/-]*+)(?=\s*(?:[,)\]]|$))"""
)
_ARITHMETIC = re.compile(r"[\d.eEjJ/-]*")
_LONGEST = 20_000  # characters of a list of arguments
_EPOCHS = re.compile(r"^\s*([0-9.]+)\s*epochs?\s*$")


def parse_arguments(text: str) -> dict[str, Any]:
    """Parse `a=1,b=(0.1,0.9),c=word,d=cosine(x=1)` into a dictionary of literals.

    A bare word is a string, and so is a path without spaces; a call is a dictionary with the function's name under
    "name".

    >>> parse_arguments("learning_rate=0.1, coefficients=(0.1, 0.9), slope=exact")
    {'learning_rate': 0.1, 'coefficients': (0.1, 0.9), 'slope': 'exact'}
    >>> parse_arguments("data=my-folder/table.csv")
    {'data': 'my-folder/table.csv'}
    >>> parse_arguments("learning_rate=exponential_decay(decay_rate=0.9, transition_steps=1epoch)")
    {'learning_rate': {'name': 'exponential_decay', 'decay_rate': 0.9, 'transition_steps': '1epoch'}}
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long")
        quoted = _TEXT_OR_WORD.sub(_quoted, _LENGTH.sub(r"'\1'", text))
        call = ast.parse(f"f({quoted})", mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            return _keywords(call)
        raise ValueError("not a list of keyword arguments")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:  # the parser has all of them
        shown = text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"
        raise ValueError(
            f"{shown!r} is not a list of arguments. Write K=V,K=V with literal values, each K once, "
            "and a text with spaces or other signs in quotes, with more around all for the shell: 'K=\"my file.csv\"'."
        ) from error


def _quoted(match: re.Match[str]) -> str:
    """Return a path in quotes, and what Python reads, or is arithmetic, as it is."""
    word = match[1]
    if word is None or _ARITHMETIC.fullmatch(word):
        return match[0]
    try:
        _value(ast.parse(word, mode="eval").body)
    except (SyntaxError, ValueError, TypeError):
        return f"'{word}'"
    return word


def text_of(value: Any) -> str:
    """Return a value as text; what `parse_arguments` made of a call is written as the call.

    >>> text_of({"name": "exponential_decay", "decay_rate": 0.9})
    'exponential_decay(decay_rate=0.9)'
    """
    if isinstance(value, Mapping) and "name" in value:
        return f"{value['name']}({', '.join(f'{k}={v}' for k, v in value.items() if k != 'name')})"
    return str(value)


def _keywords(call: ast.Call) -> dict[str, Any]:
    names = [keyword.arg for keyword in call.keywords]
    if call.args or None in names or len(set(names)) < len(names):
        raise ValueError("only keyword arguments, each once")
    return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
        return {"name": _value(node.func), **_keywords(node)}
    if isinstance(node, ast.Attribute):
        return f"{_value(node.value)}.{node.attr}"  # optax.adam
    if isinstance(node, ast.Tuple):
        return tuple(map(_value, node.elts))
    return ast.literal_eval(node)


def steps_from(length: Any, steps_per_epoch: int) -> Any:
    """Replace every "3epochs" inside a literal by its number of steps; leave everything else alone."""
    if isinstance(length, str) and (match := _EPOCHS.match(length)):
        return round(float(match[1]) * steps_per_epoch)
    if isinstance(length, Mapping):
        return {steps_from(k, steps_per_epoch): steps_from(v, steps_per_epoch) for k, v in length.items()}
    if isinstance(length, (list, tuple)):
        return type(length)(steps_from(v, steps_per_epoch) for v in length)
    return length
