"""Run the self-tuning track: trials, then runs with five seeds; `python experiments/self_tuning/track.py --help`.

    python experiments/self_tuning/track.py trials     # twenty settings of Adam and of momentum on every task
    python experiments/self_tuning/track.py finals     # defaults, calibrated and tuned settings, with five seeds
    python experiments/self_tuning/track.py errors     # the finals of tasks with classes again: held-out errors
    python experiments/self_tuning/track.py times      # processor time of a step of each, in turns
    python experiments/self_tuning/page.py             # the tables, from the records alone

All append to `records.jsonl` and skip what is there already.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import score
import track_tasks
from contenders import CONTENDERS
from track_tasks import TASKS

import optaxaccel
from optaxaccel import tasks
from optaxaccel.tasks import batches

TRIAL_SEED, SEEDS = 1000, (0, 1, 2, 3, 4)
ROUNDS = 7
REFRESH = 20  # batches that move batch statistics to the parameters that are measured


def program(task: tasks.Task, contender: Any):
    """Return the compiled `run(number, cosine, steps, seed, measured)`: the excess at each of `score.POINTS` places.

    Row k of the result, (POINTS + 1, 3), is what is measured after k / POINTS of the steps: the excess on the training
    and on the test data, and the share of test examples that are wrong (NaN without classes); zeros where nothing is.
    """
    data = None if callable(task.train) else jax.tree.map(jnp.asarray, task.train)
    seen = task.train if data is None else data
    held_out = seen if task.test is None else jax.tree.map(jnp.asarray, task.test)
    shown = contender.shown or optaxaccel.eval_params

    def made(number, cosine, steps):
        def decay(step):
            return jnp.where(cosine, 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1.0))), 1.0)

        return optax.with_extra_args_support(contender.make(number, decay))

    @jax.jit
    def run(number, cosine, steps, seed, measured=True):
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

        def excess(t, carry):
            params, net_state, state, order = carry
            params = shown(state, params)

            def refresh(j, carry):
                net_state, order = carry
                batch, order = batches.take(task, data, order, key, t + j)
                return task.loss(params, net_state, batch, key=jax.random.fold_in(key, t + j), train=True)[1][0], order

            if jax.tree.leaves(net_state):
                net_state, _ = jax.lax.fori_loop(0, REFRESH, refresh, (net_state, order))
            both = [batches.measure(task, params, net_state, where) for where in (seen, held_out)]
            gaps = [metrics.get("gap", metrics["loss"]) for metrics in both]
            return jnp.stack([*gaps, 1.0 - both[1].get("accuracy", jnp.nan)]).astype(jnp.float32)

        def place(carry, k):
            low, high = steps * (k - 1) // score.POINTS, steps * k // score.POINTS
            carry = jax.lax.fori_loop(jnp.maximum(low, 0), high, step, carry)
            return carry, jax.lax.cond(measured, lambda: excess(high, carry), lambda: jnp.zeros(3))

        carry = (params, net_state, tx.init(params), batches.first_order(task))
        return jax.lax.scan(place, carry, jnp.arange(score.POINTS + 1))[1]

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
        gaps = np.array([run(row["number"], row["cosine"], steps, seed) for seed in row["seeds"]], np.float64)
        cpu = round((time.process_time() - begun) / len(gaps), 3)
        start = gaps[0, 0, 0]
        ends = gaps[:, [score.POINTS // 4, score.POINTS]]
        if row["phase"] == "error":
            self._write({**row, "ends": rounded(ends[:, :, 2])})
            return
        made = {"start": rounded(start), "ends": rounded(ends[:, :, :2]), "cpu": cpu}
        if row["phase"] == "final":
            made["curve"] = rounded([score.mean(score.clipped(values, start)) for values in gaps[:, :, 0].T])
        self._write({**row, **made})

    def times(self, runs: dict[str, Any], task: str, steps: int) -> None:
        """Write down the processor time of a step of each, medians of rounds in which everyone has a turn."""
        rows = {}
        for label in runs:
            where = {"task": task, "contender": label, "phase": "time", "number": CONTENDERS[label].default}
            row = {**where, "cosine": False, "steps": steps}
            if score.key(row) not in self.done:
                rows[label] = row
        taken: dict[str, list[float]] = {label: [] for label in rows}
        for turn in range(ROUNDS + 1):  # the first one compiles
            for label, row in rows.items():
                begun = time.process_time()
                jax.block_until_ready(runs[label](row["number"], False, steps, turn, measured=False))
                taken[label].append(time.process_time() - begun)
        for label, row in rows.items():
            self._write({**row, "microseconds": rounded(1e6 * np.median(taken[label][1:]) / steps)})
        print(f"{task:22s} {len(rows)} timed", flush=True)

    def _write(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
        self.done.add(score.key(row))


def rounded(values: Any) -> Any:
    """Return nested lists of numbers with four digits; what is not finite becomes None."""
    if np.ndim(values):
        return [rounded(value) for value in values]
    return float(f"{values:.4g}") if np.isfinite(values) else None


def main() -> None:
    """Run one phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=("trials", "finals", "errors", "times"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--contenders", nargs="*", default=list(CONTENDERS))
    parser.add_argument("--records", type=Path, default=Path(__file__).with_name("records.jsonl"))
    options = parser.parse_args()
    records = Records(options.records)
    for name in options.tasks:
        task = track_tasks.make(name)
        if options.phase == "errors" and task.score != "accuracy":
            continue
        runs = {label: program(task, CONTENDERS[label]) for label in options.contenders}
        if options.phase == "times":
            records.times(runs, name, task.steps // 4)
            continue
        for label, run in runs.items():
            begun = time.process_time()
            rows = score.read(options.records) if options.records.exists() else []
            for number, cosine, steps in settings(options.phase, rows, name, label, task.steps):
                setting = {"number": number, "cosine": cosine, "steps": steps}
                seeds = [TRIAL_SEED] if options.phase == "trials" else list(SEEDS)
                row = {"task": name, "contender": label, "phase": options.phase[:-1], **setting, "seeds": seeds}
                records.add(run, row)
            print(f"{name:22s} {label:26s} {time.process_time() - begun:6.1f} s of CPU", flush=True)


def settings(phase: str, rows: Any, task: str, label: str, steps: int) -> list[tuple[float, bool, int]]:
    """Return (number, cosine, steps) of what runs.

    Trials: every number, constant and with a cosine for each budget. Finals: the default, and for each budget the
    calibrated and the tuned setting.
    """
    contender = CONTENDERS[label]
    if phase == "trials":
        ways = [(False, steps)] + [(True, each) for each in (steps, steps // 4) if contender.cosine]
        return [(number, cosine, each) for number in contender.numbers for cosine, each in ways]
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
