"""Whole training steps of our methods against what users would take instead, batch 128.

Peers: optax's line searches, L-BFGS, Polyak step size, schedule-free SGD and MoMo; jaxopt's Anderson acceleration, the
last release, where it is installed; PAL's rule in PyTorch, for the ratio of a line search to a plain step there.
Steps are so short that every round does the same work; searches with a variable number of trials are capped.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

import optaxaccel
from benchmarks.measure import Donated, Row, interleave, rows_of
from optaxaccel import models

RATE = 1e-4


def run(rounds: int) -> list[Row]:
    """Return one row a variant."""
    rows = []
    for model, shape, share in (("mlp", (28, 28, 1), 1), ("cnn", (32, 32, 3), 4)):
        overrides = {"hidden": (512, 512)} if model == "mlp" else {}
        net = models.make(model, classes=10, input_shape=shape, **overrides)
        rows += _steps(f"{model} {shape[0]}x{shape[1]}x{shape[2]}", net, shape, max(5, rounds // share))
    return rows + _fixed_point(rounds) + _line_search_in_torch(max(5, rounds // 4))


def _steps(title: str, net: models.Model, shape: tuple[int, ...], rounds: int) -> list[Row]:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(128, *shape)).astype(np.float32))
    label = jnp.asarray(rng.integers(0, 10, 128))
    params, net_state = net.init(jax.random.key(0), x[:1])

    def loss_fn(params):
        logits, _ = net.apply(params, net_state, x, train=False)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))

    def stepper(tx):
        tx = optax.with_extra_args_support(tx)

        def step(carry):
            params, state = carry
            value, grad = jax.value_and_grad(loss_fn)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss_fn)
            return optax.apply_updates(params, updates), state

        # optax.lbfgs puts one buffer twice into a fresh state, which cannot be donated; a copy of each leaf can.
        return Donated(step, jax.tree.map(jnp.array, (params, tx.init(params))))

    zoom = optax.scale_by_zoom_linesearch(max_linesearch_steps=5)
    backtracking = optax.scale_by_backtracking_linesearch(max_backtracking_steps=1)
    forward = jax.jit(loss_fn)
    variants = {
        "optax.sgd(momentum)": stepper(optax.sgd(RATE, momentum=0.9)),
        "forward pass": lambda: forward(params),
        "pal": stepper(optaxaccel.pal(measuring_step_size=RATE, max_step_size=RATE)),
        "indian": stepper(optaxaccel.indian(RATE)),
        "agd": stepper(optaxaccel.agd(RATE)),
        "nesterov": stepper(optaxaccel.nesterov(RATE)),
        "interpolatron": stepper(optaxaccel.interpolatron(RATE)),
        "anderson": stepper(optaxaccel.anderson(RATE)),
        "optax.adam": stepper(optax.adam(RATE)),
        "optax.sgd + backtracking, one trial": stepper(optax.chain(optax.sgd(RATE), backtracking)),
        "optax.sgd + zoom, five trials": stepper(optax.chain(optax.sgd(RATE), zoom)),
        "optax.lbfgs, five trials": stepper(optax.lbfgs(linesearch=zoom)),
        "optax.polyak_sgd": stepper(optax.polyak_sgd(RATE)),
        "optax.contrib.schedule_free_sgd": stepper(optax.contrib.schedule_free_sgd(RATE)),
        "optax.contrib.momo": stepper(optax.contrib.momo(RATE)),
    }
    timings = interleave(variants, rounds=rounds)
    limit = 1 + timings["forward pass"].ratio
    return rows_of(f"whole step against peers, {title}", timings, goals={"pal": limit + 0.05}, limits={"pal": limit})


def _fixed_point(rounds: int) -> list[Row]:
    """Compare a step of Anderson acceleration with jaxopt's, on the map of gradient descent on a quadratic."""
    title = "one step of Anderson acceleration, history 5, gradient descent on a quadratic of 10^6 parameters"
    if importlib.util.find_spec("jaxopt") is None:
        return [{"benchmark": title, "variant": "jaxopt: not installed (pip install jaxopt)"}]
    jaxopt = importlib.import_module("jaxopt")
    curvature = jnp.linspace(0.1, 1.0, 10**6)
    start = jnp.ones(10**6)
    theirs = jaxopt.AndersonAcceleration(lambda x: x - curvature * x, history_size=5, ridge=1e-6, jit=True)
    tx = optaxaccel.anderson(1.0, history=5)

    def our_step(carry):
        x, state = carry
        updates, state = tx.update(curvature * x, state, x)
        return optax.apply_updates(x, updates), state

    def their_step(carry):
        return tuple(theirs.update(*carry))

    variants = {
        "jaxopt.AndersonAcceleration": Donated(their_step, jax.tree.map(jnp.array, (start, theirs.init_state(start)))),
        "anderson": Donated(our_step, (jnp.copy(start), tx.init(start))),
    }
    return rows_of(title, interleave(variants, rounds=rounds))


def _line_search_in_torch(rounds: int) -> list[Row]:
    """Time PAL's step against SGD's in PyTorch, for the ratio that the published implementation lives with."""
    title = "a parabolic line search in PyTorch, mlp 784-512-512-10"
    if importlib.util.find_spec("torch") is None:
        return [{"benchmark": title, "variant": "PyTorch: not installed (pip install torch)"}]
    torch, nn = importlib.import_module("torch"), importlib.import_module("torch.nn")
    torch.set_num_threads(os.cpu_count() or 1)
    x, label = torch.randn(128, 784), torch.randint(0, 10, (128,))

    def network():
        net = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
        return net, list(net.parameters())

    def loss_and_gradient(net, params):
        loss = nn.functional.cross_entropy(net(x), label)
        return loss, torch.autograd.grad(loss, params)

    def plain() -> Callable[[], None]:
        net, params = network()
        optimiser = torch.optim.SGD(params, lr=RATE, momentum=0.9)

        def step() -> None:
            _, grads = loss_and_gradient(net, params)
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
            optimiser.step()

        return step

    def searching() -> Callable[[], None]:
        net, params = network()
        buffers = [torch.zeros_like(param) for param in params]

        @torch.no_grad()
        def move(length: float, norm: float) -> None:
            torch._foreach_add_(params, buffers, alpha=-length / norm)

        def step() -> None:
            loss, grads = loss_and_gradient(net, params)
            with torch.no_grad():
                torch._foreach_mul_(buffers, 0.4)
                torch._foreach_add_(buffers, list(grads))
                norm = float(torch.stack(torch._foreach_norm(buffers)).norm())
                slope = -sum(float((g * b).sum()) for g, b in zip(grads, buffers, strict=True)) / norm
                move(RATE, norm)
                measured = float(nn.functional.cross_entropy(net(x), label))
            curvature = 2 * ((measured - float(loss.detach())) / RATE - slope) / RATE
            length = min(RATE, -slope / curvature) if curvature > 0 and slope < 0 else RATE
            move(length - RATE, norm)

        return step

    variants = {"torch.optim.SGD(momentum)": plain(), "PAL's rule": searching()}
    return rows_of(title, interleave(variants, rounds=rounds))
