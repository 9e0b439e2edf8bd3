"""The compiled functions of a run. Runs that differ only in numbers, schedules and seed share one program."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optaxaccel import data, models
from optaxaccel.training.run.optimizer import Recipe
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import diagnosing
from optaxaccel.training.steps.evaluated_state import evaluate_batch
from optaxaccel.training.steps.feed import Feed, Resident, Select, Source
from optaxaccel.training.steps.loss import Batch, Options, objective
from optaxaccel.training.steps.parallel import AXIS, Layout
from optaxaccel.training.steps.remember import remembered
from optaxaccel.training.steps.several import Late, convolves, several
from optaxaccel.training.steps.state import TrainState, init_state
from optaxaccel.training.steps.step import packed, train_step

Numbers = Mapping[str, Any]
_DECAYS = {"loss": "penalty", "decoupled": "shrinkage"}  # the number's name, by where the decay acts


class Program(NamedTuple):
    """Compiled functions; `state` is donated to `step`.

    Attributes:
      init: (seed, numbers) -> state, replicated.
      step: (state, numbers, *source) -> (state, METRICS and what the method tells in one array); compiled when it is
        called first, where there is `several`.
      several: (state, numbers, count, *source) -> (state, the same of every step), see `several.several`; None where a
        step is long, or what it takes changes from step to step.
      evaluate: (state, images, labels, weight) -> sums over one batch.
      spread: what the step takes, from what is replicated; `pmap` wants a copy a device along a first axis.
      refresh: (state, *source) -> state with the batch statistics moved by one training batch, the parameters as they
        were; under `jit` only.
      value: (params, net_state, key, images, labels) -> mean loss over batches [count, batch, ...], not augmented, with
        the batch statistics of each; not compiled, since it is a part of other functions.
      collect: what is replicated, from what the step returns.
      readings: names of what the method tells, see `diagnosing.kinds`.
      compile_seconds: what compiling took, once for all runs that share the program.
    """

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, jax.Array]]
    several: Callable[..., tuple[TrainState, jax.Array]] | None
    evaluate: Callable[..., Mapping[str, jax.Array]]
    refresh: Callable[..., TrainState]
    value: Callable[..., jax.Array]
    spread: Callable[[Any], Any]
    collect: Callable[[Any], Any]
    readings: diagnosing.Kinds
    compile_seconds: float


def numbers_of(run: Run, recipe: Recipe) -> Numbers:
    """Return the numbers that the compiled step takes as an argument."""
    numbers: dict[str, Any] = {"method": recipe.numbers}
    if run.weight_decay:
        numbers[_DECAYS[run.decay]] = np.float32(run.weight_decay)
    return numbers


class Blueprint(NamedTuple):
    """All that compiled functions may depend on, beside what they are called with; an array or a name, never a run.

    Attributes:
      recipe: the method and what shapes its program; without numbers.
      decay: "penalty" or "shrinkage", or empty where there is no weight decay.
      network: the model's card.
      model_args: its overrides, precision and mapped axis included.
      classes: number of classes.
      shape: (height, width, channels) of an image.
      mean: normalisation, see `data.prepare`.
      std: likewise.
      augment: the run's.
      batch_size: images a step, on all devices.
      micro_batches: the run's.
      remat: the run's.
      skip: whether steps with a fault are dropped.
      select: how a batch is taken from what the step receives, see `Feed`.
      layout: where arrays live.
    """

    recipe: Recipe
    decay: str
    network: models.ModelCard
    model_args: Mapping[str, Any]
    classes: int
    shape: tuple[int, ...]
    mean: Any
    std: Any
    augment: str
    batch_size: int
    micro_batches: int
    remat: bool
    skip: bool
    select: Select
    layout: Layout


def blueprint(run: Run, recipe: Recipe, feed: Feed, layout: Layout) -> Blueprint:
    """Return what the compiled functions of a run may depend on."""
    return Blueprint(
        recipe=recipe._replace(numbers={}),
        decay=_DECAYS[run.decay] if run.weight_decay else "",
        network=models.card_of(run.model),
        model_args=_overrides(run, layout),
        classes=feed.classes,
        shape=feed.shape,
        mean=feed.mean,
        std=feed.std,
        augment=run.augment,
        batch_size=run.batch_size,
        micro_batches=run.micro_batches,
        remat=run.remat,
        skip=run.on_fault == "skip",
        select=feed.select,
        layout=layout,
    )


def program(run: Run, recipe: Recipe, feed: Feed, layout: Layout, source: Source) -> Program:
    """Return the run's compiled functions, from earlier runs if they shared them."""
    shapes = jax.tree.map(_shape_of, (numbers_of(run, recipe), source))
    at_once = not run.log_every and run.seconds is None  # nobody counts on every step's being over by itself
    return remembered(_compile, blueprint(run, recipe, feed, layout), at_once, *shapes)


