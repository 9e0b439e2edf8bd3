"""Tables of the registries as Markdown, for the site and for the test that holds the README to them."""

from collections.abc import Sequence

from optaxaccel import METHODS, Card
from optaxaccel.data import DATASETS
from optaxaccel.models import MODELS


def markdown(columns: Sequence[str], alignment: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; alignment holds l or r for each column."""
    rule = ["---:" if side == "r" else "---" for side in alignment]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, rule, *rows])


def methods() -> str:
    """Return one row a method."""
    columns = ["method", "losses", "gradients", "Hessian products", "state copies", "paper"]
    rows = [[_name(card), *(f"{n:g}" for n in card.cost), card.copies(), card.paper] for card in METHODS.values()]
    return markdown(columns, "lrrrrl", rows)


def _name(card: Card) -> str:
    """Return the name on the command line, and that of the function where it is another one."""
    function = card.make.__name__
    return f"`{card.name}`" if function == card.name else f"`{card.name}` (`{function}`)"


def models() -> str:
    """Return one row a model."""
    columns = ["model", "designed for", "classes", "parameters", "paper", "note"]
    rows = [
        [f"`{m.name}`", "x".join(map(str, m.input_shape)), str(m.classes), f"{m.parameters:,}", m.paper, m.note]
        for m in MODELS.values()
    ]
    return markdown(columns, "llrrll", rows)


def datasets() -> str:
    """Return one row a data set."""
    columns = ["data set", "images", "classes", "splits", "source", "licence", "note"]
    rows = []
    for d in DATASETS.values():
        size = "x".join("any" if n < 0 else str(n) for n in d.shape)
        splits = ", ".join(f"{split} {count:,}" for split, count in d.splits.items())
        rows.append([f"`{d.name}`", size, str(d.classes), splits, d.source, d.licence, d.note])
    return markdown(columns, "llrllll", rows)
