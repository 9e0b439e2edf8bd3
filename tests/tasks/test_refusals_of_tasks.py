"""A task that cannot be trained is refused before any work, with the remedy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import tasks, training
from optaxaccel.tasks import Task, from_loss, metric_refusals
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.run.spec import Run

X = {"x": np.arange(6.0), "y": np.ones(6)}


def good(params, net_state, batch, *, key, train):
    return jnp.mean((batch["x"] * params["w"] - batch["y"]) ** 2), (net_state, {"half": params["w"] / 2})


def made(loss=good, init=lambda key: ({"w": jnp.ones(())}, {}), train=X, **more):
    return Task(init, loss, train=train, **{"name": "mine", "batch_size": 2, **more})


def with_state(params, net_state, batch, *, key, train):
    return good(params, net_state, batch, key=key, train=train)[0], ({"mean": jnp.zeros(3)}, {})


ROWS = {"x": np.ones((6, 3)), "y": np.ones(6)}


def of_rows(params, net_state, batch, *, key, train):
    return jnp.mean((batch["x"] @ jnp.ones(3) * params["w"] - batch["y"]) ** 2), (net_state, {})


def named(**metrics):
    def loss(params, net_state, batch, *, key, train):
        return good(params, net_state, batch, key=key, train=train)[0], (net_state, metrics)

    return made(loss)


def halved(number):
    return jax.lax.while_loop(lambda x: x > 1e-3, lambda x: x / 2, number)


REFUSED = {
    "lengths": (lambda: made(train={"x": np.ones(6), "y": np.ones(5)}), "batch_size=None to use them whole"),
    "NaN data": (lambda: made(train={"x": np.array([1.0, np.nan]), "y": np.ones(2)}), "np.nan_to_num(train['x'])"),
    "words": (lambda: made(train={"x": np.array(["a", "b"]), "y": np.ones(2)}), "Encode it as numbers"),
    "lists": (lambda: made(train={"x": [1.0, 2.0], "y": np.ones(2)}), "Pass arrays"),
    "batch too large": (lambda: made(batch_size=7), "exceeds the 6 training examples"),
    "no examples": (lambda: made(train={"x": np.ones(0), "y": np.ones(0)}, batch_size=1), "train has no examples"),
    "nothing whole": (
        lambda: made(train={"x": np.ones(0), "y": np.ones(0)}, batch_size=None),
        "train has no examples: train['x'] (0,), train['y'] (0,)",
    ),
    "no test data": (
        lambda: made(test={"x": np.ones(0), "y": np.ones(0)}, batch_size=None),
        "Pass one at least, or test=None",
    ),
    "vector": (lambda: made(lambda p, s, b, *, key, train: (b["x"] * p["w"], (s, {}))), "jnp.mean(loss)"),
    "integer": (lambda: made(lambda p, s, b, *, key, train: (jnp.int32(1), (s, {}))), "Return a float"),
    "loss alone": (lambda: made(lambda p, s, b, *, key, train: p["w"]), "return loss, (net_state, {"),
    "no metrics": (lambda: made(lambda p, s, b, *, key, train: (p["w"], s)), "return loss, (net_state, {"),
    "metric": (lambda: made(lambda p, s, b, *, key, train: (p["w"], (s, {"m": b["x"]}))), "'m' has shape (2,)"),
    "keywords": (lambda: made(lambda p, s, b: (p["w"], (s, {}))), "def loss(params, net_state, batch, *, key, train)"),
    "net_state": (lambda: made(with_state), "net_state"),
    "init": (lambda: made(init=lambda key: {"w": jnp.ones(())}), "return params, {}"),
    "no parameters": (lambda: made(init=lambda key: ({}, {})), "nothing to train"),
    "integers": (lambda: made(init=lambda key: ({"w": jnp.int32(1)}, {})), "has no gradient"),
    "NaN parameters": (lambda: made(init=lambda key: ({"w": jnp.float32(np.nan)}, {})), "not finite at the start"),
    "NaN loss": (lambda: made(lambda p, s, b, *, key, train: (jnp.log(-p["w"]), (s, {}))), "log(0)"),
    "score": (lambda: made(score="halve"), "Did you mean 'half'?"),
    "precision": (lambda: made(precision="half"), "'float32' or 'float64'"),
    "name of a field": (lambda: named(seconds=1.0), "Name it otherwise: 'my_seconds'"),
    "name of the loss": (lambda: named(loss=1.0), "another number than the loss"),
    "finished field": (lambda: made(finish=lambda means: {"step": means["loss"]}), "Name it otherwise: 'my_step'"),
    "finished loss": (lambda: made(finish=lambda means: {"loss": 2 * means["loss"]}), "another number than the loss"),
    "finish fails": (
        lambda: made(finish=lambda means: {"twice": 2 * means["los"]}),
        "KeyError: 'los'. It is called with the means over all examples: loss, half.",
    ),
    "finish is silent": (lambda: made(finish=lambda means: None), "finish returned a NoneType"),
    "finish is no number": (lambda: made(finish=lambda means: {"all": jnp.ones(3)}), "'all' has shape (3,)"),
    "test of other shapes": (
        lambda: made(of_rows, train=ROWS, test={"x": np.ones((4, 2)), "y": np.ones(4)}),
        "there are train['x'] float32 (6, 3), train['y'] float32 (6,) and test['x'] float32 (4, 2)",
    ),
    "validation of other names": (
        lambda: made(validation={"x": np.ones(4)}),
        "validation cannot be evaluated as train is",
    ),
    "test drawn otherwise": (lambda: made(test=lambda key: {"x": jnp.ones(2)}), "test['x'] float32 (2,)"),
    "sampler without a key": (lambda: made(train=lambda: X), "def sample(key): return batch"),
    "number of Python": (lambda: made(lambda p, s, b, *, key, train: (3.0, (s, {}))), "depends on no parameter"),
    "a word in params": (
        lambda: made(init=lambda key: ({"w": jnp.ones(()), "kind": "x"}, {})),
        "params['kind'] is a str",
    ),
    "a word in net_state": (
        lambda: made(init=lambda key: ({"w": jnp.ones(())}, {"kind": "x"})),
        "net_state['kind'] is a str",
    ),
    "NaN gradient": (
        lambda: made(lambda p, s, b, *, key, train: (jnp.sqrt((p["w"] - 1.0) ** 2), (s, {}))),
        "the gradient by params['w'] is not finite at the very start, where the loss is 0. Look for a square root",
    ),
    "no gradient": (
        lambda: made(lambda p, s, b, *, key, train: (halved(p["w"]), (s, {}))),
        "the gradient of the loss cannot be computed",
    ),
    "shapes": (
        lambda: made(lambda p, s, b, *, key, train: (b["x"] @ jnp.ones(9), (s, {}))),
        "a batch of batch['x'] float32 (2,)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_task_is_refused_with_the_remedy(case):
    make, said = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(said)):
        training.compare(make(), ["optax.sgd"], tune={"learning_rate": (0.1,)}, steps=1)


def test_a_good_one_passes():
    tasks.check(made(score="half"))
    tasks.check(from_loss(lambda p: jnp.sum(p**2), jnp.ones(2)))


def test_the_loss_may_be_among_the_metrics():
    def loss(params, batch):
        value = jnp.mean((batch["x"] * params - batch["y"]) ** 2)
        return value, {"loss": value, "root": jnp.sqrt(value)}

    task = from_loss(loss, jnp.ones(()), train=X, batch_size=2)
    tasks.check(task.replace(finish=lambda means: {**means, "root": jnp.sqrt(means["loss"])}, score="root"))


def test_no_metric_may_have_the_name_of_what_rows_of_evaluations_hold(tmp_path):
    """A field that rows get anew must be among the names that are refused."""
    (tmp_path / "mine.py").write_text(FILE)
    place = f"{tmp_path / 'mine.py'}:make_task"
    run = Run(task=place, method="optax.sgd", method_args={"learning_rate": 0.1}, steps=2)
    loop.train(run, tmp_path / "record.jsonl")
    training.compare(made(), ["optax.sgd"], tune={"learning_rate": (0.1,)}, steps=2, folder=tmp_path / "compared")
    paths = [tmp_path / "record.jsonl", *(tmp_path / "compared").glob("*.jsonl")]
    fields = {frozenset(records.read(path).last("eval")) - {"loss", "half"} for path in paths}
    assert len(paths) > 1
    assert fields == {frozenset(metric_refusals.OF_ROWS)}


FILE = """
import jax.numpy as jnp
from optaxaccel.tasks import from_loss