def _shape_of(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(np.shape(array), array.dtype, sharding=getattr(array, "sharding", None))


def _overrides(run: Run, layout: Layout) -> dict[str, Any]:
    """Return the model's overrides; batch statistics are averaged over a mapped axis where there is one."""
    overrides = dict(run.model_args)
    if run.precision != "float32":
        overrides["dtype"] = run.precision
    if layout.mode == "pmap" and "axis_name" in models.overrides_of(run.model):
        overrides["axis_name"] = AXIS
    return overrides


def model_of(plan: Blueprint) -> models.Model:
    """Return the network."""
    return models.make(plan.network.name, classes=plan.classes, input_shape=plan.shape, **plan.model_args)


class Functions(NamedTuple):
    """The functions of a run before they are compiled, see `Program`."""

    init: Callable[..., TrainState]
    step: Callable[..., tuple[TrainState, jax.Array]]
    evaluate: Callable[..., Mapping[str, jax.Array]]
    refresh: Callable[..., TrainState]
    value: Callable[..., jax.Array]


def functions(plan: Blueprint) -> Functions:
    """Return the functions of a run; of its numbers and its seed, which they take, they know nothing."""
    model, recipe = model_of(plan), plan.recipe
    scale = {"mean": plan.mean, "std": plan.std}

    def init(seed, numbers):
        x = data.prepare(jnp.zeros((1, *plan.shape), jnp.uint8), **scale)
        return init_state(model, recipe.build(numbers["method"]), seed, x)

    def evaluate(state, images, labels, weight):
        x = data.prepare(images, **scale)
        return evaluate_batch(model, state, Batch(x, labels), weight)

    def refresh(state, *source):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        images, _ = plan.select(source, state.step, None, plan.batch_size)
        x = data.prepare(images, key=key, augment=plan.augment, train=True, **scale)
        return state.replace(net_state=model.apply(state.params, state.net_state, x, key=key, train=True)[1])

    def value(params, *, net_state, key, images, labels):
        def of_batch(batch):
            x = data.prepare(batch[0], **scale)
            return objective(model, params, net_state, Batch(x, batch[1]), key=key, penalty=None)[0]

        return jnp.mean(jax.lax.map(of_batch, (images, labels)))

    return Functions(init, _step(plan, model), evaluate, refresh, value)


def _compile(plan: Blueprint, at_once: bool, numbers: Numbers, source: Source) -> Program:
    """Compile the functions for numbers and batches of these shapes; `at_once` allows many steps in one call."""
    init, step, evaluate, refresh, value = functions(plan)
    layout, started = plan.layout, time.perf_counter()
    compiled_init = jax.jit(init, out_shardings=layout.replicated).lower(np.uint32(0), numbers).compile()
    state = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=layout.replicated),
        jax.eval_shape(init, np.uint32(0), numbers),
    )
    compiled_several = None
    if layout.mode == "pmap":
        in_axes = (0, None, *(0 for _ in source))
        compiled_step = jax.pmap(step, axis_name=AXIS, in_axes=in_axes, donate_argnums=0)
    else:
        options = {"donate_argnums": 0, "out_shardings": layout.replicated}
        lowered = partial(jax.jit(step, **options).lower, state, numbers, *source)
        if at_once and _are_short(plan, state):
            compiled_step = Late(lambda: lowered().compile())
            count = jax.ShapeDtypeStruct((), np.int32)
            compiled_several = jax.jit(several(step), **options).lower(state, numbers, count, *source).compile()
        else:
            compiled_step = lowered().compile()
    compiled_evaluate, compiled_refresh = (jax.jit(f, out_shardings=layout.replicated) for f in (evaluate, refresh))
    spread, collect = (layout.stack, layout.unstack) if layout.mode == "pmap" else (_same, _same)
    readings, seconds = diagnosing.kinds(state.opt_state), time.perf_counter() - started
    rest = (compiled_evaluate, compiled_refresh, value, spread, collect, readings, seconds)
    return Program(compiled_init, compiled_step, compiled_several, *rest)


def _are_short(plan: Blueprint, state: TrainState) -> bool:
    """Return whether many steps may be one call: from data on one device, without convolutions, which are long."""
    return isinstance(plan.select, Resident) and plan.layout.count == 1 and not convolves(state.params)


def _same(tree: Any) -> Any:
    return tree


def _step(plan: Blueprint, model: models.Model) -> Callable:
    """Return the step on its part of the batch: all of it under jit, a device's share under pmap."""
    mapped = plan.layout.mode == "pmap"
    size = plan.batch_size // plan.layout.count if mapped else plan.batch_size

    def step(state, numbers, *source):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step), 1)
        share = jax.lax.axis_index(AXIS) if mapped else None
        if share is not None:
            key = jax.random.fold_in(key, share)
        images, labels = plan.select(source, state.step, share, size)
        x = data.prepare(images, key=key, mean=plan.mean, std=plan.std, augment=plan.augment, train=True)
        options = Options(
            **({plan.decay: numbers[plan.decay]} if plan.decay else {}),
            micro_batches=plan.micro_batches,
            remat=plan.remat,
            skip=plan.skip,
            axis_name=AXIS if mapped else None,
        )
        state, metrics = train_step(model, plan.recipe.build(numbers["method"]), state, Batch(x, labels), options)
        return state, packed(metrics)

    return step
