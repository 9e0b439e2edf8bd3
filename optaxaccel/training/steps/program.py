"""The compiled functions of a run. Runs that differ only in numbers, schedules and seed share one program."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import data, models
from optaxaccel.training.run.optimizer import Recipe
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps.evaluate import evaluate_batch
from optaxaccel.training.steps.feed import Feed, Source
from optaxaccel.training.steps.loss import Batch, Options, objective
from optaxaccel.training.steps.parallel import AXIS, Layout
from optaxaccel.training.steps.state import TrainState, init_state
from optaxaccel.training.steps.step import packed, train_step

Numbers = Mapping[str, Any]


class Program(NamedTuple):
    """Compiled functions; `state` is donated to `step`.

    Attributes:
      init: (seed, numbers) -> state, replicated.
      step: (state, numbers, *source) -> (state, METRICS in one array).
      evaluate: (state, images, labels, weight) -> sums over one batch.
      spread: what the step takes, from what is replicated; `pmap` wants a copy a device along a first axis.
      refresh: (state, *source) -> state with the batch statistics moved by one training batch, the parameters as they
        were; under `jit` only.
      value: (params, net_state, key, images, labels) -> mean loss over batches [count, batch, ...], not augmented, with
        the batch statistics of each; not compiled, since it is a part of other functions.
      collect: what is replicated, from what the step returns.
      compile_seconds: what compiling took, once for all runs that share the program.
    """

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, jax.Array]]
    evaluate: Callable[..., Mapping[str, jax.Array]]
    refresh: Callable[..., TrainState]
    value: Callable[..., jax.Array]
    spread: Callable[[Any], Any]
    collect: Callable[[Any], Any]
    compile_seconds: float


def numbers_of(run: Run, recipe: Recipe) -> Numbers:
    """Return the numbers that the compiled step takes as an argument."""
    decay = {"loss": "penalty", "decoupled": "shrinkage"}[run.decay]
    numbers: dict[str, Any] = {"method": recipe.numbers}
    if run.weight_decay:
        numbers[decay] = np.float32(run.weight_decay)
    return numbers


_PROGRAMS: dict[str, Any] = {}


def program(run: Run, recipe: Recipe, feed: Feed, layout: Layout, source: Source) -> Program:
    """Return the run's compiled functions, from earlier runs if they shared them."""
    numbers = numbers_of(run, recipe)
    key = key_of(run, recipe, layout, (numbers, source))
    return remembered(key, lambda: _compile(run, recipe, feed, layout, numbers, source))


def key_of(run: Run, recipe: Recipe, layout: Layout, arguments: Any) -> str:
    """Return what two runs have in common that share their compiled functions."""
    shapes = jax.tree.map(np.shape, arguments)
    key = repr((run.method, sorted(recipe.static.items()), shapes, run.model, run.model_args, run.augment, layout))
    key += repr((run.data, run.data_dir, run.train_split, run.batch_size, run.image_size, run.normalise))
    return key + repr((run.precision, run.micro_batches, run.remat, run.on_fault))


def remembered(key: str, compile: Callable[[], Any]) -> Any:
    """Return what was compiled under this key before, or compile it; the last sixteen are remembered."""
    if key not in _PROGRAMS:
        while len(_PROGRAMS) >= 16:
            _PROGRAMS.pop(next(iter(_PROGRAMS)))
        _PROGRAMS[key] = compile()
    return _PROGRAMS[key]


def model_of(run: Run, feed: Feed, layout: Layout) -> models.Model:
    """Return the run's network; batch statistics are averaged over a mapped axis where there is one."""
    overrides = dict(run.model_args)
    if run.precision != "float32":
        overrides["dtype"] = run.precision
    if layout.mode == "pmap" and "axis_name" in models.overrides_of(run.model):
        overrides["axis_name"] = AXIS
    return models.make(run.model, classes=feed.classes, input_shape=feed.shape, **overrides)


