"""Commands that cannot be meant end in a status of README's list with one message, and nothing is written."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from optaxaccel import cli
from optaxaccel.cli import failures
from optaxaccel.training import cores, loop
from optaxaccel.training.begun import RunFailedError
from optaxaccel.training.run.spec import Run
from optaxaccel.training.steps import parallel

RUN = ["train", "--model-args", "hidden=(8,)", "--steps", "2", "--batch-size", "32", "--devices", "1"]
ALL = RUN[:-2]  # of a grid, which takes the devices that there are
ALL_RATE = [*ALL, "--method", "optax.sgd", "--method-args", "learning_rate=0.1"]
SGD = [*RUN, "--method", "optax.sgd"]
RATE = [*SGD, "--method-args", "learning_rate=0.1"]


def schedule(text):
    return [*RATE, "--schedule", f"learning_rate={text}"]


REFUSED = {
    "a tuple for a number": ([*SGD, "--method-args", "learning_rate=(1,2)"], "is not a number"),
    "a call for a number": ([*SGD, "--method-args", "learning_rate=f(x=1)"], "is not a number"),
    "None for a number": ([*SGD, "--method-args", "learning_rate=None"], "is not a number"),
    "a truth for a number": ([*RUN, "--method-args", "max_step_size=True"], "is not a number"),
    "a list for a number": ([*RUN, "--method-args", "measuring_step_size=(1,)"], "is not a number"),
    "a word for a momentum": (
        [*SGD, "--method-args", "learning_rate=0.1,momentum='a'"],
        "optax.sgd cannot be used with",
    ),
    "a list for a momentum": ([*SGD, "--method-args", "learning_rate=0.1,momentum=(1,)"], "momentum=(1,)"),
    "a history of millions": (
        [*RUN, "--method", "anderson", "--method-args", "learning_rate=0.1,history=1000000000"],
        "history=1,000,000,000",
    ),
    "a number for a schedule": (schedule("3"), "which names none"),
    "lengths that are none": (schedule("cosine_decay_schedule(decay_steps=(1,2))"), "cannot be made"),
    "a word in a schedule": (schedule("cosine_decay_schedule(decay_steps=5,alpha='x')"), "cannot be made"),
    "boundaries that are none": (schedule("piecewise_constant_schedule(boundaries_and_scales=3)"), "cannot be made"),
    "a table without end": (
        [*schedule("constant_schedule(value=1.0)"), "--steps", "1000000000"],
        "steps with a schedule",
    ),
    "a model beyond memory": ([*RUN, "--model-args", "hidden=(10000000000000,)"], "beyond 1,000,000"),
    "steps without end": ([*RUN, "--steps", "99999999999999999999"], "1,000,000,000"),
    "epochs without end": (["train", "--epochs", "1e300", "--devices", "1"], "more than any run"),
    "a share of nothing": ([*RUN, "--validation", "1e-9"], "holds 0 of them out"),
    "a share of everything": ([*RUN, "--validation", "0.9999999"], "leaves images on both sides"),
    "no time to save": ([*RUN, "--save-seconds", "nan"], "save_seconds=nan"),
    "time backwards": ([*RUN, "--save-seconds", "-1"], "save_seconds=-1.0"),
    "devices below one": ([*RUN, "--devices", "-1"], "no number of devices"),
    "one seed twice": ([*RUN, "--seeds", "1", "1"], "--seeds has 1 twice"),
    "one value twice": ([*ALL_RATE, "--grid", "learning_rate=0.1,0.1"], "has 0.1 twice"),
    "words for a size": ([*ALL, "--grid", "batch_size=a,b"], "batch_size='a' is not an integer"),
    "nan for a decay": ([*ALL, "--grid", "weight_decay=nan"], "weight_decay='nan' is not a number"),
    "True for a number of trees": ([*RUN, "--extrapolate", "K=True"], "K=True"),
    "trees without end": ([*RUN, "--extrapolate", "K=1000000000"], "so many trees are kept"),
    "a process of several": ([*RUN, "--process-count", "2"], "--process-count is for several processes"),
    "an index alone": ([*RUN, "--process-index", "1"], "--process-index is for several processes"),
    "a coordinator alone": ([*RUN, "--coordinator", "x:1"], "--coordinator is for several processes"),
    "a bad coordinator": (
        [*RUN, "--distributed", "--coordinator", "nonsense", "--process-count", "1", "--process-index", "0"],
        "is not HOST:PORT",
    ),
    "an index beyond": (
        [*RUN, "--distributed", "--coordinator", "a:1", "--process-count", "2", "--process-index", "5"],
        "from 0 to the count less 1",
    ),
    "a count alone": ([*RUN, "--distributed", "--process-count", "2"], "--coordinator is missing"),
    "an empty folder": ([*RUN, "--out", ""], "--out is empty"),
    "a path too long": ([*RUN, "--out", "x" * 5000], "File name too long"),
    "data too long": ([*RUN, "--data", "x" * 5000 + ".npz"], "File name too long"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_command_that_cannot_be_meant_is_refused_before_any_work(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, text = REFUSED[case]
    assert cli.run(arguments) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert len(error) < 6000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    ["(" * 3000, "a=" + "(" * 500 + "1" + ")" * 500, "a=" + "-" * 100_000 + "1", "a={[]:1}", f"a={'x' * 30_000!r}"],
)
def test_the_parser_of_arguments_has_limits_of_its_own(text, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run([*SGD, "--method-args", text])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "not a list of arguments" in " ".join(error.replace("│", " ").replace("|", " ").split())
    assert len(error) < 3000


def test_a_grid_over_methods_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run([*ALL_RATE, "--grid", "method=optax.sgd,optax.adam", "--out", "out"]) == 0
    assert "optax.adam" in capsys.readouterr().out


# --- What an error means ----------------------------------------------------------------------------------------------


def test_an_error_after_a_run_began_is_no_bad_input(tmp_path, monkeypatch, capsys):
    def fails(self, *arguments):
        raise ValueError("a batch is damaged")

    monkeypatch.setattr(loop._Running, "advance", fails)
    assert cli.run([*RATE, "--out", str(tmp_path / "out")]) == 1
    assert "the run had begun, and failed: ValueError: a batch is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (RunFailedError("it failed"), 1, "it failed"),
        (ValueError(""), 2, "ValueError"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (OSError(28, "No space left on device", "/x"), 1, "No space left on device: /x"),
        (OSError("torn"), 1, "torn"),
        (NotADirectoryError(20, "Not a directory", "/x/y"), 2, "Not a directory: /x/y"),
        (FileNotFoundError(2, "No such file or directory", None), 2, "No such file or directory"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), 1, "allocating 9 bytes"),
        (KeyError("a fault of ours"), None, ""),
    ],
    ids=repr,
)
def test_what_an_error_means(error, status, text):
    explanation, said = failures.explained(error)
    assert explanation == status
    assert text in said
    assert "None" not in said


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [str(Path(sys.executable).parent / "optaxaccel"), "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.close()
        error = process.stderr.read().decode()
        assert process.wait(60) == 141
    assert error == ""


# --- Machines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "devices"), [(10, 2), (9, 3), (7, 1), (8, 4), (128, 4)])
def test_the_largest_number_of_devices_that_divides_is_taken(batch, devices):
    assert len(jax.devices()) == 4
    assert parallel.layout("jit", batch).count == devices
    assert parallel.layout("pmap", batch).count == devices


def test_a_number_of_devices_that_was_asked_for_is_not_changed():
    with pytest.raises(ValueError, match="does not divide among 4 devices"):
        parallel.layout("jit", 10, 4)


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.available_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.available_cores() == 1


def test_a_pinned_process_says_on_how_many_cores_it_ran(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4}, raising=False)
    assert cores.machine().endswith(", 2 of 6 cores")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    assert cores.machine().endswith(", 6 cores")


def test_a_cache_below_home_is_found(tmp_path):
    code = "from optaxaccel.cli import terminal; terminal.start_jax(); import jax; "
    code += "print(jax.config.jax_compilation_cache_dir)"
    environment = {**os.environ, "HOME": str(tmp_path), "OPTAXACCEL_CACHE": "~/x", "JAX_COMPILATION_CACHE_DIR": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(tmp_path / "x" / "jax"), done.stderr


@pytest.mark.parametrize("field", ["steps", "batch_size", "seed", "epochs", "weight_decay", "method", "remat"])
def test_fields_of_a_run_of_another_kind_are_refused(field):
    wrong = 3 if field == "method" else "three"
    with pytest.raises(ValueError, match=f"{field}={wrong!r} is not"):
        Run(**{field: wrong})
