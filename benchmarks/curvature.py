"""Searches for negative curvature: products inside a compiled step, steps without a search, products needed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxaccel
from benchmarks.measure import Donated, Row, interleave, rows_of
from benchmarks.updates import resnet18_like
from optaxaccel import models

RATE = 1e-4
PRODUCTS = 8
DIMENSION = 68_000
SEEDS = 3
OUTLIERS = np.linspace(0.5, 5.0, 20)
SPECTRA = {  # all but the lowest eigenvalue, -1, of a Hessian whose highest is 5
    "bulk in [-0.01, 0.05]": lambda rng: np.concatenate([rng.uniform(-0.01, 0.05, DIMENSION - 21), OUTLIERS]),
    "bulk in [-0.3, 0.3]": lambda rng: np.concatenate([rng.uniform(-0.3, 0.3, DIMENSION - 21), OUTLIERS]),
    "bulk in [-0.5, 0.5]": lambda rng: np.concatenate([rng.uniform(-0.5, 0.5, DIMENSION - 21), OUTLIERS]),
    "uniform in [0, 5]": lambda rng: rng.uniform(0.0, 5.0, DIMENSION - 1),
}


def diagonal_loss(x: jax.Array, eigenvalues: jax.Array) -> jax.Array:
    """Return a quadratic of these eigenvalues."""
    return 0.5 * jnp.sum(eigenvalues * x**2)


def products_needed(spectrum: np.ndarray, seed: int) -> int:
    """Return how many products Lanczos needs to come within ten per cent of the eigenvalue -1."""
    eigenvalues = jnp.asarray(np.concatenate([[-1.0], spectrum]), jnp.float32)
    for products in range(2, 40):
        outcome = optaxaccel.negative_curvature(
            diagonal_loss,
            jnp.zeros(DIMENSION),
            jax.random.key(seed),
            finder=_lanczos(products),
            eigenvalues=eigenvalues,
        )
        if outcome.eigenvalue < -0.9:
            return products
    return 40


_lanczos = functools.cache(optaxaccel.lanczos)  # one program a number of products


def run(rounds: int, model: str = "cnn", shape: tuple[int, ...] = (28, 28, 1)) -> list[Row]:
    """Return one row a variant."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(128, *shape)).astype(np.float32))
    label = jnp.asarray(rng.integers(0, 10, 128))
    net = models.make(model, classes=10, input_shape=shape)
    params, net_state = net.init(jax.random.key(0), x[:1])

    def loss_fn(params):
        logits, _ = net.apply(params, net_state, x, train=False)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

    return [
        *_search(loss_fn, params, max(3, rounds // 8)),
        *_without_search(loss_fn, params, rounds),
        *_updates_without_search(rounds),
        *(
            {
                "benchmark": f"products to within 10 % of -1, {DIMENSION:,} dimensions, worst of {SEEDS} draws",
                "variant": name,
                "count": max(products_needed(draw(rng), seed) for seed in range(SEEDS)),
                "goal": 12,
            }
            for name, draw in SPECTRA.items()
        ),
    ]


def _search(loss_fn, params, rounds: int) -> list[Row]:
    """Time a search inside a compiled program against the same products one after the other, without a loop."""

    @jax.jit
    def straight(params, vector):
        for _ in range(PRODUCTS):
            vector = jax.jvp(jax.grad(loss_fn), (params,), (vector,))[1]
            vector = optax.tree.scale(1.0 / optax.tree.norm(vector), vector)
        return vector

    finder = optaxaccel.lanczos(PRODUCTS)

    @jax.jit
    def inside(params, searches):
        outcome = jax.lax.cond(
            searches,
            lambda: finder.find(loss_fn, params, jax.random.key(0)).vector,
            lambda: jax.tree.map(jnp.zeros_like, params),
        )
        return outcome

    vector = jax.tree.map(lambda p: jnp.ones_like(p) / 100, params)
    variants = {
        f"{PRODUCTS} products in a row": lambda: straight(params, vector),
        f"lanczos({PRODUCTS}) inside a branch": lambda: inside(params, True),
    }
    goals = {f"lanczos({PRODUCTS}) inside a branch": 1.3}
    return rows_of("search on the 3-conv network, batch 128", interleave(variants, rounds=rounds), goals=goals)


def _without_search(loss_fn, params, rounds: int) -> list[Row]:
    """Time steps in which nothing is searched against the bases."""

    def stepper(tx):
        tx = optax.with_extra_args_support(tx)

        def step(carry):
            params, state = carry
            value, grad = jax.value_and_grad(loss_fn)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss_fn)
            return optax.apply_updates(params, updates), state

        return Donated(step, (jax.tree.map(jnp.copy, params), tx.init(params)))

    variants = {
        "optax.sgd(momentum)": stepper(optax.sgd(RATE, momentum=0.9)),
        "gose_sgd": stepper(optaxaccel.gose_sgd(RATE, gradient_threshold=1e-9)),
        "agd": stepper(optaxaccel.agd(RATE)),
        "gose_agd": stepper(optaxaccel.gose_agd(RATE, gradient_threshold=1e-9)),
    }
    bases = {"gose_sgd": "optax.sgd(momentum)", "gose_agd": "agd"}
    rows: list[Row] = []
    for name, base in bases.items():
        timings = interleave({base: variants[base], name: variants[name]}, rounds=rounds)
        rows += rows_of(f"whole step without a search, cnn, batch 128: {name}", timings, goals={name: 1.05})
    return rows


def _updates_without_search(rounds: int) -> list[Row]:
    """Time updates alone in which nothing is searched against the bases, on 11 million parameters."""
    params = resnet18_like()

    def loss_fn(params):
        return 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    def stepper(tx):
        tx = optax.with_extra_args_support(tx)

        def step(carry, grads):
            params, state = carry
            updates, state = tx.update(grads, state, params, value=jnp.ones(()), grad=grads, value_fn=loss_fn)
            return optax.apply_updates(params, updates), state

        return Donated(step, (jax.tree.map(jnp.copy, params), tx.init(params)), jax.tree.map(lambda p: p / 100, params))

    finder, never = _lanczos(2), 1e-9
    bases = {"gose_sgd": optax.sgd(RATE, momentum=0.9), "gose_agd": optaxaccel.agd(RATE), "ancm": optaxaccel.agd(RATE)}
    methods = {
        "gose_sgd": optaxaccel.gose_sgd(RATE, finder=finder, gradient_threshold=never),
        "gose_agd": optaxaccel.gose_agd(RATE, finder=finder, gradient_threshold=never),
        "ancm": optaxaccel.ancm(RATE, finder=finder, gradient_threshold=never),
    }
    # The least that is read and written besides the base's five arrays: GOSE's mean of gradients. ANCM has nothing.
    limits = {"gose_sgd": 7 / 5, "gose_agd": 7 / 5, "ancm": 1.0}
    rows: list[Row] = []
    for name, tx in methods.items():
        timings = interleave({"its base": stepper(bases[name]), name: stepper(tx)}, rounds=rounds)
        title = f"update alone without a search, 11.2 M parameters, 62 leaves: {name}"
        rows += rows_of(title, timings, goals={name: 1.25}, limits=limits)
    return rows
