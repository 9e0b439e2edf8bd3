"""Runs of a task that differ in seeds and numbers only, as one program: each is a member with a state of its own.

Many steps are one call. Members are mapped where that is faster; where a method branches or loops, which mapped members
pay for together, a CPU takes one after the other. Several CPU devices share the members. Convolutions on a CPU are
stepped from Python, a call each: inside a compiled loop their gradients are many times slower.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from optaxaccel.methods import contract
from optaxaccel.tasks import batches
from optaxaccel.tasks.task import Task
from optaxaccel.training.run.optimizer import Recipe
from optaxaccel.training.steps import diagnosing
from optaxaccel.training.steps.member import Member
from optaxaccel.training.steps.parallel import AXIS
from optaxaccel.training.steps.state import TrainState

Tree = Any
MAPPED_UP_TO = 20_000  # numbers of a member's parameters; larger ones keep a CPU busy one at a time


class Data(NamedTuple):
    """What the compiled functions take as arguments: arrays to train on, and those that an evaluation measures."""

    train: Tree
    test: Tree


def data_of(task: Task) -> Data:
    """Return a task's arrays on the device; what is drawn by a function is none of them."""

    def placed(source: Any) -> Tree:
        return {} if callable(source) else jax.tree.map(jnp.asarray, source)

    train = placed(task.train)
    return Data(train, train if task.test is None else placed(task.test))


class Program(NamedTuple):
    """Functions over all members of a group.

    Attributes:
      init: (data, seeds, numbers) -> members.
      advance: (data, numbers, members, start, stop, calls) -> members: the steps from `start` up to `stop`; with
        `calls` each goes on from its own number of steps, and none begins after that many oracle calls.
      measure: (data, members) -> metrics of an evaluation, [members] each.
      searches: whether the method searches along lines, so that only its state tells its calls.
      counted: whether it does, or searches for negative curvature: a step has no fixed number of calls.
      values: how often one update calls the loss again, as far as its trace shows.
    """

    init: Callable[..., Member]
    advance: Callable[..., Member]
    measure: Callable[..., Mapping[str, jax.Array]]
    searches: bool
    counted: bool
    values: int


class Functions(NamedTuple):
    """The same for one member."""

    init: Callable[..., Member]
    step: Callable[..., Member]
    measure: Callable[..., Mapping[str, jax.Array]]


def functions(task: Task, recipe: Recipe) -> Functions:
    """Return what one member does."""

    def init(data: Data, seed: jax.Array, numbers: Mapping[str, Any]) -> Member:
        del data
        key = jax.random.key(seed)
        params, net_state = task.init(jax.random.fold_in(key, 0))
        params, net_state = jax.tree.map(jnp.asarray, (params, net_state))
        run_key = jax.random.key_data(jax.random.fold_in(key, 1))
        opt_state = jax.tree.map(_strong, recipe.build(numbers).init(params))
        state = TrainState(jnp.zeros((), jnp.int32), params, net_state, opt_state, run_key)
        zero, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        readings = diagnosing.nothing(contract.diagnostics(state.opt_state))
        return Member(state, batches.first_order(task), none - 1, zero, none, zero, none, none, readings)

    def step(data: Data, numbers: Mapping[str, Any], member: Member, k: jax.Array) -> Member:
        state, key = member.state, jax.random.wrap_key_data(member.state.key)
        batch, order = batches.take(task, data.train, member.order, jax.random.fold_in(key, 1), k)

        def loss_fn(params):
            return task.loss(params, state.net_state, batch, key=jax.random.fold_in(key, k), train=True)

        (loss, (net_state, _)), grad = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = recipe.build(numbers).update(
            grad, state.opt_state, state.params, value=loss, grad=grad, value_fn=lambda params: loss_fn(params)[0]
        )
        params = optax.apply_updates(state.params, updates)
        grad_norm = optax.tree.norm(grad)
        bad = ~jnp.isfinite(loss) | ~jnp.isfinite(grad_norm) | contract.measurement_failed(opt_state)
        values, grads = contract.line_calls(opt_state, state.opt_state) or (0, 0)
        return Member(
            state=TrainState(state.step + 1, params, net_state, opt_state, state.key),
            order=order,
            fault=jnp.where((member.fault < 0) & bad, k.astype(jnp.int32), member.fault),
            loss_sum=member.loss_sum + loss.astype(jnp.float32),
            steps=member.steps + 1,
            grad_norm=grad_norm.astype(jnp.float32),
            values=member.values + jnp.asarray(values, jnp.int32),
            grads=member.grads + jnp.asarray(grads, jnp.int32),
            diagnostics=diagnosing.added(member.diagnostics, contract.diagnostics(opt_state)),
        )

    def measured(data: Data, member: Member) -> Mapping[str, jax.Array]:
        params = contract.eval_params(member.state.opt_state, member.state.params)
        source = task.train if task.test is None else task.test
        return batches.measure(task, params, member.state.net_state, source if callable(source) else data.test)

    return Functions(init, step, measured)


def _strong(leaf: Any) -> jax.Array:
    """Return a number whose type does not yield to others': a step makes it so, and would be compiled for it again."""
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else jax.lax.convert_element_type(leaf, leaf.dtype)


