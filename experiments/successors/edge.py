"""Does a rate on the edge of stability keep the sharpness down that a greedy search lets rise?

Claim:    Roulet et al., 2024 (arXiv 2407.06183): on full batches a search that goes to the lowest point along every
          step lets sharpness rise and steps shrink, and ends above a constant rate; twice that rate (sigma 2) holds
          rate times sharpness near 2 and ends lower.
Protocol: written before running. Gradient descent on a perceptron (two layers of 64 units, tanh), squared error of
          one-hot labels on 512 of the digits, full batch. CDAT with sigma 1 and without means (greedy: the exact
          curvature's lowest point), CDAT with sigma 2 (means 0.9), PAL without momentum, and the best of nine constant
          rates, two a decade, by the loss at the end on a seed of its own. Sharpness by Lanczos's method every
          hundredth of the run. Geometric means over seeds.
Command:  optaxaccel run experiments/successors/edge.py --scale small
Cost:     small: 2,000 steps, 5 seeds, two minutes on one core. Scales differ in steps and seeds.
Expected: over the second half, rate times sharpness of sigma 2 between 1.5 and 2.5 (median); its sharpness below that
          of sigma 1; its loss at the end below that of sigma 1, and that of sigma 1 above the best constant rate.
"""

from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Expect, Measured, Panel, Study

PAPER = "paper, abstract"


def measure(steps: int, seeds: int, places: int, rates: tuple[float, ...]) -> Measured:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import optaxaccel as oa
    from optaxaccel import data
    from optaxaccel.training.keeping.probes import sharpness

    digits = data.load("digits").train
    images = jnp.asarray(np.asarray(digits.image[:512], np.float32).reshape(512, -1) / np.max(digits.image) - 0.3)
    labels = jax.nn.one_hot(digits.label[:512], 10)

    def start(seed):
        keys, sizes = jax.random.split(jax.random.key(seed), 3), (64, 64, 64, 10)
        return [jax.random.normal(k, (m, n)) / m**0.5 for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)]

    def loss(weights):
        x = images
        for weight in weights[:-1]:
            x = jnp.tanh(x @ weight)
        return 0.5 * jnp.mean(jnp.sum((x @ weights[-1] - labels) ** 2, axis=1))

    def trainer(make):
        """Return a function of rate and seed: losses, rates, sharpnesses at some places, and the loss at the end."""

        def step(rate, carry):
            weights, state = carry
            value, grad = jax.value_and_grad(loss)(weights)
            updates, state = make(rate).update(grad, state, weights, value=value, grad=grad, value_fn=loss)
            length = optax.tree.norm(updates) / optax.tree.norm(grad)
            return (optax.apply_updates(weights, updates), state), (value, length)

        @jax.jit
        def block(rate, carry):
            carry, measured = jax.lax.scan(lambda c, _: step(rate, c), carry, None, length=steps // places)
            return carry, measured, loss(carry[0])

        def train(rate, seed):
            carry, rows, end = (start(seed), make(rate).init(start(seed))), [], np.nan
            for _ in range(places):
                sharp = float(sharpness(loss, carry[0]))
                carry, (values, lengths), end = block(rate, carry)
                rows.append((float(values[0]), float(jnp.median(lengths)), sharp))
            return np.array([*rows, (float(end), np.nan, np.nan)])

        return train

    descent = trainer(lambda rate: optax.with_extra_args_support(optax.sgd(rate)))
    ends = {rate: descent(rate, seed=1000)[-1, 0] for rate in rates}
    best = min(ends, key=lambda rate: ends[rate] if np.isfinite(ends[rate]) else np.inf)
    contenders = {
        "sigma 1": trainer(lambda rate: optax.chain(optax.scale(-rate), oa.scale_by_cdat(sigma=1.0, ema_decay=0.0))),
        "sigma 2": trainer(lambda rate: optax.chain(optax.scale(-rate), oa.scale_by_cdat(sigma=2.0, ema_decay=0.9))),
        "PAL without momentum": trainer(
            lambda rate: oa.pal(momentum=0.0, loose_approximation=1.0, max_step_size=10.0 * rate)
        ),
        "constant rate": descent,
    }
    points, values = [], {"best constant rate": best}
    for name, train in contenders.items():
        paths = np.stack([train(best if name == "constant rate" else 1.0, seed) for seed in range(seeds)])
        late = paths[:, places // 2 : places]
        values[f"loss at the end, {name}"] = float(np.exp(np.mean(np.log(paths[:, -1, 0]))))
        values[f"sharpness, second half, {name}"] = float(np.exp(np.mean(np.log(late[:, :, 2]))))
        values[f"rate times sharpness, second half, {name}"] = float(np.median(late[:, :, 1] * late[:, :, 2]))
        for place in range(places):
            row = {"series": name, "x": place * (steps // places)}
            points.append({"panel": "loss", **row, "y": float(np.exp(np.mean(np.log(paths[:, place, 0]))))})
            points.append({"panel": "sharpness", **row, "y": float(np.exp(np.mean(np.log(paths[:, place, 2]))))})
    for name in ("sharpness, second half", "loss at the end"):
        values[f"{name}, sigma 2 over sigma 1"] = values[f"{name}, sigma 2"] / values[f"{name}, sigma 1"]
    values["loss at the end, sigma 1 over constant rate"] = (
        values["loss at the end, sigma 1"] / values["loss at the end, constant rate"]
    )
    return Measured(points, values)


EXPECTED = {
    "rate times sharpness, second half, sigma 2": Expect(1.5, 2.5, PAPER),
    "sharpness, second half, sigma 2 over sigma 1": Expect(0.0, 1.0, PAPER),
    "loss at the end, sigma 2 over sigma 1": Expect(0.0, 1.0, PAPER),
    "loss at the end, sigma 1 over constant rate": Expect(1.0, 1e9, PAPER),
}
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
RUNS = {
    "smoke": Study(measure, {"steps": 20, "seeds": 1, "places": 4, "rates": (0.1,)}, EXPECTED),
    "small": Study(measure, {"steps": 2000, "seeds": 5, "places": 100, "rates": RATES}, EXPECTED),
    "paper": Study(measure, {"steps": 20_000, "seeds": 5, "places": 100, "rates": RATES}, EXPECTED),
}
VERDICT = {
    "small": (
        "reproduced",
        "All four as expected, over five seeds. Sigma 2 holds rate times sharpness at 2.05 and the sharpness at "
        "8, a third of the greedy search's 24, and ends at 0.63 of its loss; the greedy search ends at 1.9 times "
        "the loss of the best constant rate. PAL without momentum is greedy, too: the same sharpness (25), a "
        "loss between (0.026). A constant rate that was tuned still ends lowest (0.020; sigma 2 0.023, with "
        "nothing tuned).",
    )
}
PANELS = {
    "loss": Panel("loss, mean over seeds", "steps", "loss", log="y"),
    "sharpness": Panel("sharpness, mean over seeds", "steps", "largest eigenvalue", log="y"),
}

if __name__ == "__main__":
    run_definition(__file__)
