"""Loops over a batch of problems that leave the matrices and histories of finished members alone.

Under `jax.vmap` a `lax.while_loop` whose condition differs from member to member selects between the old and the new
state after every turn. For a dense inverse Hessian, or the history of a fixed-point solver, this is more than the
update itself takes. Here the loop goes on while any member does, and a finished member is held by numbers: a gradient,
or a residual, that is not finite teaches nothing. In the same way a branch that no member needs is not computed.
"""

from typing import Any

import jax
import jax.numpy as jnp

from optaxaccel.methods._quasi_newton import QuasiNewtonState
from optaxaccel.methods.box import DenseMemory
from optaxaccel.solvers.minimize_result import MinimizeState


@jax.custom_batching.custom_vmap
def anybody(goes_on: jax.Array) -> jax.Array:
    """Return whether any member of a batch goes on: one answer for all of them; outside a batch, the argument."""
    return goes_on


@anybody.def_vmap
def _anybody_in_batch(size: int, batched: list[bool], goes_on: jax.Array) -> tuple[jax.Array, bool]:
    del size, batched
    return anybody(jnp.any(goes_on, axis=0)), False


@jax.custom_batching.custom_vmap
def largest(count: jax.Array) -> jax.Array:
    """Return the largest count of a batch, one number for all of them; outside a batch, the argument."""
    return count


@largest.def_vmap
def _largest_of_batch(size: int, batched: list[bool], count: jax.Array) -> tuple[jax.Array, bool]:
    del size, batched
    return largest(jnp.max(count, axis=0, initial=0)), False


@jax.custom_batching.custom_vmap
def awake(goes_on: jax.Array) -> jax.Array:
    """Return which members of a batch go on; true outside a batch, where a loop turns for nobody else."""
    return jnp.ones_like(goes_on)


@awake.def_vmap
def _awake_in_batch(size: int, batched: list[bool], goes_on: jax.Array) -> tuple[jax.Array, bool]:
    del size, batched
    return goes_on, True


def is_dense(node: Any) -> bool:
    """Tell a state that holds a dense inverse Hessian."""
    return isinstance(node, (QuasiNewtonState, DenseMemory))


def has_dense(opt_state: Any) -> bool:
    """Tell whether some part of a method's state is dense."""
    return any(map(is_dense, jax.tree.leaves(opt_state, is_leaf=is_dense)))


def halted(goes_on: jax.Array, state: MinimizeState) -> MinimizeState:
    """Return the state, with nothing to learn from and nothing to search for where it does not go on."""
    value, grad = jax.tree.map(lambda x: jnp.where(goes_on, x, jnp.nan), (state.value, state.grad))
    return state._replace(value=value, grad=grad)


def frozen(goes_on: jax.Array, new: MinimizeState, old: MinimizeState) -> MinimizeState:
    """Return the new state or the old one; the matrix, which a halted step leaves as it is, without looking."""

    def chosen(new: Any, old: Any) -> Any:
        if not is_dense(new):
            return jnp.where(goes_on, new, old)
        matrix = new.inverse_hessian
        rest = (node._replace(inverse_hessian=None) for node in (new, old))
        return jax.tree.map(lambda a, b: jnp.where(goes_on, a, b), *rest)._replace(inverse_hessian=matrix)

    return jax.tree.map(chosen, new, old, is_leaf=is_dense)
