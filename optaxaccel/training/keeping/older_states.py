"""Checkpoints of states that had fewer fields: what has come since and holds nothing is not asked of them.

For `checkpoint`, which reads a tree by the names of its fields and refuses a name that is not on disk. A field without
arrays (None, an empty tuple) has nothing to be read; the arrays of the others come in the same order.
"""

from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import jax


def as_written(like: Any, written: Any) -> Any:
    """Return `like` without the fields of states that hold nothing and that are not in `written`, the tree on disk."""
    children, structure = jax.tree_util.tree_flatten_with_path(like, is_leaf=lambda node: node is not like)
    if not isinstance(written, Mapping | list | tuple) or not all(path for path, _ in children):
        return like
    on_disk = dict(written) if isinstance(written, Mapping) else dict(enumerate(written))
    known = {_name(path[0]): child for path, child in children}
    asked = {name: as_written(child, on_disk.get(name)) for name, child in known.items()}
    missing = [name for name, child in known.items() if name not in on_disk and not jax.tree.leaves(child)]
    if not (missing and hasattr(type(like), "_fields")):
        return jax.tree.unflatten(structure, asked.values())
    fields = [name for name in like._fields if name not in missing]
    return namedtuple(type(like).__name__, fields)(*(asked[name] for name in fields))


def as_now(restored: Any, like: Any) -> Any:
    """Return the arrays of `restored` in the structure of `like`."""
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(restored))


def _name(key: Any) -> Any:
    """Return the name or the place under which orbax writes a child."""
    if isinstance(key, jax.tree_util.GetAttrKey):
        return key.name
    return key.idx if isinstance(key, jax.tree_util.SequenceKey) else str(key.key)
