"""A loss of what would be written: a network of the zoo, or one of your own, on training images."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from optaxaccel import models
from optaxaccel.tasks import batches
from optaxaccel.tasks.images import images
from optaxaccel.training.histories import layout

Tree = Any
JUDGES = 1024  # images that judge, as beside training


def loss_on(
    model: Any, dataset: Any, *, data_dir: str | None = None, model_args: Mapping[str, Any] | None = None
) -> Callable[[Tree], float]:
    """Return the mean loss of a network, a function of a checkpoint's parameters (and of its running statistics).

    It is that of 1,024 training images, evenly spread over the set, as it comes: no augmentation, no dropout. Test
    images choose nothing.

    Args:
      model: a name of MODELS, `my_module:Network`, or a `Model`.
      dataset: see `optaxaccel.tasks.images`.
      data_dir: folder of prepared TFDS data.
      model_args: overrides of the model.

    Raises:
      ValueError: there are no such model or data; when it is called, the tree is not one of this network.

    Example:
      >>> loss = loss_on("mlp", "digits", model_args={"hidden": (8,)})
      >>> from optaxaccel.models import make
      >>> network = make("mlp", classes=10, input_shape=(8, 8, 1), hidden=(8,))
      >>> params, _ = network.init(jax.random.key(0), np.ones((1, 8, 8, 1)))
      >>> zero = jax.tree.map(np.zeros_like, params)
      >>> round(loss({"params": zero}), 4)  # ln 10: all classes are as likely
      2.3026
    """
    network = model if isinstance(model, models.Model) else partial(models.make, model, **(model_args or {}))
    task = images(model=network, dataset=dataset, data_dir=data_dir)
    like = jax.eval_shape(task.init, jax.random.key(0))
    count = batches.examples(task.train)
    chosen = np.linspace(0, count - 1, min(JUDGES, count)).astype(int)
    part = jax.tree.map(lambda leaf: leaf[chosen], task.train)
    measured = jax.jit(lambda params, net_state: batches.measure(task, params, net_state, part)["loss"])

    def loss(tree: Tree) -> float:
        params, net_state = _filled(like, layout.leaves(tree), f"model {model!r} for {dataset!r}")
        return float(measured(params, net_state))

    return loss


def _filled(like: Any, by_names: Mapping[layout.Names, Any], what: str) -> Any:
    """Return parameters and state of a network from the leaves of a checkpoint, which are found by their names.

    Raises:
      ValueError: a leaf is missing, has another shape, or is left over.
    """
    leaves = {layout.bare(names): leaf for names, leaf in by_names.items()}
    used = set()

    def filled(part: Tree, name: str) -> Tree:
        def leaf(path: Any, shape: Any) -> Any:
            names = tuple(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)
            place = next((p for p in ((name, *names), names) if p in leaves), None)
            have = None if place is None else np.shape(leaves[place])
            if place is None or have != shape.shape:
                there = "is not among" if place is None else f"has the shape {have} in"
                raise ValueError(
                    f"{'/'.join(names)}, {shape.shape} in {what}, {there} the parameters of the checkpoints, so this "
                    "is not the network that was trained. Pass its --model, --model-args and --data, or --value-fn "
                    "FILE.py:FUNCTION."
                )
            used.add(place)
            return np.asarray(leaves[place])

        return jax.tree_util.tree_map_with_path(leaf, part)

    trees = filled(like[0], "params"), filled(like[1], "net_state")
    left = [names for names in leaves if names not in used]
    if left:
        raise ValueError(
            f"{'/'.join(left[0])} of the checkpoints is not in {what}, so this is not the network that was trained. "
            "Pass its --model, --model-args and --data, or --value-fn FILE.py:FUNCTION."
        )
    return trees
