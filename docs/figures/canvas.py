"""What the figures share: how a method is run on a function of two numbers, and how a picture is stored small."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import optaxaccel

matplotlib.use("Agg")
STATIC = Path(__file__).parents[1] / "_static"
MAX_BYTES = 150_000


def make(method: str, arguments: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """Return a method of the registry, or a baseline `optax.<name>`, with its hyperparameters."""
    if method.startswith("optax."):
        return optax.with_extra_args_support(getattr(optax, method.removeprefix("optax."))(**arguments))
    return optaxaccel.METHODS[method].make(**arguments)


def path_of(
    tx: optax.GradientTransformationExtraArgs, loss: Callable[[jax.Array], jax.Array], start: list[float], steps: int
) -> np.ndarray:
    """Return the points that a method passes, [steps + 1, d]: the iterates that it wants evaluated."""
    with jax.enable_x64(True):
        params = jnp.array(start, jnp.float64)
        state = tx.init(params)

        def step(carry, _):
            params, state = carry
            value, grad = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
            params = optax.apply_updates(params, updates)
            return (params, state), optaxaccel.eval_params(state, params)

        _, points = jax.lax.scan(step, (params, state), length=steps)
        return np.concatenate([np.array(start)[None], np.asarray(points)])


def save(figure: Any, name: str, colours: int = 128, methods: Sequence[str] = ()) -> Path:
    """Store a figure as a PNG with few colours and the names of its methods; refuse one that would be heavy in git."""
    path = STATIC / name
    figure.savefig(path, dpi=110)
    return shrink(path, path, colours, methods)


def shrink(source: Path, path: Path, colours: int, methods: Sequence[str] = ()) -> Path:
    """Store a picture with few colours and the names of its methods; refuse one that would be heavy in git."""
    metadata = PngInfo()
    metadata.add_text("methods", " ".join(methods))
    with Image.open(source) as image:
        image.convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            path, optimize=True, pnginfo=metadata
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes, more than {MAX_BYTES}. Draw less, or with fewer colours.")
    print(f"{path.name}: {size} bytes")
    return path
