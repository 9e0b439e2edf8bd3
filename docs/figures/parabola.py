"""PAL's parabola over the measured loss along its line, at four moments of training a network on the digits."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from canvas import save

import optaxaccel
from optaxaccel import models
from optaxaccel.data import digits

MOMENTS = (0, 5, 40, 200)
MEASURE, LOOSE = 0.1, 0.6


def main() -> None:
    """Train with PAL and draw one panel a moment."""
    model = models.make("mlp", classes=10)
    images, labels = data_set()
    params, _ = model.init(jax.random.key(0), images[:1])

    def loss(params, x, y):
        logits, _ = model.apply(params, {}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    tx = optaxaccel.pal(measuring_step_size=MEASURE, max_step_size=2.0, momentum=0.4, loose_approximation=LOOSE)

    @jax.jit
    def step(params, state, x, y):
        value, grad = jax.value_and_grad(loss)(params, x, y)
        updates, new = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss, x=x, y=y)
        return optax.apply_updates(params, updates), new, value

    state = tx.init(params)
    profile = jax.jit(lambda p, d, s, x, y: optaxaccel.line_profile(loss, p, d, s, x=x, y=y))
    figure, panels = plt.subplots(1, len(MOMENTS), figsize=(11, 3), layout="constrained")
    for count in range(max(MOMENTS) + 1):
        batch = jax.random.choice(jax.random.key(count), len(labels), (64,), replace=False)
        x, y = images[batch], labels[batch]
        before, (params, state, value) = params, step(params, state, x, y)
        if count in MOMENTS:
            along = jax.tree.map(jnp.negative, state.momentum)
            reach = max(2.2 * float(state.step_size), 1.5 * MEASURE)
            distances = np.linspace(-0.3 * reach, reach, 41)
            measured = profile(before, along, distances, x, y)
            draw(panels[MOMENTS.index(count)], count, distances, measured, state, float(value))
    panels[0].set_ylabel("loss of the minibatch", fontsize=9)
    save(figure, "parabola.png", colours=48)


def draw(panel, count, distances, measured, state, value) -> None:
    """Draw the measured line, the parabola, and where the step goes."""
    slope, curvature = float(state.slope), float(state.curvature)
    parabola = value + slope * distances + curvature / LOOSE * distances**2 / 2  # without the loosening factor
    panel.plot(distances, measured, color="black", label="measured")
    panel.plot(distances, parabola, "--", color="tab:blue", label="parabola")
    panel.axvline(0, color="0.8", linewidth=0.8)
    for distance, style, label in ((MEASURE, "tab:blue", "second loss"), (float(state.step_size), "tab:red", "step")):
        panel.plot(distance, np.interp(distance, distances, measured), "o", color=style, markersize=5, label=label)
    panel.set_title(f"step {count}", fontsize=9)
    panel.set_xlabel("distance along the line", fontsize=8)
    low, high = float(np.min(measured)), float(np.max(measured))
    panel.set_ylim(low - 0.25 * (high - low), high + 0.1 * (high - low))
    panel.tick_params(labelsize=7)
    if count == 0:
        panel.legend(fontsize=7)


def data_set() -> tuple[jax.Array, jax.Array]:
    """Return the embedded digits, about standardised, and their labels."""
    image, label = digits.read()
    return jnp.asarray((image / 255.0 - 0.3) / 0.38, jnp.float32), jnp.asarray(label)


if __name__ == "__main__":
    main()
