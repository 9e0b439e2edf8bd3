"""Every card of the registry on 11 million parameters: time, compilation, temporary memory and state.

The gradient is handed in and the loss reads one leaf only, so that what is seen is the method and not the loss, which a
search compiles four times over. Methods that search for negative curvature do not search in these steps, except the one
that always does.
"""

import jax
import jax.numpy as jnp
import optax

import optaxaccel
from benchmarks.measure import Donated, Row, alternate, rows_of, second_call
from benchmarks.updates import resnet18_like

TITLE = "update of every method, 11.2 M parameters in 62 leaves"


def run(rounds: int) -> list[Row]:
    """Return one row a card."""
    params = resnet18_like()
    size = sum(p.nbytes for p in jax.tree.leaves(params))

    def loss_fn(params):
        return 0.5 * jnp.sum(params["01"] ** 2)

    transformations = {"optax.sgd(momentum)": optax.sgd(1e-4, momentum=0.9)}
    transformations |= {card.name: card.make(**card.example) for card in optaxaccel.METHODS.values()}
    steps, copies = {}, {}
    for name, tx in transformations.items():
        tx = optax.with_extra_args_support(tx)
        state = tx.init(params)
        copies[name] = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / size

        def step(carry, grads, tx=tx):
            params, state = carry
            value = loss_fn(params)
            updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss_fn)
            return optax.apply_updates(params, updates), state

        steps[name] = Donated(step, (jax.tree.map(jnp.copy, params), state), params)
    # Whose turn comes after a method that searches would pay for what that left in the caches.
    seconds = {name: second_call(step) for name, step in steps.items()}
    rows = rows_of(TITLE, alternate(seconds, rounds=max(3, rounds // 4)))
    for row in rows:
        step, name = steps[row["variant"]], row["variant"]
        row |= {"temporary MB": step.temporary_bytes / 1e6, "state copies": copies[name]}
    compiled = [
        {"benchmark": f"compilation, {TITLE}", "variant": name, "compile s": step.compile_seconds, "goal": 5.0}
        for name, step in steps.items()
    ]
    return rows + compiled
