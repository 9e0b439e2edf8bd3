"""Image classification as a task: any model of the zoo on any data set that is held in memory."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import data, models
from optaxaccel.data.arrays import from_arrays
from optaxaccel.data.hugging_face import from_hugging_face, is_hugging_face
from optaxaccel.models import Model
from optaxaccel.tasks.task import Task


def images(
    *,
    model: Any = "mlp",
    dataset: Any = "digits",
    batch_size: int = 128,
    normalise: str = "channel",
    augment: str = "none",
    steps: int = 1000,
    train_split: str = "train",
    test_split: str = "test",
    data_dir: str | None = None,
    **model_args: Any,
) -> Task:
    """Return image classification, with accuracy as the score.

    Args:
      model: a name of MODELS, or a `Model`: two pure functions.
      dataset: a data set's name, the path of an .npz file or of an image folder, or a dictionary of arrays, see
        `optaxaccel.data.arrays.from_arrays`, or what `datasets.load_dataset` of Hugging Face returned, see
        `optaxaccel.data.hugging_face`; one that is held in memory.
      batch_size: images a step.
      normalise: what becomes of pixels, see `optaxaccel.data.normalisation`.
      augment: see `optaxaccel.data.prepare`.
      steps: updates of a run.
      train_split: the images to train on, in TFDS notation.
      test_split: the images to measure on, likewise.
      data_dir: folder of prepared TFDS data.
      **model_args: overrides of the model.
    """
    if is_hugging_face(dataset):
        loaded = from_hugging_face(dataset)
    elif isinstance(dataset, Mapping):
        loaded = from_arrays(dataset)
    else:
        loaded = data.load(dataset, train_split=train_split, test_split=test_split, data_dir=data_dir)
    mean, std = data.normalisation(loaded, normalise)
    shape = loaded.train.image.shape[1:]
    network = model
    if not isinstance(model, Model):
        network = models.make(model, classes=loaded.classes, input_shape=shape, **model_args)

    def init(key):
        return network.init(key, data.prepare(jnp.zeros((1, *shape), jnp.uint8), mean=mean, std=std))

    def loss(params, net_state, batch, *, key, train):
        noise = jax.random.fold_in(key, 1)
        x = data.prepare(batch["image"], key=noise, mean=mean, std=std, augment=augment, train=train)
        logits, net_state = network.apply(params, net_state, x, key=key if train else None, train=train)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["label"][:, None], axis=1)
        right = jnp.mean((jnp.argmax(logits, -1) == batch["label"]).astype(jnp.float32))
        return jnp.mean(losses), (net_state, {"accuracy": right})

    def predict(params, net_state, image):
        return network.apply(params, net_state, data.prepare(jnp.asarray(image), mean=mean, std=std))[0]

    parts = {name: _plain(part) for name, part in (("train", loaded.train), ("test", loaded.test))}
    arrays: dict[str, Any] = parts
    return Task(
        init,
        loss,
        **arrays,
        batch_size=batch_size,
        score="accuracy",
        predict=predict,
        higher_is_better=True,
        steps=steps,
        note=loaded.note,
    )


def _plain(part: data.Images) -> dict[str, np.ndarray]:
    return {"image": part.image, "label": part.label}
