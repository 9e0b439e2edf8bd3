"""Run the self-tuning track: trials, then runs with five seeds; `python experiments/self_tuning/track.py --help`.

    python experiments/self_tuning/track.py trials     # twenty settings of Adam and of momentum on every task
    python experiments/self_tuning/track.py finals     # defaults, calibrated and tuned settings, with five seeds
    python experiments/self_tuning/score.py            # the tables, from the records alone

Both append to `records.jsonl` and skip what is there already.
"""

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import score
from contenders import CONTENDERS

import optaxaccel
from optaxaccel import tasks
from optaxaccel.tasks import batches

TASKS: dict[str, dict[str, Any]] = {  # arguments beside those of the size "smoke"; steps are those of the long budget
    "softmax_regression": {"examples": 500, "steps": 600},
    "lasso": {"steps": 600},
    "matrix_factorisation": {"steps": 600},
    "phase_retrieval": {"steps": 600},
    "cp_tensor": {"steps": 600},
    "rosenbrock": {"dimension": 10, "steps": 800},
    "poisson_1d": {"steps": 1000},
    "copy": {"steps": 600},
    "language": {"steps": 400},
}
TRIAL_SEED, SEEDS = 1000, (0, 1, 2, 3, 4)


def program(task: tasks.Task, contender: Any):
    """Return the compiled `run(number, cosine, steps, seed)`: excess at the start, after a quarter and at the end."""
    data = None if callable(task.train) else jax.tree.map(jnp.asarray, task.train)
    seen = task.train if data is None else data
    held_out = seen if task.test is None else jax.tree.map(jnp.asarray, task.test)
    shown = contender.shown or optaxaccel.eval_params

    def made(number, cosine, steps):
        def decay(step):
            return jnp.where(cosine, 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1.0))), 1.0)

        return optax.with_extra_args_support(contender.make(number, decay))

    def excess(params, net_state):
        both = [batches.measure(task, params, net_state, where) for where in (seen, held_out)]
        return jnp.stack([metrics.get("gap", metrics["loss"]) for metrics in both]).astype(jnp.float32)

    @jax.jit
    def run(number, cosine, steps, seed):
        key = jax.random.key(seed)
        tx = made(number, cosine, steps)
        params, net_state = task.init(key)
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)

        def step(t, carry):
            params, net_state, state, order = carry
            batch, order = batches.take(task, data, order, key, t)
            own = jax.random.fold_in(key, t)

            def loss(p):
                value, (after, _) = task.loss(p, net_state, batch, key=own, train=True)
                return value.astype(jnp.float32), after

            (value, after), grad = jax.value_and_grad(loss, has_aux=True)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=lambda p: loss(p)[0])
            return optax.apply_updates(params, updates), after, state, order

        carry = (params, net_state, tx.init(params), batches.first_order(task))
        gaps = [excess(params, net_state)]
        for low, high in ((0, steps // 4), (steps // 4, steps)):
            carry = jax.lax.fori_loop(low, high, step, carry)
            gaps.append(excess(shown(carry[2], carry[0]), carry[1]))
        return jnp.stack(gaps)

    return run


class Records:
    """Lines of what was run, each once."""

    def __init__(self, path: Path):
        self.path = path
        self.done = {score.key(row) for row in score.read(path)} if path.exists() else set()

    def add(self, run, row: dict[str, Any]) -> None:
        """Run what a row says and write it down, unless it is there."""
        if score.key(row) in self.done:
            return
        begun, steps = time.process_time(), row["steps"]
        gaps = [run(row["number"], row["cosine"], steps, seed).tolist() for seed in row["seeds"]]
        cpu = round((time.process_time() - begun) / len(gaps), 3)
        rounded = [[[float(f"{x:.4g}") for x in pair] for pair in each] for each in gaps]
        with self.path.open("a") as file:
            file.write(
                json.dumps({**row, "start": rounded[0][0][0], "found": [e[1:] for e in rounded], "cpu": cpu}) + "\n"
            )
        self.done.add(score.key(row))


def main() -> None:
    """Run one phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=("trials", "finals"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--contenders", nargs="*", default=list(CONTENDERS))
    parser.add_argument("--records", type=Path, default=Path(__file__).with_name("records.jsonl"))
    options = parser.parse_args()
    records = Records(options.records)
    rows = score.read(options.records) if options.records.exists() else []
    for name in options.tasks:
        task = tasks.make(name, size="smoke", **TASKS[name])
        for label in options.contenders:
            contender, begun = CONTENDERS[label], time.process_time()
            run = functools.cache(program)(task, contender)
            base = {"task": name, "contender": label, "phase": options.phase[:-1]}
            if options.phase == "trials":
                for number in contender.numbers:
                    for cosine, steps in ((False, 1), (True, 1), (True, 4)):
                        setting = {"number": number, "cosine": cosine, "steps": task.steps // steps}
                        records.add(run, {**base, **setting, "seeds": [TRIAL_SEED]})
            else:
                for number, cosine, steps in settings(rows, name, label, contender, task.steps):
                    setting = {"number": number, "cosine": cosine, "steps": steps}
                    records.add(run, {**base, **setting, "seeds": list(SEEDS)})
            print(f"{name:22s} {label:26s} {time.process_time() - begun:6.1f} s of CPU", flush=True)


def settings(rows: Any, task: str, label: str, contender: Any, steps: int) -> list[tuple[float, bool, int]]:
    """Return what runs with five seeds: the default, and for each budget the calibrated and the tuned setting."""
    wanted = {(contender.default, False, steps)}
    for budget, whole in ((0, steps // 4), (1, steps)):
        for choose in (score.tuned, score.calibrated):
            chosen = choose(rows, task, label, budget) if contender.numbers else None
            if chosen is not None:
                number, cosine = chosen
                wanted.add((number, cosine, whole if cosine else steps))
    return sorted(wanted)


if __name__ == "__main__":
    main()
