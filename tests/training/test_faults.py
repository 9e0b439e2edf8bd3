"""Losses, gradients and measurements that are not finite: what becomes of the step, the run and the record."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.kept import RUN, assert_equal_states, rows

import optaxaccel
from optaxaccel import models
from optaxaccel.training import loop
from optaxaccel.training.steps.loss import Batch, Options
from optaxaccel.training.steps.state import init_state
from optaxaccel.training.steps.step import train_step

BATCH = Batch(jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.array([0, 1, 0, 1]))


def linear(poison_at=None):
    """A linear classifier; with `poison_at`, one whose logits are NaN where a weight exceeds that."""

    def init(key, x):
        return {"w": jnp.zeros((x.shape[-1], 2)), "b": jnp.zeros(2)}, {"seen": jnp.zeros(())}

    def apply(params, net_state, x, *, key=None, train=False):
        logits = x @ params["w"] + params["b"]
        if poison_at is not None:
            logits = jnp.where(jnp.max(jnp.abs(params["w"])) > poison_at, jnp.nan, logits)
        return logits, {"seen": net_state["seen"] + 1}

    return models.Model(init, apply)


@jax.custom_vjp
def bad_gradient(x):
    return x


bad_gradient.defvjp(lambda x: (x, None), lambda _, g: (jnp.full_like(g, jnp.nan),))


def one_bad_leaf():
    """A linear classifier; the gradient in one leaf of it is NaN, the loss is finite."""
    good = linear()
    return models.Model(
        good.init, lambda params, *rest, **more: good.apply({**params, "b": bad_gradient(params["b"])}, *rest, **more)
    )


def step(model, tx, batch, **options):
    state = init_state(model, tx, 0, batch.x)
    return state, *jax.jit(lambda s, b: train_step(model, tx, s, b, Options(**options)))(state, batch)


NAN_IMAGES = BATCH._replace(x=BATCH.x.at[1, 0].set(jnp.nan))
FAULTS = {
    "images": (linear(), optax.adam(0.1), NAN_IMAGES, "loss"),
    "one leaf of the gradient": (one_bad_leaf(), optax.sgd(0.1, momentum=0.9), BATCH, "grad_norm"),
    "measurement": (linear(1e-9), optaxaccel.pal(), BATCH, "measurement_failed"),
    "measurement in a chain": (
        linear(1e-9),
        optax.chain(optax.clip_by_global_norm(1.0), optaxaccel.pal()),
        BATCH,
        "measurement_failed",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_skipped_step_leaves_everything_but_the_count_as_it_was(name):
    model, tx, batch, metric = FAULTS[name]
    before, after, metrics = step(model, optax.with_extra_args_support(tx), batch, skip=True)
    assert metrics["measurement_failed"] if metric == "measurement_failed" else not jnp.isfinite(metrics[metric])
    assert_equal_states(after.replace(step=before.step), before)
    assert after.step == 1


def test_a_good_step_is_not_skipped():
    before, after, metrics = step(linear(), optaxaccel.pal(), BATCH, skip=True)
    assert not metrics["measurement_failed"]
    assert not np.array_equal(before.params["w"], after.params["w"])
    assert after.net_state["seen"] == 1


@pytest.fixture
def poisoned(monkeypatch):
    """Make `mlp` a network that gives NaN in the steps that are named."""

    def plant(*steps):
        make = models.make

        def made(name, **overrides):
            good = make(name, **overrides)

            def init(key, x):
                params, net_state = good.init(key, x)
                return params, {"net": net_state, "calls": jnp.zeros(())}

            def apply(params, net_state, x, *, key=None, train=False):
                logits, new = good.apply(params, net_state["net"], x, key=key, train=train)
                bad = train & jnp.any(jnp.array(steps) == net_state["calls"])
                return jnp.where(bad, jnp.nan, logits), {"net": new, "calls": net_state["calls"] + train}

            return models.Model(init, apply)

        monkeypatch.setattr(models, "make", made)
        monkeypatch.setattr("optaxaccel.training.steps.remember._RESULTS", {})

    return plant


SGD = RUN.replace(method="optax.sgd", method_args={"learning_rate": 0.1}, extrapolate={}, log_every=3)


def test_a_fault_stops_the_run_and_the_record_says_where(tmp_path, poisoned):
    poisoned(7)
    outcome = loop.train(SGD, tmp_path / "record.jsonl")
    assert (outcome.status, outcome.step) == ("diverged", 7)
    record = rows(tmp_path)
    assert record[-1] == {"kind": "end", "status": "diverged", "step": 7, "what": "loss", "skipped": 0}
    assert record[-2]["kind"] == "train"
    assert record[-2]["step"] == 7
    assert np.isfinite(record[-2]["loss"])


def test_skipping_drops_the_step_counts_it_and_gives_up_in_the_end(tmp_path, poisoned):
    poisoned(7)  # a skipped step does not commit the net's state, so that every later call is a seventh one, too
    outcome = loop.train(SGD.replace(on_fault="skip", max_skips=3), tmp_path / "record.jsonl")
    assert (outcome.status, outcome.step) == ("diverged", 10)
    assert rows(tmp_path)[-1]["skipped"] == 3
    stopped = loop.train(SGD.replace(steps=7, on_fault="skip"), tmp_path / "other.jsonl")
    assert_equal_states(stopped.state.params, outcome.state.params)


def test_skipping_survives_a_batch_of_garbage(tmp_path, monkeypatch):
    """One bad batch among good ones: the run goes on, and ends at parameters that the bad one did not touch."""
    from optaxaccel.training.steps import program

    monkeypatch.setattr("optaxaccel.training.steps.remember._RESULTS", {})
    prepare = program.data.prepare

    def garbage(images, *, train=False, **options):
        x = prepare(images, train=train, **options)
        return jnp.where(jnp.sum(images[0].astype(jnp.int32)) == garbage.sum, jnp.nan, x) if train else x

    garbage.sum = first_sum(batch=4)
    monkeypatch.setattr(program.data, "prepare", garbage)
    outcome = loop.train(SGD.replace(on_fault="skip", log_every=1), tmp_path / "record.jsonl")
    assert outcome.status == "done"
    end = rows(tmp_path)[-1]
    assert end["skipped"] >= 1
    trained = [row["step"] for row in rows(tmp_path) if row["kind"] == "train"]
    assert 5 not in trained
    assert 6 in trained


def first_sum(batch):
    """Return the sum of the pixels of the first image in a batch."""
    from optaxaccel import data

    images = data.load("digits").train.image
    order = np.asarray(data.epoch_order(0, batch // (len(images) // 256), len(images)))
    return int(images[order[batch % (len(images) // 256) * 256]].astype(np.int32).sum())
