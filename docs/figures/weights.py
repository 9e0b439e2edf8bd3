"""RNA's weights over time: how a run on the digits is combined after each epoch, and what that does to the accuracy."""

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from canvas import save
from parabola import data_set

import optaxaccel
from optaxaccel import models

K, EPOCHS, BATCH, HELD_OUT = 10, 40, 64, 359
REGULARIZATIONS = (1e-8, 1e-2)


def main() -> None:
    """Train with SGD, extrapolate the last iterates after each epoch, and draw weights and losses."""
    model = models.make("mlp", classes=10)
    images, labels = data_set()
    order = jax.random.permutation(jax.random.key(1), len(labels))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    params, _ = model.init(jax.random.key(0), images[:1])

    def loss(params, rows):
        logits, _ = model.apply(params, {}, images[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    tx = optax.sgd(0.05)

    @jax.jit
    def epoch(params, state, key):
        batches = jax.random.permutation(key, train)[: len(train) // BATCH * BATCH].reshape(-1, BATCH)

        def step(carry, rows):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params, rows), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), batches)[0]

    held_out = jax.jit(lambda p: loss(p, test))
    state, history, plain = tx.init(params), [params], []
    weights = {r: np.full((K, EPOCHS), np.nan) for r in REGULARIZATIONS}
    losses: dict[float, list[float]] = {r: [] for r in REGULARIZATIONS}
    for k in range(EPOCHS):
        params, state = epoch(params, state, jax.random.key(100 + k))
        history = [*history, params][-K - 1 :]
        plain.append(float(held_out(params)))
        for r in REGULARIZATIONS:
            c = np.asarray(optaxaccel.extrapolation_weights(history, regularization=r))
            weights[r][-len(c) :, k] = c
            losses[r].append(float(held_out(optaxaccel.extrapolate(history, regularization=r))))
    draw(weights, plain, losses)


def draw(weights, plain, losses) -> None:
    """Draw the weights as images and the held-out losses as curves."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for panel, r in zip(panels, REGULARIZATIONS, strict=False):
        limit = float(np.nanmax(np.abs(weights[r])))
        newest_first = weights[r][::-1]
        extent = (0.5, EPOCHS + 0.5, K - 0.5, -0.5)
        image = panel.imshow(newest_first, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", extent=extent)
        figure.colorbar(image, ax=panel)
        panel.set_title(f"weights, regularization {r:g}", fontsize=9)
        panel.set_xlabel("epoch", fontsize=8)
        panel.set_ylabel("age of the iterate (0: newest)", fontsize=8)
    epochs = np.arange(1, EPOCHS + 1)
    panels[2].plot(epochs, plain, color="black", label="SGD")
    for r, colour in zip(REGULARIZATIONS, ("tab:red", "tab:blue"), strict=True):
        panels[2].plot(epochs, losses[r], color=colour, label=f"extrapolated, {r:g}")
    panels[2].set(yscale="log")
    panels[2].set_title("loss on held-out images", fontsize=9)
    panels[2].set_xlabel("epoch", fontsize=8)
    panels[2].legend(fontsize=7)
    save(figure, "rna_weights.png", colours=96)


if __name__ == "__main__":
    main()
