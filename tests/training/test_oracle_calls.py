"""The oracle calls of rows are those that were made, also where a method searches only now and then."""

import jax
import jax.numpy as jnp
import optax
import pytest
from training.kept import rows

import optaxaccel
from optaxaccel.methods import contract
from optaxaccel.training import loop
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.journal import Journal
from optaxaccel.training.many import sweep
from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import Run

RUN = Run(model_args={"hidden": (8,)}, batch_size=128, steps=8, log_every=2)


def gose(**arguments):
    return RUN.replace(method="gose_sgd", method_args={"learning_rate": 0.1, **arguments})


@pytest.mark.parametrize(
    ("run", "values", "grads", "hvps"),
    [
        (gose(gradient_threshold=1e9, check_every=3), 3, 8 + 3, 3 * 16),  # in steps 1, 4 and 7
        (gose(), 0, 8, 0),  # the gradient is never small
        (gose(gradient_threshold=1e9, check_every=3, finder="shifted_power"), None, 8 + 3, None),
        (RUN.replace(method="pal"), 8, 8, 0),
    ],
    ids=["searches", "no search", "another finder", "every step"],
)
def test_rows_count_what_was_called(tmp_path, run, values, grads, hvps):
    if hvps is None:
        cost = optaxaccel.shifted_power().cost
        values, grads, hvps = 3 * (1 + cost.values), grads + 3 * cost.grads, 3 * cost.hvps
    loop.train(run, tmp_path / "record.jsonl")
    counted = [row for row in rows(tmp_path) if "value_calls" in row]
    assert [counted[-1][name] for name in ("value_calls", "grad_calls", "hvp_calls")] == [values, grads, hvps]
    calls = [row["hvp_calls"] for row in counted]
    assert calls == sorted(calls)
    assert calls[0] == 0


def test_runs_trained_together_count_likewise(tmp_path):
    runs = [gose(gradient_threshold=threshold, check_every=3) for threshold in (1e9, 1e-9)]
    paths = [tmp_path / str(i) / "record.jsonl" for i in range(2)]
    sweep.train_many(runs, paths, vectorize=True)
    assert [rows(path.parent)[-2]["hvp_calls"] for path in paths] == [48, 0]


def test_a_checkpoint_from_before_attempts_were_counted_goes_on():
    def begun():
        recipe = optimizer.recipe(RUN, total_steps=8, steps_per_epoch=11)
        return Journal(RUN, recipe, records.Writer(None), None, 8, 11)

    before = begun()
    before.logged, before.pending = 4, [[0.5, 0.9, 1.0, 0.0, 3.0, -1.0, -1.0]]
    memory = before.memory(lambda metrics: metrics)
    new, old = begun(), begun()
    new.recall(memory)
    assert (new.logged, new.pending) == (4, before.pending)
    old.recall({**{k: v for k, v in memory.items() if k != "attempts"}, "pending": [[0.5, 0.9, 1.0, 0.0]]})
    assert (old.attempts, old.pending) == (0, [[0.5, 0.9, 1.0, 0.0, 0.0, -1.0, -1.0]])


COUNTED = [  # at the defaults, at the card's example, and at another setting
    ("negative_curvature_descent", {"step_size": 0.1}),
    ("negative_curvature_descent", {"step_size": 0.1, "max_steps": 3}),
    ("ancm", {"learning_rate": 0.1, "period": 3, "ncd_max_steps": 1}),
    ("ancm", optaxaccel.METHODS["ancm"].example),
    ("gose_sgd", {"learning_rate": 0.1, "gradient_threshold": 1e9, "check_every": 2}),
    ("pal", {}),
    ("pal", {"momentum": 0.0}),
    ("optax.lbfgs", {}),
    ("optax.lbfgs", {"memory_size": 3}),
    ("baseline.backtracking_sgd", {}),
    ("baseline.backtracking_sgd", {"max_learning_rate": 100.0}),
]


@pytest.mark.parametrize(("method", "arguments"), COUNTED)
def test_rows_count_every_time_that_the_loss_was_computed(tmp_path, monkeypatch, method, arguments):
    """A loss and a gradient compute it once each, and so does a search, whose products are of one linear map."""
    from optaxaccel.training.steps import loss as losses
    from optaxaccel.training.steps import remember

    computed = []
    cross_entropy = losses.cross_entropy

    def counted(logits, label):
        jax.debug.callback(lambda: computed.append(1))
        return cross_entropy(logits, label)

    monkeypatch.setattr(losses, "cross_entropy", counted)
    monkeypatch.setattr(remember, "_RESULTS", {})
    run = RUN.replace(method=method, method_args=dict(arguments), model_args={"hidden": ()})
    assert loop.train(run, tmp_path / "record.jsonl", devices=1).status == "done"
    jax.effects_barrier()
    last = [row for row in rows(tmp_path) if row["kind"] == "eval"][-1]
    searches = last["hvp_calls"] / optaxaccel.lanczos().cost.hvps
    assert last["value_calls"] + last["grad_calls"] + searches == len(computed)


@pytest.mark.parametrize("jumps", [1, 2, 3])
def test_attempts_are_the_times_that_the_finder_ran(jumps):
    """From a saddle that falls along `jumps` axes, ANCM jumps along each in turn, and searches once more."""
    ran = []
    lanczos = optaxaccel.lanczos()

    def find(value_fn, params, key, **data):
        jax.debug.callback(lambda: ran.append(1))
        return lanczos.find(value_fn, params, key, **data)

    def loss(x):
        return jnp.sum(0.25 * x[:jumps] ** 4 - 0.5 * x[:jumps] ** 2) + jnp.sum(x[jumps:] ** 2)

    tx = optaxaccel.ancm(0.1, step_size=1.0, ncd_max_steps=10, finder=lanczos._replace(find=find))
    x = jnp.zeros(5)
    state = optax.chain(tx, optax.identity()).init(x)
    update = jax.jit(lambda g, s, x: optax.chain(tx, optax.identity()).update(g, s, x, value=loss(x), value_fn=loss))
    _, state = update(jax.grad(loss)(x), state, x)
    jax.effects_barrier()
    assert int(state[0].num_jumps) == jumps
    assert int(contract.search_attempts(state)) == len(ran) == jumps + 1