def program(task: Task, recipe: Recipe, data: Data, count: int) -> tuple[Program, int]:
    """Return the compiled functions of a group of `count` members, and how many places it has for them.

    Places beyond the members are filled with the last one again.
    """
    one = functions(task, recipe)
    numbers = {name: jnp.zeros(()) for name in recipe.numbers}
    like = jax.eval_shape(one.init, data, jnp.uint32(0), numbers)
    text, values = _update_text(recipe, numbers, like)
    searches = jax.eval_shape(lambda state: contract.line_calls(state, state), like.state.opt_state) is not None
    traits = (searches, searches or recipe.method.counts_attempts, values)
    spent = partial(_spent, recipe, searches)
    cpu = jax.default_backend() == "cpu"
    if cpu and "conv_general_dilated" in str(jax.make_jaxpr(one.step)(data, numbers, like, jnp.int32(0))):
        return Program(*_stepped(one, spent), *traits), count
    branches = re.search(r"\b(cond|while)\[", text) is not None
    one_at_a_time = cpu and (branches or batches.numbers(like.state.params) > MAPPED_UP_TO)
    devices = jax.devices()[: max(1, min(count, len(jax.devices())))]
    return Program(*_looped(one, spent, one_at_a_time, devices), *traits), -(-count // len(devices)) * len(devices)


def _spent(recipe: Recipe, searches: bool, member: Member) -> Any:
    """Return the oracle calls of a member so far, an array."""
    state = member.state
    if searches:
        return state.step + member.values + member.grads
    cost = sum(recipe.calls(1, 1))  # of a step, or of an attempt where these are counted
    count = contract.search_attempts(state.opt_state) if recipe.method.counts_attempts else state.step
    return state.step + count * cost


def _update_text(recipe: Recipe, numbers: Any, like: Member) -> tuple[str, int]:
    """Return the traced update, on a loss that is one sum, and how often it called that loss."""
    calls = 0

    def loss(params):
        nonlocal calls
        calls += 1
        return sum(jnp.sum(x.real) for x in jax.tree.leaves(params))

    def update(numbers, state):
        extra = {"value": jnp.zeros(()), "grad": state.params, "value_fn": loss}
        return recipe.build(numbers).update(state.params, state.opt_state, state.params, **extra)

    return str(jax.make_jaxpr(update)(numbers, like.state)), calls


def _advance(one: Functions, spent: Callable) -> Callable[..., Member]:
    def advance(common, own):
        """Make the steps of one member; with a limit of calls its own number of steps counts."""
        data, start, stop, calls = common
        numbers, member = own

        def body(carry):
            k, member = carry
            return k + 1, one.step(data, numbers, member, k)

        if calls is None:
            return jax.lax.fori_loop(start, stop, lambda k, m: one.step(data, numbers, m, k), member)

        def goes_on(carry):
            k, member = carry
            return (k < stop) & (spent(member) < calls)

        return jax.lax.while_loop(goes_on, body, (member.state.step, member))[1]

    return advance


def _looped(
    one: Functions, spent: Callable, one_at_a_time: bool, devices: list[Any]
) -> tuple[Callable, Callable, Callable]:
    """Return functions over members of which many steps are a call."""
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))

    def over(function: Callable, **options: Any) -> Callable:
        def mapped(common, own):
            if one_at_a_time:
                return jax.lax.map(partial(function, common), own)
            return jax.vmap(function, in_axes=(None, 0))(common, own)

        whole, part = PartitionSpec(), PartitionSpec(AXIS)
        if len(devices) == 1:
            return jax.jit(mapped, **options)
        specs = {"mesh": mesh, "in_specs": (whole, part), "out_specs": part, "check_vma": False}
        return jax.jit(jax.shard_map(mapped, **specs), **options)

    init = over(lambda data, own: one.init(data, *own))
    measure = over(one.measure)
    go = over(_advance(one, spent))

    def placed(seeds, numbers):
        if len(devices) == 1:
            return seeds, numbers
        return jax.device_put((seeds, numbers), NamedSharding(mesh, PartitionSpec(AXIS)))

    def advance(data, numbers, members, start, stop, calls=None):
        limit = None if calls is None else np.int32(calls)
        return go((data, np.int32(start), np.int32(stop), limit), (numbers, members))

    return lambda data, seeds, numbers: init(data, placed(seeds, numbers)), advance, measure


def _stepped(one: Functions, spent: Callable) -> tuple[Callable, Callable, Callable]:
    """Return functions over members, a list, of which every step is a call."""
    init, step, measure = jax.jit(one.init), jax.jit(one.step, donate_argnums=2), jax.jit(one.measure)

    def each(numbers: Mapping[str, Any], place: int) -> Mapping[str, Any]:
        return {name: value[place] for name, value in numbers.items()}

    def init_all(data, seeds, numbers):
        return [init(data, seed, each(numbers, place)) for place, seed in enumerate(seeds)]

    def advance(data, numbers, members, start, stop, calls=None):
        moved = []
        for place, member in enumerate(members):
            own, k = each(numbers, place), int(start if calls is None else member.state.step)
            while k < stop and (calls is None or spent(member) < calls):
                member = step(data, own, member, np.int32(k))
                k += 1
            moved.append(member)
        return moved

    def measure_all(data, members):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[measure(data, member) for member in members])

    return init_all, advance, measure_all


def look(members: Any) -> tuple[dict[str, np.ndarray], Any]:
    """Return what members tell, [members] each, and the members with their sums begun anew; waits for them."""
    if isinstance(members, list):
        totals = [look(member) for member in members]
        return {name: np.stack([one[name] for one, _ in totals]) for name in totals[0][0]}, [one for _, one in totals]
    names = ("fault", "loss_sum", "steps", "grad_norm", "values", "grads")
    totals = {name: getattr(members, name) for name in names}
    attempts = contract.search_attempts(members.state.opt_state)
    totals |= {"done": members.state.step, "attempts": jnp.broadcast_to(attempts, members.state.step.shape)}
    totals |= {diagnosing.PREFIX + name: value for name, value in members.diagnostics.items()}
    anew = {name: jnp.zeros_like(getattr(members, name)) for name in ("loss_sum", "steps")}
    return jax.device_get(totals), members.replace(**anew, diagnostics=diagnosing.begun_anew(members.diagnostics))