class Functions(NamedTuple):
    """The functions of a run before they are compiled, see `Program`."""

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, jax.Array]]
    evaluate: Callable[..., Mapping[str, jax.Array]]
    refresh: Callable[..., TrainState]
    value: Callable[..., jax.Array]


def functions(run: Run, recipe: Recipe, feed: Feed, layout: Layout) -> Functions:
    """Return the functions of a run; of its numbers and its seed, which they take, they know nothing."""
    model = model_of(run, feed, layout)

    def init(seed, numbers):
        x = data.prepare(jnp.zeros((1, *feed.shape), jnp.uint8), mean=feed.mean, std=feed.std)
        return init_state(model, recipe.build(numbers["method"]), seed, x)

    def evaluate(state, images, labels, weight):
        x = data.prepare(images, mean=feed.mean, std=feed.std)
        return evaluate_batch(model, state, Batch(x, labels), weight)

    def refresh(state, *source):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        images, _ = feed.select(source, state.step, None, run.batch_size)
        x = data.prepare(images, key=key, mean=feed.mean, std=feed.std, augment=run.augment, train=True)
        return state.replace(net_state=model.apply(state.params, state.net_state, x, key=key, train=True)[1])

    def value(params, *, net_state, key, images, labels):
        def of_batch(batch):
            x = data.prepare(batch[0], mean=feed.mean, std=feed.std)
            return objective(model, params, net_state, Batch(x, batch[1]), key=key, penalty=None)[0]

        return jnp.mean(jax.lax.map(of_batch, (images, labels)))

    return Functions(init, _step(run, recipe, feed, layout, model), evaluate, refresh, value)


def _compile(run: Run, recipe: Recipe, feed: Feed, layout: Layout, numbers: Numbers, source: Source) -> Program:
    init, step, evaluate, refresh, value = functions(run, recipe, feed, layout)
    started = time.perf_counter()
    compiled_init = jax.jit(init, out_shardings=layout.replicated).lower(np.uint32(0), numbers).compile()
    state = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=layout.replicated),
        jax.eval_shape(init, np.uint32(0), numbers),
    )
    if layout.mode == "pmap":
        in_axes = (0, None, *(0 for _ in source))
        compiled_step = jax.pmap(step, axis_name=AXIS, in_axes=in_axes, donate_argnums=0)
    else:
        jitted = jax.jit(step, donate_argnums=0, out_shardings=layout.replicated)
        compiled_step = jitted.lower(state, numbers, *source).compile()
    compiled_evaluate, compiled_refresh = (jax.jit(f, out_shardings=layout.replicated) for f in (evaluate, refresh))
    spread, collect = (layout.stack, layout.unstack) if layout.mode == "pmap" else (_same, _same)
    seconds = time.perf_counter() - started
    return Program(compiled_init, compiled_step, compiled_evaluate, compiled_refresh, value, spread, collect, seconds)


def _same(tree: Any) -> Any:
    return tree


def _step(run: Run, recipe: Recipe, feed: Feed, layout: Layout, model: models.Model) -> Callable:
    """Return the step on its part of the batch: all of it under jit, a device's share under pmap."""
    mapped = layout.mode == "pmap"
    size = run.batch_size // layout.count if mapped else run.batch_size

    def step(state, numbers, *source):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step), 1)
        share = jax.lax.axis_index(AXIS) if mapped else None
        if share is not None:
            key = jax.random.fold_in(key, share)
        images, labels = feed.select(source, state.step, share, size)
        x = data.prepare(images, key=key, mean=feed.mean, std=feed.std, augment=run.augment, train=True)
        options = Options(
            penalty=numbers.get("penalty"),
            shrinkage=numbers.get("shrinkage"),
            micro_batches=run.micro_batches,
            remat=run.remat,
            skip=run.on_fault == "skip",
            axis_name=AXIS if mapped else None,
        )
        state, metrics = train_step(model, recipe.build(numbers["method"]), state, Batch(x, labels), options)
        return state, packed(metrics)

    return step