def make_task(*, size="small", at=3.0):
    return from_loss(lambda x: jnp.sum((x - at) ** 2), jnp.zeros(2), name=size)


def make_sized(n, *, scale):
    return from_loss(lambda x: jnp.sum((x - scale) ** 2), jnp.zeros(n))


def make_none():
    return 3


def broken():
    return from_loss(lambda x: x, jnp.zeros(2))
"""


def test_a_task_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    task = tasks.make(f"{path}:make_task", size="smoke", at=1.0)
    assert (task.name, float(task.loss(*task.init(None), {}, key=None, train=True)[0])) == ("smoke", 2.0)
    for place, said in {
        f"{path}:make_tusk": "def make_tusk(): return from_loss(loss, params)",
        f"{path}": "make_task",
        f"{path}:make_none": "returned a int",
        f"{path}:make_sized": "needs n and scale. Pass --task-args n=...,scale=...",
        "no_such_module:make": "could not be imported",
        "rosenbrok": "Did you mean 'rosenbrock'?",
    }.items():
        with pytest.raises(ValueError, match=re.escape(said)):
            tasks.make(place)
    with pytest.raises(ValueError, match="Did you mean 'at'"):
        tasks.make(f"{path}:make_task", att=1.0)
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        tasks.make("none.py:make_task")


def test_a_registered_task_is_known_by_name():
    def mine(*, at=2.0):
        return from_loss(lambda x: (x - at) ** 2, jnp.zeros(()))

    tasks.register("test_mine", mine, smoke={"at": 1.0})
    try:
        assert float(tasks.make("test_mine", size="smoke").loss(0.0, {}, {}, key=None, train=True)[0]) == 1.0
        with pytest.raises(ValueError, match="there already"):
            tasks.register("rosenbrock", mine)
    finally:
        tasks.TASKS.pop("test_mine")
