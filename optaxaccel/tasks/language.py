"""Language models: a transformer that tells the next character, or the next word, of a text."""

import re
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel.models import transformer
from optaxaccel.tasks.task import Task

BUILT_IN = "python"


def language(
    *,
    text: str = BUILT_IN,
    unit: Literal["character", "word"] = "character",
    characters: int = 200_000,
    vocabulary: int = 1000,
    length: int = 64,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    dropout: float = 0.0,
    dtype: str = "float32",
    batch_size: int = 32,
    steps: int = 1000,
) -> Task:
    """Return a language model; its score is the perplexity of the text's last tenth.

    The tenth before it is held out to tune on. Windows do not overlap, and are seen in another order every epoch.

    Args:
      text: a file in UTF-8, or "python" for the reference of the language that ships with Python (`pydoc_data`).
      unit: what a token is: a character, or a word or other sign.
      characters: how much of the text is taken, from its beginning.
      vocabulary: most different tokens; the rarest share one.
      length: tokens of a window.
      layers: of the transformer, see `optaxaccel.models.transformer.make`.
      width: likewise.
      heads: likewise.
      dropout: likewise.
      dtype: likewise, "float32" or "bfloat16".
      batch_size: windows a step.
      steps: updates of a run.

    Raises:
      ValueError: the text is too short or not in UTF-8, or an argument is out of range; FileNotFoundError: there is no
        such file.
    """
    for name, value, least in (("characters", characters, 1), ("vocabulary", vocabulary, 2), ("length", length, 1)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r} leaves no text to learn from. Pass an integer >= {least}.")
    tokens, classes = _tokens(_text(text)[:characters], unit, vocabulary)
    windows = len(tokens) // (length + 1)
    held_out = max(1, windows // 10)
    if windows < 3 or windows - 2 * held_out < batch_size:
        raise ValueError(
            f"The text has {len(tokens):,} tokens, {windows:,} windows of {length + 1}: too few for a batch of "
            f"{batch_size} beside what is held out. Pass a longer text, or a smaller length or batch_size."
        )
    cut = {"tokens": tokens[: windows * (length + 1)].reshape(windows, length + 1)}
    parts = {"train": slice(0, windows - 2 * held_out), "validation": slice(windows - 2 * held_out, windows - held_out)}
    parts["test"] = slice(windows - held_out, windows)
    model = transformer.make(
        classes=classes, length=length, layers=layers, width=width, heads=heads, dropout=dropout, dtype=dtype
    )

    def loss(params, net_state, batch, *, key, train):
        tokens = batch["tokens"].astype(jnp.int32)
        logits, net_state = model.apply(params, net_state, tokens[:, :-1], key=key, train=train)
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]))
        return value, (net_state, {})

    arrays: dict[str, Any] = {name: {"tokens": cut["tokens"][rows]} for name, rows in parts.items()}
    return Task(
        lambda key: model.init(key, jnp.zeros((1, length), jnp.int32)),
        loss,
        **arrays,
        batch_size=batch_size,
        eval_batch_size=4 * batch_size,
        score="perplexity",
        predict=lambda params, net_state, tokens: model.apply(params, net_state, tokens)[0],
        finish=lambda means: {"perplexity": jnp.exp(means["loss"])},
        steps=steps,
        note=f"{classes} different {unit}s",
    )


def _text(name: str) -> str:
    if name == BUILT_IN:
        from pydoc_data import topics

        return "\n".join(topics.topics[key] for key in sorted(topics.topics))
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"No file {path} in {Path.cwd()}. Pass the path of a text, or 'python' for one that is there."
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8 ({error}). Save it in UTF-8: text = open(path, encoding='latin-1').read(), then "
            "open(path, 'w', encoding='utf-8').write(text)."
        ) from error


def _tokens(text: str, unit: str, vocabulary: int) -> tuple[np.ndarray, int]:
    """Return a text as numbers, and how many different ones there are.

    >>> _tokens("a b, a", "word", 9)[0].tolist(), _tokens("abca", "character", 2)[0].tolist()
    ([1, 2, 0, 1], [1, 0, 0, 1])
    """
    if unit not in ("character", "word"):
        raise ValueError(f"unit={unit!r} is unknown. Pass 'character' or 'word'.")
    parts = list(text) if unit == "character" else re.findall(r"\w+|[^\w\s]", text)
    kinds, index, counts = np.unique(np.array(parts, dtype=str), return_inverse=True, return_counts=True)
    if len(kinds) > vocabulary:
        often = np.argsort(-counts, kind="stable")[: vocabulary - 1]
        place = np.zeros(len(kinds), np.int64)
        place[np.sort(often)] = np.arange(1, vocabulary)
        index, kinds = place[index], kinds[:vocabulary]
    return index.astype(np.int32), len(kinds)
