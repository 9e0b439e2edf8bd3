"""Folders that orbax can write to."""

from pathlib import Path

_PATTERN = frozenset("*?[\\")


def refuse_pattern(folder: Path) -> None:
    r"""Refuse a folder whose absolute path holds one of `*`, `?`, `[` and `\`.

    Orbax (0.12.8) looks for the parts of a checkpoint by a pattern that begins with the whole path. In such a folder it
    misses them, or takes those of another one, and what it has written without a word cannot be read.

    Raises:
      ValueError: the path holds one of them.

    Example:
      >>> refuse_pattern(Path("runs/lr=0.1"))
    """
    text = folder.absolute().as_posix()
    if signs := sorted(_PATTERN.intersection(text)):
        raise ValueError(
            f"{text} holds {' '.join(signs)}, and checkpoints written there could not be read again, since orbax takes "
            "the path for a pattern. Pass another folder: --out runs/NAME."
        )
