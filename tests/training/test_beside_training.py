"""RNA beside training: the right trees, the right weights, and training left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.kept import RUN, rows

import optaxaccel
from optaxaccel import data, models
from optaxaccel.training import loop
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import feed, program


def train(run, folder):
    return loop.train(run, folder / "record.jsonl")


def of_kind(folder, kind):
    return [row for row in rows(folder) if row["kind"] == kind]


def test_the_rows_are_those_of_the_extrapolated_iterates(tmp_path):
    """The iterates come from runs of 3, 6, ... steps of the same seed; they are extrapolated here."""
    run = RUN.replace(
        method="optax.sgd", method_args={"learning_rate": 0.2}, extrapolate={"K": 3, "every": 3}, steps=12
    )
    train(run, tmp_path)
    recorded = of_kind(tmp_path, "extrapolation")
    assert [row["step"] for row in recorded] == [3, 6, 9, 12]
    states = {}
    for steps in (1, 3, 6, 9, 12):
        states[steps] = loop.train(run.replace(steps=steps, extrapolate={}), tmp_path / f"{steps}.jsonl").state
    history = [states[steps].params for steps in (3, 6, 9, 12)]  # the window holds four: the first is forgotten
    params = optaxaccel.extrapolate(history, regularization=1e-8)
    loss = evaluate(run, states[12].replace(params=params, opt_state=()))
    assert recorded[-1]["loss"] == pytest.approx(loss, rel=1e-4)


def evaluate(run, state):
    made, layout = feed.feed(run, None)
    recipe = optimizer.recipe(run, total_steps=1, steps_per_epoch=1)
    compiled = program.program(run, recipe, made, layout, next(made.open(0)))
    sums = [compiled.evaluate(state, *batch) for batch in made.held_out()]
    return float(sum(one["loss"] for one in sums)) / made.held_out_size


@pytest.mark.parametrize("extra", [{}, {"statistics": "refreshed"}, {"host": True}, {"iterate": "head"}])
def test_training_is_left_alone(tmp_path, extra):
    run = RUN.replace(extrapolate={"K": 2, "every": 4, **extra})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = train(run, tmp_path / "a"), train(run.replace(extrapolate={}), tmp_path / "b")
    for x, y in zip(jax.tree.leaves(a.state), jax.tree.leaves(b.state), strict=True):
        np.testing.assert_array_equal(x, y)
    assert of_kind(tmp_path / "a", "eval") == of_kind(tmp_path / "b", "eval")
    assert len(of_kind(tmp_path / "a", "extrapolation")) == 3


def centred(name, *, classes, input_shape, **overrides):
    """A linear classifier behind the first half of batch norm: it subtracts a mean, in training that of the batch."""
    del name, overrides
    size = int(np.prod(input_shape))

    def init(key, x):
        return {"w": jax.random.normal(key, (size, classes)) / size}, {"mean": jnp.zeros(size)}

    def apply(params, net_state, x, *, key=None, train=False):
        x = x.reshape(len(x), -1)
        mean = x.mean(0) if train else net_state["mean"]
        return (x - mean) @ params["w"], {"mean": 0.9 * net_state["mean"] + 0.1 * mean if train else mean}

    return models.Model(init, apply)


def test_statistics_are_combined_or_refreshed(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "make", centred)
    monkeypatch.setattr("optaxaccel.training.steps.remember._RESULTS", {})
    common = {"method": "optax.sgd", "method_args": {"learning_rate": 0.05}, "normalise": "none", "steps": 6}
    base = RUN.replace(**common, extrapolate={})
    states = {steps: loop.train(base.replace(steps=steps), tmp_path / f"{steps}.jsonl").state for steps in (2, 4, 6)}
    history = [states[steps] for steps in (2, 4, 6)]
    params, statistics = optaxaccel.extrapolate(
        [state.params for state in history], statistics=[state.net_state for state in history]
    )
    images = data.load("digits").train.image.reshape(1437, -1)
    expected = {"combined": statistics["mean"], "refreshed": images.mean(0) / 255}
    points = []
    monkeypatch.setattr(
        loop._Running, "evaluate", lambda self, state, *about: points.append(state) or {"loss": 1.0, "accuracy": 0.5}
    )
    for way, mean in expected.items():
        (tmp_path / way).mkdir()
        train(base.replace(extrapolate={"K": 2, "every": 2, "statistics": way}), tmp_path / way)
        np.testing.assert_allclose(points[-1].params["w"], params["w"], rtol=1e-5, atol=1e-7)
        slack = 1e-6 if way == "combined" else 0.02  # the last batches weigh most where statistics are refreshed
        np.testing.assert_allclose(points[-1].net_state["mean"], mean, atol=slack)
    assert np.abs(expected["combined"] - expected["refreshed"]).max() > 0.05


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"k": 3}, "argument of extrapolate"),
        ({"K": 0}, "K=0"),
        ({"every": "often"}, "every"),
        ({"statistics": "no"}, "combined"),
        ({"regularization": "best"}, "adaptive"),
        ({"regularization": "adaptive", "iterate": "head"}, "tail"),
    ],
)
def test_bad_settings_are_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        Run(extrapolate=asked)


@pytest.mark.parametrize("asked", [{"statistics": "refreshed"}, {"regularization": "adaptive"}])
def test_what_needs_whole_batches_is_refused_under_pmap(tmp_path, asked):
    with pytest.raises(ValueError, match="--parallel jit"):
        train(RUN.replace(parallel="pmap", extrapolate=asked), tmp_path)


def test_the_loss_chooses_where_it_is_asked_to(tmp_path):
    """The point is that of `extrapolate_adaptive` by the loss on the images of the first steps, computed here."""
    run = RUN.replace(
        method="optax.sgd",
        method_args={"learning_rate": 0.2},
        steps=9,
        extrapolate={"K": 3, "every": 3, "regularization": "adaptive"},
    )
    train(run, tmp_path)
    states = [
        loop.train(run.replace(steps=steps, extrapolate={}), tmp_path / f"{steps}.jsonl").state for steps in (3, 6, 9)
    ]
    history = [initial(run), *(state.params for state in states)]
    made, layout = feed.feed(run, None)
    recipe = optimizer.recipe(run, total_steps=1, steps_per_epoch=1)
    model = program.model_of(program.blueprint(run, recipe, made, layout))
    order = data.epoch_order(np.uint32(run.seed), np.uint32(0), made.examples)[: 4 * run.batch_size]
    images, labels = (array[order] for array in data.load("digits").train)

    def value(params, x, y):
        logits, _ = model.apply(params, {}, data.prepare(x, mean=made.mean, std=made.std), train=False)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    params = optaxaccel.extrapolate_adaptive(history, value, x=images, y=labels)
    loss = evaluate(run, states[-1].replace(params=params, opt_state=()))
    rows = of_kind(tmp_path, "extrapolation")
    assert rows[-1]["loss"] == pytest.approx(loss, rel=1e-4)
    assert rows[-1]["loss"] < 0.99 * evaluate(run, states[-1])


def initial(run):
    made, layout = feed.feed(run, None)
    recipe = optimizer.recipe(run, total_steps=1, steps_per_epoch=1)
    compiled = program.program(run, recipe, made, layout, next(made.open(0)))
    return compiled.init(np.uint32(run.seed), program.numbers_of(run, recipe)).params


def test_the_loss_may_choose_for_a_network_with_statistics_if_they_are_refreshed(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "make", centred)
    monkeypatch.setattr("optaxaccel.training.steps.remember._RESULTS", {})
    asked = {"K": 2, "every": 2, "regularization": "adaptive"}
    run = RUN.replace(method="optax.sgd", method_args={"learning_rate": 0.05}, normalise="none", steps=6)
    with pytest.raises(ValueError, match="statistics='refreshed'"):
        train(run.replace(extrapolate=asked), tmp_path)
    (tmp_path / "refreshed").mkdir()
    train(run.replace(extrapolate={**asked, "statistics": "refreshed"}), tmp_path / "refreshed")
    assert len(of_kind(tmp_path / "refreshed", "extrapolation")) == 3
