"""A plain loss in `compare`: what a newcomer passes, and what is said of what cannot work."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel import tasks, training
from optaxaccel.tasks import Task, from_loss
from optaxaccel.training.steps import fingerprint

X = {"x": np.linspace(-1.0, 1.0, 40).reshape(20, 2), "y": np.ones(20)}
SGD = {"sgd": optax.sgd(0.1)}


def bowl(params):
    return jnp.sum(params**2)


def line(params, batch):
    return jnp.mean((batch["x"] @ params - batch["y"]) ** 2)


def compared(loss=bowl, params=jnp.ones(2), **more):
    return training.compare(loss, SGD, params=params, steps=2, evaluations=1, progress=False, **more)


def test_one_run_is_made_where_all_seeds_are_alike(tmp_path):
    result = compared(data=X, loss=line, tune_seeds=3, folder=tmp_path)
    assert len(result.records) == 1
    head = str(result.table()).splitlines()[:2]
    assert head == ["line: loss, one run, as every seed gives the same", "all 20 examples at every step"]
    assert "±" not in str(result.table()).partition("\n")[2]
    assert len(compared(data=X, loss=line, folder=tmp_path).records) == 1  # and reads it again


@pytest.mark.parametrize(
    ("more", "batch"),
    [
        ({"params": lambda key: jax.random.normal(key, (2,))}, ""),
        ({"loss": line, "data": X, "batch_size": 5}, "5 of 20 examples a step"),
    ],
)
def test_seeds_that_differ_are_all_run(more, batch):
    result = compared(seeds=3, **more)
    assert len(result.records) == 3
    table = str(result.table())
    assert "mean ± standard error over 3 seeds" in table
    assert batch in table
    assert len({record.rows[-1]["loss"] for record in result.records}) == 3


def test_the_table_tells_the_batch_of_final_runs_and_not_of_tuning():
    sgd = {"sgd": (optax.sgd, {"learning_rate": (0.1, 0.2)})}
    result = training.compare(
        line, sgd, params=jnp.ones(2), data=X, batch_size=4, steps=2, seeds=1, evaluations=1, progress=False
    )
    assert result.table().title.splitlines() == ["line: loss, one seed", "4 of 20 examples a step"]


@pytest.mark.parametrize("train_too", [False, True])
def test_a_loss_that_names_a_key_gets_one_that_differs_from_step_to_step(train_too):
    def noisy(params, batch, key):
        return line(params, batch) + jax.random.normal(key, ())

    def dropped(params, batch, *, key, train):
        return noisy(params, batch, key) if train else line(params, batch)

    loss = dropped if train_too else noisy
    task = from_loss(loss, jnp.ones(2), train=X)
    there = [float(task.loss(jnp.ones(2), {}, X, key=jax.random.key(k), train=True)[0]) for k in (0, 1)]
    assert there[0] - there[1] == pytest.approx(
        float(jax.random.normal(jax.random.key(0), ()) - jax.random.normal(jax.random.key(1), ())), abs=1e-5
    )
    evaluated = [float(task.loss(jnp.ones(2), {}, X, key=jax.random.key(k), train=False)[0]) for k in (0, 1)]
    assert (evaluated[0] == evaluated[1]) == train_too
    assert not fingerprint.seeds_are_alike(task)


def test_a_batch_may_be_called_train():
    def loss(params, train):
        return line(params, train)

    task = from_loss(loss, jnp.ones(2), train=X)
    assert float(task.loss(jnp.ones(2), {}, X, key=None, train=False)[0]) == float(line(jnp.ones(2), X))


def test_seeds_matter_wherever_the_key_goes():
    def noisy(params, net_state, batch, *, key, train):
        return jnp.sum(params) + jax.random.normal(key, ()), (net_state, {})

    drawn = Task(lambda key: (jnp.ones(2), {}), noisy)
    sampled = Task(
        lambda key: (jnp.ones(()), {}),
        lambda p, s, b, *, key, train: (p * b, (s, {})),
        train=lambda key: jax.random.uniform(key),
    )
    assert not any(map(fingerprint.seeds_are_alike, (drawn, sampled, tasks.make("copy", size="smoke"))))
    assert fingerprint.seeds_are_alike(tasks.make("rosenbrock", size="smoke"))


REFUSED = {
    "lengths": (
        lambda: compared(line, data={"x": np.ones((20, 2)), "y": np.ones(19)}),
        "loss(params, batch) failed for a batch of batch['x'] float32 (20, 2), batch['y'] float32 (19,). The first",
    ),
    "two arguments": (
        lambda: compared(lambda params, x, y: jnp.sum(params), data=(np.ones(3), np.ones(3))),
        "It is called as loss(params, batch). All of the data come as one argument: def loss(params, batch): x, y = b",
    ),
    "no data": (lambda: compared(line), "It is called as loss(params). Pass data=batch"),
    "three results": (lambda: compared(lambda params: (bowl(params), 1.0, 2.0)), "return loss, {'accuracy': accuracy}"),
    "a dictionary": (lambda: compared(lambda params: {"loss": bowl(params)}), "returned a dict for a loss"),
    "lists": (
        lambda: compared(line, data={"x": np.ones((2, 2)).tolist()}),
        "train['x'] is a list. Pass arrays: np.",
    ),
    "an init of more": (
        lambda: compared(params=lambda key, x: x),
        "It is called with a key alone: lambda key:",
    ),
    "an error of others": (
        lambda: compared(lambda params: {}["w"]),
        "loss(params) failed for a batch of no data",
    ),
    "a vector": (lambda: compared(lambda params: params**2), "jnp.mean(loss)"),
    "metrics": (lambda: compared(lambda params: (bowl(params), params)), "return loss, {'accuracy': accuracy}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_plain_loss_is_refused_in_its_own_words(case):
    call, said = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        call()
    assert "net_state" not in str(caught.value)


def test_double_precision_that_is_on_stays_on():
    with jax.enable_x64(True):
        result = compared(params=jnp.ones(2) / 3.0)
    assert result.records[0].rows[-1]["loss"] == pytest.approx(2 * (0.8**2 / 3.0) ** 2, rel=1e-14)
    assert from_loss(bowl, jnp.ones(2)).precision == "float32"


class Weak(NamedTuple):
    rate: jax.Array


def test_a_step_is_compiled_once_though_the_first_state_is_weakly_typed():
    """Its second compilation would count among the seconds of training."""
    traced = []

    def update(updates, state, params=None):
        del params
        traced.append(jax.typeof(state.rate).weak_type)
        return jax.tree.map(lambda g: -state.rate * g, updates), Weak(state.rate * jnp.float32(0.5))

    tx = optax.GradientTransformation(lambda params: Weak(jnp.asarray(0.25)), update)
    training.compare(bowl, {"weak": tx}, params=jnp.ones(2), steps=4, evaluations=2, progress=False)
    assert not any(traced)
