import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxaccel
from optaxaccel import data, models
from optaxaccel.training import loop
from optaxaccel.training.keeping import metrics, records
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import feed, program

RUN = Run(method="optax.sgd", method_args={"learning_rate": 0.1}, batch_size=64, steps=30, model_args={"hidden": (16,)})


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_times(rows):
    return [{name: value for name, value in row.items() if name not in records.TIMED} for row in rows]


def test_training_learns_and_leaves_a_whole_record(tmp_path):
    outcome = loop.train(RUN, tmp_path / "a.jsonl")
    assert outcome.status == "done"
    record = records.read(tmp_path / "a.jsonl")
    first, last = (next(rows)["loss"] for rows in (iter(record.rows), reversed(record.rows)))
    assert (last / first) ** (1 / RUN.steps) < 0.975  # a step
    assert outcome.last["accuracy"] > 0.5
    assert record.status == "done"
    assert record.start["digest"] == RUN.digest()
    assert record.start["spec"] == RUN.as_dict()
    assert record.start["versions"]["jax"] == jax.__version__
    steps = [row["step"] for row in record.rows if row["kind"] == "eval"]
    assert steps == [0, 22, 30]
    train = [row["step"] for row in record.rows if row["kind"] == "train"]
    assert train[-1] == 30
    assert train == sorted(set(train))


def test_equal_runs_give_equal_records_and_another_seed_another(tmp_path):
    for name, run in {"a": RUN, "b": RUN, "c": RUN.replace(seed=1)}.items():
        loop.train(run, tmp_path / f"{name}.jsonl")
    a, b, c = (without_times(rows_of(tmp_path / f"{name}.jsonl")) for name in "abc")
    assert a == b
    assert a[2] != c[2]


def test_the_end_tells_how_often_negative_curvature_was_searched(tmp_path):
    run = RUN.replace(
        method="gose_sgd", method_args={"learning_rate": 0.1, "check_every": 5, "gradient_threshold": 1e9}, steps=12
    )
    loop.train(run, tmp_path / "a.jsonl")
    assert records.read(tmp_path / "a.jsonl").end["searches"] == 3
    loop.train(RUN, tmp_path / "b.jsonl")
    assert "searches" not in records.read(tmp_path / "b.jsonl").end


