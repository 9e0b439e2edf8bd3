"""Image classification as a task: any model of the zoo on any data set that is held in memory."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import data, models
from optaxaccel.data.arrays import from_arrays, part
from optaxaccel.data.floating import as_trained
from optaxaccel.data.hugging_face import from_hugging_face, is_hugging_face
from optaxaccel.models import Model
from optaxaccel.models.own import model_of
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
      model: a name of MODELS, or a `Model`: two pure functions; or what `models.register` takes, a class or a function
        of `classes` and `input_shape`, which is how a network gets arguments that are called like some of these.
      dataset: a data set's name, the path of an .npz file or of an image folder, or a dictionary of arrays, see
        `optaxaccel.data.arrays.from_arrays`, or what `datasets.load_dataset` of Hugging Face returned, see
        `optaxaccel.data.hugging_face`, or the `Dataset` that these made; one that is held in memory.
      batch_size: images a step.
      normalise: what becomes of pixels, see `optaxaccel.data.normalisation`.
      augment: see `optaxaccel.data.prepare`.
      steps: updates of a run.
      train_split: the images to train on, in TFDS notation; the splits of a set in memory are "train" and "test".
      test_split: the images to measure on, likewise.
      data_dir: folder of prepared TFDS data.
      **model_args: overrides of the model.
    """
    if isinstance(dataset, str | os.PathLike):
        loaded = data.load(os.fspath(dataset), train_split=train_split, test_split=test_split, data_dir=data_dir)
    else:
        loaded = part(_in_memory(dataset), train_split, test_split)
    mean, std = data.normalisation(loaded, normalise)
    shape = loaded.train.image.shape[1:]
    network = model
    if not isinstance(model, Model):
        make = partial(model_of, model) if callable(model) else partial(models.make, model)
        network = make(classes=loaded.classes, input_shape=shape, **model_args)

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
        """Take images uint8 or, where those of the set were floating, as the set holds them; return logits."""
        image = image if isinstance(image, jax.Array) else np.asarray(image)
        image = as_trained(image, loaded.levels, shape[-1])
        return network.apply(params, net_state, data.prepare(jnp.asarray(image), mean=mean, std=std))[0]

    arrays: dict[str, Any] = {"train": _plain(loaded.train), "test": _plain(loaded.test)}
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


def _in_memory(dataset: Any) -> data.Dataset:
    if isinstance(dataset, data.Dataset):
        return dataset
    if is_hugging_face(dataset):
        return from_hugging_face(dataset)
    if isinstance(dataset, Mapping):
        return from_arrays(dataset)
    raise ValueError(
        f"dataset is a {type(dataset).__name__}. Pass a name, a path, a dictionary of x_train, y_train, x_test and "
        "y_test, what datasets.load_dataset returned, or what from_arrays or from_hugging_face made of them."
    )


def _plain(images: data.Images) -> dict[str, np.ndarray]:
    return {"image": images.image, "label": images.label}
