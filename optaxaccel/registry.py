"""Look names up in the registries METHODS, MODELS, DATASETS and in lists of fields. Standard library only."""

import difflib
from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")
_READABLE = 100  # names


def nearest(name: str, known: Collection[str]) -> str:
    """Return the known name that is most like a misspelt one, or "" where none is."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)), "")


def suggestion(name: str, known: Collection[str]) -> str:
    """Return " Did you mean ...?" for the nearest known name, or nothing."""
    near = nearest(name, known)
    return f" Did you mean {near!r}?" if near else ""


def unknown(kind: str, name: str, known: Collection[str]) -> ValueError:
    """Return the error for a name that is not known, with the nearest one that is, and all where they can be read."""
    names = sorted(known)
    if len(names) > _READABLE:
        near = difflib.get_close_matches(str(name), names, n=8, cutoff=0.3)
        names = [*near, f"{len(names) - len(near)} others"]
    return ValueError(f"Unknown {kind} {name!r}.{suggestion(name, known)} Known: {', '.join(names)}.")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return table[name].

    Args:
      kind: what the table holds, for the error: "method", "model", "data set", ...
      name: the key.
      table: the registry.

    Raises:
      ValueError: the name is not in the table; the message suggests the nearest one and lists all.
    """
    if not isinstance(name, str) or name not in table:
        raise unknown(kind, name, table)
    return table[name]
