"""bfloat16: updates of bfloat16 parameters, and steps of a small transformer, over optax's AdamW."""

import jax
import jax.numpy as jnp
import optax

import optaxaccel
from benchmarks import updates
from benchmarks.measure import Donated, Row, interleave, rows_of
from optaxaccel import tasks

UPDATES = "update alone of bfloat16, 11.2 M parameters, 62 leaves, over AdamW"
STEPS = "step of a transformer in bfloat16, 2 layers, over AdamW"
ADAMW = 7  # arrays that AdamW reads and writes: the gradient; two moments and the parameters, both ways
NAMES = ("optax.sgd(momentum)", "indian", "agd", "nesterov", "interpolatron k=2", "anderson k=2")


def run(rounds: int) -> list[Row]:
    """Return one row a variant; the limit of an update is its bytes over AdamW's, which is its goal, too."""
    return [*_updates(rounds), *_steps(rounds)]


def _updates(rounds: int) -> list[Row]:
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), updates.resnet18_like())
    made = updates.variants()
    chosen = {"optax.adamw": optax.adamw(1e-3), **{name: made[name][0] for name in NAMES}}
    limits = {name: updates.ARRAYS[name] / ADAMW for name in NAMES}
    steppers = {name: updates.stepper(tx, params) for name, tx in chosen.items()}
    return rows_of(UPDATES, interleave(steppers, rounds=rounds), goals=limits, limits=limits)


def _steps(rounds: int) -> list[Row]:
    task = tasks.make("language", size="small", dtype="bfloat16")
    start, net_state = task.init(jax.random.key(0))
    start = jax.tree.map(lambda p: p.astype(jnp.bfloat16), start)
    batch = jax.tree.map(lambda rows: jnp.asarray(rows[: task.batch_size]), task.train)

    def loss(params):
        return task.loss(params, net_state, batch, key=jax.random.key(1), train=True)[0].astype(jnp.float32)

    def stepper(tx):
        tx = optax.with_extra_args_support(tx)

        def step(carry, _):
            params, state = carry
            value, grad = jax.value_and_grad(loss)(params)
            moves, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
            return optax.apply_updates(params, moves), state

        params = jax.tree.map(jnp.copy, start)
        return Donated(step, (params, tx.init(params)), jnp.zeros(()))

    chosen = {
        "optax.adamw": optax.adamw(1e-3),
        "optax.sgd(momentum)": optax.sgd(0.01, momentum=0.9),
        "innaprop": optaxaccel.innaprop(1e-3),
        "indian": optaxaccel.indian(0.01),
        "agd": optaxaccel.agd(0.01),
        "interpolatron k=2": optaxaccel.interpolatron(0.01),
        "anderson k=2": optaxaccel.anderson(0.01),
        "pal": optaxaccel.pal(),
        "tuning_free": optaxaccel.tuning_free(),
    }
    return rows_of(STEPS, interleave({name: stepper(tx) for name, tx in chosen.items()}, rounds=rounds))
