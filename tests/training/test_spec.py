import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxaccel.training.run.argument_text import parse_arguments, steps_from
from optaxaccel.training.run.spec import Run, differences


def test_a_run_is_one_epoch_unless_told_otherwise():
    assert Run().total_steps(10) == 10
    assert Run(epochs=2.5).total_steps(10) == 25
    assert Run(steps=7).total_steps(10) == 7
    assert Run(epochs=0.01).total_steps(10) == 1


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"epochs": 1, "steps": 1}, "both"),
        ({"epochs": 0}, "epochs=0"),
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"validation": 1.0}, "validation=1.0"),
        ({"weight_decay": -1e-4}, "weight_decay=-0.0001"),
        ({"decay": "both"}, "decay='both'"),
        ({"eval_every": 0}, "eval_every=0"),
        ({"seed": -1}, "seed=-1"),
        ({"method_args": {"learning_rate": lambda count: 0.1}}, "literals"),
    ],
)
def test_fields_out_of_range_are_refused_with_their_value(fields, word):
    with pytest.raises(ValueError, match=r"Pass|Give|record") as error:
        Run(**fields)
    assert word in str(error.value)


def test_numbers_of_numpy_and_jax_become_those_of_records():
    """Sweeps count with `numpy.arange`, and what is loaded from arrays is of their types."""
    given = {
        "batch_size": np.int64(32),
        "seed": np.uint8(3),
        "epochs": np.float32(2.5),
        "flip": np.bool_(False),
        "method_args": {"learning_rate": np.float32(0.5), "betas": (np.float16(0.5), jnp.float32(0.25))},
        "model_args": {"hidden": [np.int32(4), 8]},
    }
    plain = {
        "batch_size": 32,
        "seed": 3,
        "epochs": 2.5,
        "flip": False,
        "method_args": {"learning_rate": 0.5, "betas": (0.5, 0.25)},
        "model_args": {"hidden": [4, 8]},
    }
    assert Run(**given).digest() == Run(**plain).digest()
    assert repr(Run(**given)) == repr(Run(**plain))
    with pytest.raises(ValueError, match=r"batch_size=2\.0 is not an integer"):
        Run(batch_size=np.float32(2))
    for value in (np.arange(2.0), jax.random.key(0)):
        with pytest.raises(ValueError, match="literals"):
            Run(method_args={"learning_rate": value})


def test_replace_switches_between_epochs_and_steps_and_knows_its_fields():
    assert Run(epochs=3).replace(steps=5).epochs is None
    assert Run(steps=3).replace(epochs=5).steps is None
    with pytest.raises(ValueError, match="Did you mean 'batch_size'"):
        Run().replace(batchsize=3)


def test_the_digest_names_the_specification_and_not_the_folder_of_the_data():
    run = Run(method_args={"coefficients": (0.1, 0.9)})
    assert run.digest() == Run(method_args={"coefficients": [0.1, 0.9]}, data_dir="elsewhere").digest()
    assert run.digest() != run.replace(seed=1).digest()
    assert differences(run.as_dict(), run.replace(seed=1, data_dir="x").as_dict()) == ["seed: 1 there, 0 asked"]


def test_arguments_are_parsed_without_evaluating_code():
    assert parse_arguments("a=-1e-3,b=None,c=(1,2),d=word") == {"a": -1e-3, "b": None, "c": (1, 2), "d": "word"}
    assert parse_arguments("") == {}
    for text in ("1,2", "a", "a=__import__('os').getcwd()", "a=1)(", "**{'a': 1}"):
        with pytest.raises(ValueError, match="K=V"):
            parse_arguments(text)


def test_a_path_is_a_word():
    for path in ("d/const.csv", "/data/my-table.csv", "~/x.csv", "../a_b/c.d.csv", "2024-01-05/x.csv", "Größe/u8.csv"):
        assert parse_arguments(f"a=1, data={path}, b=word") == {"a": 1, "data": path, "b": "word"}
        assert parse_arguments(f"values=({path},'{path},{path}',1e-3)") == {"values": (path, f"{path},{path}", 1e-3)}
    assert parse_arguments("a=1epoch,b=f(x='it\\'s,a/b',y=c/d)")["b"] == {"name": "f", "x": "it's,a/b", "y": "c/d"}
    for text in ("a=1/2", "a=1e-3/2", "a=3-2", "a=-b", "a/b=1", "a=b c/d", "data=my folder/x.csv", "a=f/g(x=1)"):
        with pytest.raises(ValueError, match=re.escape("'K=\"my file.csv\"'")):
            parse_arguments(text)


def test_lengths_in_epochs_become_steps():
    assert steps_from({"a": "1.5epochs", "b": {"2 epochs": 0.1}, "c": ["1epoch"]}, 10) == {
        "a": 15,
        "b": {20: 0.1},
        "c": [10],
    }
