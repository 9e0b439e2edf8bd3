"""A ring of trees: the last k trees, every leaf with a leading axis of k slots, as optax's L-BFGS keeps its memory.

Used by methods and solvers that remember trees, by `lanczos` and by `sequences`.

Step `count` writes slot `count % length` and the tree of `age` steps ago lies in `slot_of(count, age, length)`. Methods
keep stacks in their states; `History` is the same for a user's own parameters. Two rules keep a donated ring in place,
because XLA copies a buffer whose old value has two readers:

* The ring is WRITTEN FIRST and afterwards only read. A reduction may read the old ring before that, if whether
  something is written depends on its result (`write(..., when=...)`).
* A reduction reads the whole stack (`sums.square_distances`): XLA on CPU fuses sums of products into one pass over it,
  but no slices and no selections, which it would write out first.

A stack's sharding is the leaf's own behind a leading None.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from optaxaccel.numerics.trees import Tree, leaf_dtype, zeros_like

__all__ = ["History", "history_init", "history_list", "history_push"]

# --- Slots ------------------------------------------------------------------------------------------------------------


def stack_copies(tree: Tree, length: int) -> Tree:
    """Return `length` copies of each leaf along a new leading axis, in fresh buffers; shapes alone give zeros."""

    def stack(x):
        if isinstance(x, jax.ShapeDtypeStruct):
            x = jnp.zeros_like(x, dtype=x.dtype)
        x = jnp.asarray(x, leaf_dtype(x))
        return jnp.array(jnp.broadcast_to(x[None], (length, *x.shape)), copy=True)

    return jax.tree.map(stack, tree)


def stack_zeros(tree: Tree, length: int) -> Tree:
    """Return a stack of zeros with `length` slots for trees like `tree`."""
    return stack_copies(zeros_like(tree), length)


def slot_of(count: jax.typing.ArrayLike, age: jax.typing.ArrayLike, length: int) -> jax.Array:
    """Return the slot of a ring that step `count` - `age` wrote; before step 0 the slots count backwards."""
    return (jnp.asarray(count) - jnp.asarray(age)) % length


def write(stack: Tree, slot: jax.typing.ArrayLike, tree: Tree, *, when: jax.typing.ArrayLike = True) -> Tree:
    """Return the stack with `tree` in the given slot, or unchanged where the scalar `when` is false.

    Only a scatter that drops what lies outside is both in place and conditional: a `jnp.where` of the old and the new
    slot is written out first, a `lax.cond` becomes a copy of the stack under `vmap`.
    """

    def leaf(s, x):
        if when is True:
            return jax.lax.dynamic_update_index_in_dim(s, x.astype(s.dtype), slot, 0)
        place = jnp.where(when, slot, s.shape[0])
        return s.at[place].set(x.astype(s.dtype), mode="drop", unique_indices=True)

    return jax.tree.map(leaf, stack, tree)


def read(stack: Tree, slot: jax.typing.ArrayLike) -> Tree:
    """Return the tree in the given slot."""
    return jax.tree.map(lambda s: jax.lax.dynamic_index_in_dim(s, slot, 0, keepdims=False), stack)


# --- A history of parameters ------------------------------------------------------------------------------------------


class History(NamedTuple):
    """The last trees that were pushed.

    Attributes:
      slots: a tree whose leaves carry a leading axis of `length` slots.
      count: trees pushed so far, int32; the next one goes to slot `count % length`.
    """

    slots: Tree
    count: jax.Array


def history_init(params: Tree, *, length: int = 11, dtype: Any = None, offload: bool = False) -> History:
    """Make an empty history for trees like `params`.

    Example:
      >>> import jax.numpy as jnp, optaxaccel
      >>> history = optaxaccel.history_init(jnp.zeros(()), length=2)
      >>> for x in (1.0, 2.0, 3.0):
      ...     history = optaxaccel.history_push(history, jnp.array(x))
      >>> [float(x) for x in optaxaccel.history_list(history)]
      [2.0, 3.0]

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
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 2:
        raise ValueError(
            f"length={length!r} is not an integer >= 2: it is the number of trees kept, and what is extrapolated are "
            "their differences. Call history_init(params, length=11)."
        )

    def stored(x):
        target = leaf_dtype(x)
        if dtype is not None and jnp.issubdtype(target, jnp.floating):
            target = dtype
        return jax.ShapeDtypeStruct(x.shape, target) if isinstance(x, jax.ShapeDtypeStruct) else jnp.asarray(x, target)

    slots = stack_copies(jax.tree.map(stored, params), length)
    if offload:
        slots = jax.device_put(slots, jax.memory.Space.Host)
    return History(slots, jnp.zeros((), jnp.int32))


