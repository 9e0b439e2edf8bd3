"""A user's Python file finds the modules beside it, as if it ran as a script. Standard library only."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def neighbours(file: Path) -> Iterator[None]:
    """Let imports find what lies beside a file, first of all, as in `python FILE`; afterwards nothing has changed.

    A module of a neighbour's name that was loaded from elsewhere is out of sight meanwhile, so that two folders may
    each have a `helper.py`; the standard library and this package are never hidden.

    Args:
      file: the file that is being run, or a function of which is.
    """
    folder = file.resolve().parent
    loaded = {name.partition(".")[0] for name in sys.modules}
    elsewhere = {name for name in loaded if _lies_in(folder, name) and not _is_of(folder, sys.modules.get(name))}
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in elsewhere}
    for name in hidden:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file may have taken it away itself
            sys.path.remove(str(folder))
        sys.modules.update(hidden)


def _lies_in(folder: Path, name: str) -> bool:
    if name in sys.stdlib_module_names or name in ("__main__", "optaxaccel"):
        return False
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _is_of(folder: Path, module: Any) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(folder)
