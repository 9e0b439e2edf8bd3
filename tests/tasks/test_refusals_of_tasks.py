"""A task that cannot be trained is refused before any work, with the remedy."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel import tasks, training
from optaxaccel.tasks import Task, from_loss

X = {"x": np.arange(6.0), "y": np.ones(6)}


def good(params, net_state, batch, *, key, train):
    return jnp.mean((batch["x"] * params["w"] - batch["y"]) ** 2), (net_state, {"half": params["w"] / 2})


def made(loss=good, init=lambda key: ({"w": jnp.ones(())}, {}), train=X, **more):
    return Task(init, loss, train=train, **{"name": "mine", "batch_size": 2, **more})


def with_state(params, net_state, batch, *, key, train):
    return good(params, net_state, batch, key=key, train=train)[0], ({"mean": jnp.zeros(3)}, {})


REFUSED = {
    "lengths": (lambda: made(train={"x": np.ones(6), "y": np.ones(5)}), "batch_size=None to use them whole"),
    "NaN data": (lambda: made(train={"x": np.array([1.0, np.nan]), "y": np.ones(2)}), "np.nan_to_num(train['x'])"),
    "words": (lambda: made(train={"x": np.array(["a", "b"]), "y": np.ones(2)}), "Encode it as numbers"),
    "lists": (lambda: made(train={"x": [1.0, 2.0], "y": np.ones(2)}), "Pass arrays"),
    "batch too large": (lambda: made(batch_size=7), "exceeds the 6 training examples"),
    "no examples": (lambda: made(train={"x": np.ones(0), "y": np.ones(0)}, batch_size=1), "exceeds the 0"),
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


FILE = """
import jax.numpy as jnp
from optaxaccel.tasks import from_loss


def make_task(*, size="small", at=3.0):
    return from_loss(lambda x: jnp.sum((x - at) ** 2), jnp.zeros(2), name=size)


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
