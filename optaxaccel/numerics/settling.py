"""A step whose state is settled only after it was made: held where it may not count, or begun anew.

Used by methods around a base that sometimes take another step than it.

What is held is chosen between the new state and the old one. Whatever else was computed from the new state is computed
by the compiler from the old one again, in the loop that needs it; so the old state has two readers, and a donated
buffer with two readers is copied, each time. Computed from the settled state instead, it needs no old one.
"""

from collections.abc import Callable

import jax
from jax.core import Tracer, eval_jaxpr
from jax.extend.core import DropVar, Jaxpr, Var

from optaxaccel.numerics.trees import Tree


def from_settled(step: Callable[[], tuple[Tree, Tree]], settle: Callable[[Tree], Tree]) -> tuple[Tree, Tree]:
    """Return what a step makes, and its settled state, of which the former is computed where it was of the state.

    So where the settled state is another one, what the step makes is not what `step` returns, and must not be used.

    Args:
      step: returns something and a state.
      settle: returns a tree like the state, of the same structure.
    """
    closed, (out, state) = jax.make_jaxpr(step, return_shape=True)()
    if not any(isinstance(x, Tracer) for x in closed.consts):  # nothing is compiled, so nothing is donated
        out, state = step()
        return out, settle(state)
    jaxpr, (outs, out_tree), state_tree = closed.jaxpr, jax.tree.flatten(out), jax.tree.structure(state)
    makes, states = jaxpr.outvars[: len(outs)], jaxpr.outvars[len(outs) :]
    computed = {x for eqn in jaxpr.eqns for x in eqn.outvars}
    settling = [x for x in dict.fromkeys(x for x in states if isinstance(x, Var)) if x in computed]
    again, first = _following(jaxpr, settling, makes)
    known = eval_jaxpr(jaxpr.replace(outvars=[*states, *first]), closed.consts)
    plain, known = known[: len(states)], known[len(states) :]
    settled = jax.tree.leaves(settle(jax.tree.unflatten(state_tree, plain)))
    chosen = {
        x: new if jax.typeof(new) == jax.typeof(old) else old  # one that had to be cast stays as it was
        for x, old, new in zip(states, plain, settled, strict=True)
        if isinstance(x, Var)
    }
    made = eval_jaxpr(again, [], *known, *(chosen[x] for x in settling))
    return jax.tree.unflatten(out_tree, made), jax.tree.unflatten(state_tree, settled)


def _following(jaxpr: Jaxpr, settling: list[Var], makes: list) -> tuple[Jaxpr, list[Var]]:
    """Return the part of a program that follows from the values given, as a program, and what else that needs.

    What has an effect has had it, and does not follow.
    """
    changed, eqns = set(settling), []
    for eqn in jaxpr.eqns:
        if not eqn.effects and any(isinstance(x, Var) and x in changed for x in eqn.invars):
            changed |= set(eqn.outvars)
            eqns.append(eqn.replace(outvars=[DropVar(x.aval) if x in settling else x for x in eqn.outvars]))
    reads = [x for eqn in eqns for x in eqn.invars] + list(makes)
    first = [x for x in dict.fromkeys(x for x in reads if isinstance(x, Var)) if x not in changed]
    return jaxpr.replace(constvars=[], invars=[*first, *settling], outvars=list(makes), eqns=eqns), first