def test_the_recorded_losses_are_those_of_plain_descent_on_the_same_batches(tmp_path):
    """The loop against the obvious one: numpy order, jax.grad, p - lr g, nothing shared but model and data."""
    run = dataclasses.replace(RUN, log_every=1, steps=25, weight_decay=0.01)
    loop.train(run, tmp_path / "a.jsonl")
    dataset = data.load("digits")
    model = models.make("mlp", classes=10, input_shape=(8, 8, 1), hidden=(16,))
    x = (dataset.train.image / np.float32(255) - np.float32(dataset.mean)) / np.float32(dataset.std)
    key = jax.random.key(0)
    params, _ = model.init(jax.random.fold_in(key, 0), jnp.asarray(x[:1], jnp.float32))

    @jax.jit
    def loss(params, image, label):
        logits = model.apply(params, {}, image)[0]
        entropy = -jax.nn.log_softmax(logits)[jnp.arange(len(label)), label].mean()
        return entropy + 0.005 * sum((p**2).sum() for p in jax.tree.leaves(params))

    expected = []
    for step in range(25):
        order = np.asarray(data.epoch_order(0, step // 22, 1437))
        chosen = order[(step % 22) * 64 :][:64]
        value, grad = jax.value_and_grad(loss)(params, jnp.asarray(x[chosen]), jnp.asarray(dataset.train.label[chosen]))
        expected.append(float(value))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grad)
    losses = [row["loss"] for row in rows_of(tmp_path / "a.jsonl") if row["kind"] == "train"]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_runs_that_differ_in_numbers_share_one_program(tmp_path):
    made, layout = feed.feed(RUN, 1)
    source = next(made.open(0))

    def compiled(rate):
        run = RUN.replace(method_args={"learning_rate": rate})
        return program.program(run, optimizer.recipe(run, total_steps=30, steps_per_epoch=22), made, layout, source)

    assert compiled(0.1) is compiled(0.2)
    tuning, _ = feed.feed(RUN.replace(validation=0.2), 1)
    settings = optimizer.recipe(RUN, total_steps=30, steps_per_epoch=22), tuning, layout, next(tuning.open(0))
    assert program.program(RUN, *settings) is compiled(0.1)
    loop.train(RUN.replace(method_args={"learning_rate": 0.0}), tmp_path / "still.jsonl")
    rows = records.read(tmp_path / "still.jsonl").rows
    evals = [row["loss"] for row in rows if row["kind"] == "eval"]
    assert evals[0] == evals[-1]


def test_divergence_stops_the_run_and_keeps_the_rows_before_it(tmp_path):
    run = dataclasses.replace(RUN, method_args={"learning_rate": 1e30}, log_every=1)
    outcome = loop.train(run, tmp_path / "a.jsonl")
    assert outcome.status == "diverged"
    record = records.read(tmp_path / "a.jsonl")
    assert record.end["status"] == "diverged"
    assert record.end["step"] == outcome.step
    finite = [row for row in record.rows if row["kind"] == "train"]
    assert finite[-1]["step"] == outcome.step
    assert all(np.isfinite(row["loss"]) for row in finite)


def test_validation_images_come_from_the_training_images_and_replace_the_test_images():
    validation, _ = feed.feed(dataclasses.replace(RUN, validation=0.2), 1)
    full, _ = feed.feed(RUN, 1)
    assert validation.held_out_name == "validation"
    assert validation.examples + validation.held_out_size == full.examples

    def images(*parts):
        return {np.asarray(image).tobytes() for part in parts for image in part}

    valid = [batch[0][np.asarray(batch[2]) > 0] for batch in validation.held_out()]
    trained, _, order, _ = next(validation.open(0))
    assert images(np.asarray(trained)[np.asarray(order)[: validation.examples]], *valid) == images(
        next(full.open(0))[0]
    )


def test_a_feed_goes_on_at_any_step_with_the_batches_it_would_have_given():
    made, _ = feed.feed(RUN, 1)

    def batch(source, step):
        return np.asarray(made.select(source, jnp.int32(step), None, 64)[1])

    whole = dict(zip(range(50), made.open(0), strict=False))
    for first in (0, 1, 21, 22, 43, 49):
        np.testing.assert_array_equal(batch(next(made.open(first)), first), batch(whole[first], first))
    assert not np.array_equal(batch(whole[0], 0), batch(whole[22], 22))


def test_metrics_are_read_after_the_next_step_was_started(tmp_path, monkeypatch):
    """Nothing waits for the newest step, except where an evaluation does."""
    events, whole = [], program.program

    def watched(*arguments):
        compiled = whole(*arguments)

        def step(*given):
            events.append("step")
            return compiled.step(*given)

        return compiled._replace(step=step)

    read = metrics.read

    def reading(collect, pending):
        events.append(f"read {len(pending)}")
        return read(collect, pending)

    monkeypatch.setattr(program, "program", watched)
    monkeypatch.setattr(metrics, "read", reading)
    loop.train(RUN.replace(steps=10, log_every=3, eval_every=1e9), tmp_path / "a.jsonl")
    expected = (
        ["step"] * 4 + ["read 3"] + ["step"] * 3 + ["read 3"] + ["step"] * 3 + ["read 3", "read 1", "read 0"]
    )  # the last for a checkpoint
    assert events == expected


def test_half_precision_computes_so_and_keeps_parameters_and_losses_whole(tmp_path):
    ends = {}
    for precision in ("float32", "bfloat16"):
        run = RUN.replace(precision=precision, log_every=1, steps=5)
        ends[precision] = loop.train(run, tmp_path / f"{precision}.jsonl").state
    assert {leaf.dtype for leaf in jax.tree.leaves(ends["bfloat16"].params)} == {jnp.dtype("float32")}
    whole, half = (
        [row["loss"] for row in records.read(tmp_path / f"{precision}.jsonl").rows]
        for precision in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(half, whole, rtol=0.02)
    assert half != whole
    assert any(loss != float(jnp.bfloat16(loss)) for loss in half)  # summed in more than bfloat16


def test_the_last_row_tells_the_memory(tmp_path):
    loop.train(RUN.replace(steps=1), tmp_path / "a.jsonl")
    assert records.read(tmp_path / "a.jsonl").end["peak_bytes"] > 1e7


def test_the_training_loss_is_evaluated_over_training_images_at_the_iterate_to_evaluate(tmp_path):
    run = RUN.replace(method="agd", method_args={"learning_rate": 0.5}, steps=5, validation=0.2)
    outcome = loop.train(run, tmp_path / "a.jsonl")
    row = records.read(tmp_path / "a.jsonl").last("train_eval")
    made, layout = feed.feed(run, None)
    members, dataset = np.asarray(made.resident[2]), data.load("digits")
    assert row["step"] == 5
    assert made.trained_size == len(members)  # fewer than 5,000
    x = data.prepare(dataset.train.image[members], mean=made.mean, std=made.std)
    recipe = optimizer.recipe(run, total_steps=5, steps_per_epoch=made.examples // run.batch_size)
    model = program.model_of(program.blueprint(run, recipe, made, layout))
    params = optaxaccel.eval_params(outcome.state.opt_state, outcome.state.params)
    losses = {}
    for name, at in (("evaluated", params), ("other", outcome.state.params)):
        logits = model.apply(at, {}, x, key=None, train=False)[0]
        labels = dataset.train.label[members]
        losses[name] = float(optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean())
    assert row["loss"] == pytest.approx(losses["evaluated"], rel=1e-5)
    assert row["loss"] != pytest.approx(losses["other"], rel=1e-3)
