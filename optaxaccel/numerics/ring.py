"""A history of parameters: a ring that holds the last trees that were pushed.

All functions are pure and can be used inside `jax.jit`, checkpointed and sharded: a slot is sharded as the leaf is,
behind a leading axis that is not.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from optaxaccel.numerics import history as stacks
from optaxaccel.numerics import trees


class History(NamedTuple):
    """The last trees that were pushed.

    Attributes:
      slots: a tree whose leaves carry a leading axis of `length` slots.
      count: trees pushed so far, int32; the next one goes to slot `count % length`.
    """

    slots: trees.Tree
    count: jax.Array


def history_init(params: trees.Tree, *, length: int = 11, dtype: Any = None, offload: bool = False) -> History:
    """Make an empty history for trees like `params`.

    Args:
      params: a tree of arrays or of `jax.ShapeDtypeStruct`; its values are not used, except that nothing but them comes
        out of a history into which nothing was pushed.
      length: trees kept, an integer >= 2. 11 trees have the 10 differences of the paper's experiments.
      dtype: in which floating leaves are kept; None is their own. bfloat16 halves the memory, and leaves of what is
        extrapolated only the digits that it has: half precision loses most of a difference of two parameters.
      offload: whether to keep the slots in the host's memory. Pushing copies one tree there, extrapolating reads all of
        them from there.

    Returns:
      A `History` of `length` times the size of the parameters.

    Example:
      >>> import jax.numpy as jnp, optaxaccel
      >>> history = optaxaccel.history_init(jnp.zeros(()), length=2)
      >>> for x in (1.0, 2.0, 3.0):
      ...     history = optaxaccel.history_push(history, jnp.array(x))
      >>> [float(x) for x in optaxaccel.history_list(history)]
      [2.0, 3.0]
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 2:
        raise ValueError(
            f"length={length!r} is not an integer >= 2: it is the number of trees kept, and what is extrapolated are "
            "their differences. Call history_init(params, length=11)."
        )

    def stored(x):
        kept = trees.leaf_dtype(x)
        if dtype is not None and jnp.issubdtype(kept, jnp.floating):
            kept = dtype
        return jax.ShapeDtypeStruct(x.shape, kept) if isinstance(x, jax.ShapeDtypeStruct) else jnp.asarray(x, kept)

    slots = stacks.stack_copies(jax.tree.map(stored, params), length)
    if offload:
        slots = jax.device_put(slots, jax.memory.Space.Host)
    return History(slots, jnp.zeros((), jnp.int32))


def history_push(history: History, params: trees.Tree) -> History:
    """Return the history with `params` in the place of its oldest tree.

    Only the one slot is written: the buffers of the history passed in are taken over (donated), so use the one that is
    returned. Inside `jax.jit` donate the history there.

    Args:
      history: of `history_init`; it may not be used afterwards.
      params: a tree like the one it was made for.
    """
    _check_same(history, params)
    return _push(history, params)


@functools.partial(jax.jit, donate_argnums=0)
def _push(history: History, params: trees.Tree) -> History:
    number = length(history)

    def moved(slot, x):
        x = jnp.asarray(x).astype(slot.dtype)
        on_host = jax.typeof(slot).memory_space is jax.memory.Space.Host
        return jax.device_put(x, jax.memory.Space.Host) if on_host else x

    slot = history.count % number
    params = jax.tree.map(moved, history.slots, params)
    return History(stacks.write(history.slots, slot, params), jnp.asarray(optax.safe_increment(history.count)))


def history_list(history: History) -> list[trees.Tree]:
    """Return the trees in the history, oldest first.

    Their number is needed now, so this cannot be used inside `jax.jit`; `extrapolate` takes a history as it is.
    """
    if isinstance(history.count, Tracer):
        raise ValueError(
            f"history_list cannot know how many trees there are: count={history.count} is traced. Call it outside "
            "jax.jit, or hand the history itself to extrapolate."
        )
    count, number = int(history.count), length(history)
    return [stacks.read(history.slots, slot % number) for slot in range(max(0, count - number), count)]


def length(history: History) -> int:
    """Return the number of slots; 2 if the trees have no leaves."""
    leaves = jax.tree.leaves(history.slots)
    return leaves[0].shape[0] if leaves else 2


def order(history: History) -> tuple[jax.Array, jax.Array]:
    """Return the slots from the oldest to the newest tree, those not yet used first, and which of them hold one."""
    number = length(history)
    places = jnp.arange(number, dtype=jnp.int32)
    return (history.count + places) % number, places >= number - history.count


def _check_same(history: History, params: trees.Tree) -> None:
    slots = jax.tree.map(lambda s: s.shape[1:], history.slots)
    shapes = jax.tree.map(np.shape, params)
    if slots != shapes:
        raise ValueError(
            f"history_push: the tree has the shapes {shapes}, the history was made for {slots}. Make one for these "
            "parameters: history_init(params, length=...)."
        )
