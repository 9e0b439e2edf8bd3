import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optaxaccel.training.run import optimizer
from optaxaccel.training.run.spec import Run


def recipe(**fields):
    return optimizer.recipe(Run(**fields), total_steps=20, steps_per_epoch=10)


def test_numbers_are_traced_and_shapes_are_static():
    made = recipe(method="optax.sgd", method_args={"learning_rate": 0.1, "momentum": 0.9, "nesterov": True})
    assert made.static == {"nesterov": True}
    assert {name: float(value) for name, value in made.numbers.items()} == pytest.approx(
        {"learning_rate": 0.1, "momentum": 0.9}
    )


def test_a_schedule_becomes_the_table_of_its_values():
    schedule = {"learning_rate": {"name": "exponential_decay", "decay_rate": 0.5, "transition_steps": "1epoch"}}
    made = recipe(method="optax.sgd", method_args={"learning_rate": 0.4}, schedule=schedule)
    expected = optax.exponential_decay(0.4, 10, 0.5)
    np.testing.assert_allclose(made.numbers["learning_rate"], [expected(k) for k in range(21)], rtol=1e-6)


def test_one_trace_serves_all_numbers_and_schedules():
    traces = []

    @jax.jit
    def update(numbers, grad):
        traces.append(None)
        tx = first.build(numbers)
        return tx.update(grad, tx.init(grad), grad)[0]

    def settings(rate):
        return {"method": "optax.sgd", "method_args": {"learning_rate": rate}}

    first, second = recipe(**settings(0.1)), recipe(**settings(0.2))
    grad = jnp.ones(3)
    assert update(first.numbers, grad)[0] == pytest.approx(-0.1)
    assert update(second.numbers, grad)[0] == pytest.approx(-0.2)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"method": "pall"}, "Did you mean 'pal'"),
        ({"method": "optax.sdg"}, "Did you mean 'sgd'"),
        ({"method": "optax.apply_updates"}, "no optimiser"),
        ({"method": "pal", "method_args": {"momentun": 0.1}}, "Did you mean 'momentum'"),
        ({"method": "pal", "method_args": {"measuring_step_size": -0.1}}, "measuring_step_size=-0.1"),
        ({"method": "optax.sgd", "method_args": {"learning_rate": float("inf")}}, "learning_rate=inf is out of range"),
        ({"method": "optax.adam", "method_args": {"learning_rate": float("nan")}}, "learning_rate=nan is out of range"),
        ({"method": "baseline.schedule_free_sgd", "method_args": {"learning_rate": -1.0}}, "climbs the loss"),
        ({"method": "optax.sgd", "schedule": {"learning_rate": "exponential_decay"}}, "no start"),
        (
            {
                "method": "optax.sgd",
                "method_args": {"learning_rate": 0.1},
                "schedule": {"learning_rate": {"name": "cosine_decay"}},
            },
            "Did you mean 'cosine_decay_schedule'",
        ),
        (
            {
                "method": "optax.sgd",
                "method_args": {"learning_rate": 0.1},
                "schedule": {"learning_rate": {"name": "linear_schedule", "end_value": -1.0, "transition_steps": 10}},
            },
            "finite and not negative",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(fields, text):
    with pytest.raises(ValueError, match=text):
        recipe(**fields)


def test_a_limit_of_the_rate_may_be_none():
    made = recipe(method="optax.polyak_sgd", method_args={"max_learning_rate": float("inf")})
    assert np.isinf(made.numbers["max_learning_rate"])