def history_push(history: History, params: Tree) -> History:
    """Return the history with `params` in the place of its oldest tree.

    Example:
      >>> import jax.numpy as jnp, optaxaccel
      >>> history = optaxaccel.history_init(jnp.zeros(()), length=2)
      >>> history = optaxaccel.history_push(history, jnp.array(3.0))
      >>> int(history.count), [float(x) for x in optaxaccel.history_list(history)]
      (1, [3.0])

    Only the one slot is written: the buffers of the history passed in are taken over (donated), so use the one that is
    returned. Inside `jax.jit` donate the history there.

    Args:
      history: of `history_init`; it may not be used afterwards.
      params: a tree like the one it was made for.

    Returns:
      The `History`, whose count is one higher.

    Raises:
      ValueError: the tree has another structure or other shapes; the message names them.
    """
    _check_same(history, params)
    return _push(history, params)


@functools.partial(jax.jit, donate_argnums=0)
def _push(history: History, params: Tree) -> History:
    number = length(history)

    def moved(slot, x):
        x = jnp.asarray(x).astype(slot.dtype)
        on_host = jax.typeof(slot).memory_space is jax.memory.Space.Host
        return jax.device_put(x, jax.memory.Space.Host) if on_host else x

    slot = history.count % number
    params = jax.tree.map(moved, history.slots, params)
    return History(write(history.slots, slot, params), jnp.asarray(optax.safe_increment(history.count)))


def history_list(history: History) -> list[Tree]:
    """Return the trees in the history, oldest first.

    Example:
      >>> import jax.numpy as jnp, optaxaccel
      >>> history = optaxaccel.history_init(jnp.zeros(()), length=2)
      >>> for x in (1.0, 2.0, 3.0):
      ...     history = optaxaccel.history_push(history, jnp.array(x))
      >>> [float(x) for x in optaxaccel.history_list(history)]
      [2.0, 3.0]

    Their number is needed now, so this cannot be used inside `jax.jit`; `extrapolate` takes a history as it is.

    Args:
      history: of `history_init` or `history_push`.

    Returns:
      A list of as many trees as were pushed, `length` of them at most.

    Raises:
      ValueError: it is called inside `jax.jit`.
    """
    if isinstance(history.count, Tracer):
        raise ValueError(
            f"history_list cannot know how many trees there are: count={history.count} is traced. Call it outside "
            "jax.jit, or hand the history itself to extrapolate."
        )
    count, number = int(history.count), length(history)
    return [read(history.slots, slot % number) for slot in range(max(0, count - number), count)]


def length(history: History) -> int:
    """Return the number of slots; 2 if the trees have no leaves."""
    leaves = jax.tree.leaves(history.slots)
    return leaves[0].shape[0] if leaves else 2


def order(history: History) -> tuple[jax.Array, jax.Array]:
    """Return the slots from the oldest to the newest tree, those not yet used first, and which of them hold one."""
    number = length(history)
    places = jnp.arange(number, dtype=jnp.int32)
    return (history.count + places) % number, places >= number - history.count


def _check_same(history: History, params: Tree) -> None:
    same = jax.tree.structure(params) == jax.tree.structure(history.slots)
    if not same or [*map(np.shape, jax.tree.leaves(params))] != [s.shape[1:] for s in jax.tree.leaves(history.slots)]:
        slots = jax.tree.map(lambda s: s.shape[1:], history.slots)
        shapes = jax.tree.map(np.shape, params)
        raise ValueError(
            f"history_push: the tree has the shapes {shapes}, the history was made for {slots}. Make one for these "
            "parameters: history_init(params, length=...)."
        )
