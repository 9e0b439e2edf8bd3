"""The command line through its real entry point, in processes of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optaxaccel import cli
from optaxaccel.training.keeping import interrupt

ROOT = Path(__file__).parents[1]
PLAN = """
\"\"\"A small experiment.\"\"\"
from optaxaccel.cli import run_definition
from optaxaccel.training.many.experiment import Contender, Plan
from optaxaccel.training.run.spec import Run

def contender(label, rates):
    run = Run(method="optax.sgd", batch_size=64, steps=4, model_args={"hidden": (8,)})
    return Contender(label, tuple(run.replace(method_args={"learning_rate": r}) for r in rates))

RUNS = {"smoke": Plan((contender("good", (0.0, 0.1)), contender("bad", (1e30, 1e31))), seeds=2)}

if __name__ == "__main__":
    run_definition(__file__)
"""


def call(*arguments, cwd, **environment):
    command = [str(Path(sys.executable).parent / "optaxaccel"), *map(str, arguments)]
    env = {**os.environ, "OPTAXACCEL_CACHE": str(ROOT / ".pytest_cache" / "optaxaccel"), **environment}
    env.pop("TFDS_DATA_DIR", None) if "TFDS_DATA_DIR" not in environment else None
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_list_names_every_method_model_and_data_set(tmp_path):
    from optaxaccel import METHODS
    from optaxaccel.data import DATASETS
    from optaxaccel.models import MODELS

    done = call("list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in (*METHODS, *MODELS, *DATASETS, "ssbroyden3", "lbfgs"):
        assert name in done.stdout


def test_help_does_not_import_jax():
    code = "import sys, optaxaccel.cli; assert 'jax' not in sys.modules and 'numpy' not in sys.modules, sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_command_runs_in_a_process_that_has_used_jax_already(tmp_path):
    """JAX then no longer takes a number of CPU devices: those that are there stay."""
    arguments = ["train", "--method", "optax.sgd", "--method-args", "learning_rate=0.1", "--steps", "1"]
    arguments += ["--model-args", "hidden=(8,)", "--out", str(tmp_path / "out")]
    code = f"import jax; jax.devices(); from optaxaccel import cli; raise SystemExit(cli.run({arguments}))"
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_many_steps_between_two_looks_at_them_do_not_block_two_cpu_devices(tmp_path):
    arguments = ["--method", "optax.sgd", "--method-args", "learning_rate=0.1", "--model-args", "hidden=(8,)"]
    arguments += ["--steps", 1000, "--log-every", 1000, "--eval-every", 1000, "--devices", 2, "--out", "out"]
    done = call("train", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_command_that_the_demo_names_next_works(tmp_path):
    lines = (ROOT / "Makefile").read_text().splitlines()
    (command,) = (line.partition("optaxaccel ")[2].rstrip('"').split() for line in lines if "optaxaccel train" in line)
    done = call(*command, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_train_then_report_then_refuse_another_spec(tmp_path):
    common = ["--method", "pal", "--model-args", "hidden=(8,)", "--steps", 5, "--out", "out"]
    done = call("train", *common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "out" / "record.jsonl").read_text().splitlines()]
    assert rows[-1]["status"] == "done"

    report = call("report", "out", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "pal" in report.stdout
    assert (tmp_path / "out" / "figure.png").exists()

    before = (tmp_path / "out" / "record.jsonl").read_bytes()
    refused = call("train", *common, "--seed", 3, cwd=tmp_path)
    assert refused.returncode == 2
    assert "seed: 0 there, 3 asked" in refused.stderr
    assert (tmp_path / "out" / "record.jsonl").read_bytes() == before


def test_an_experiment_tunes_runs_resumes_and_survives_divergence(tmp_path):
    (tmp_path / "plan.py").write_text(PLAN)
    done = call("run", "plan.py", "--scale", "smoke", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "diverged" in done.stdout
    finals = sorted((tmp_path / "out" / "final").glob("*.jsonl"))
    assert len(finals) == 4
    specs = [json.loads(path.read_text().splitlines()[0]) for path in finals]
    rates = {spec["label"]: spec["spec"]["method_args"]["learning_rate"] for spec in specs}
    assert rates["good"] == 0.1  # 0.0 learns nothing, so tuning cannot choose it

    again = call("run", "plan.py", "--scale", "smoke", "--out", "out", cwd=tmp_path)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    finals[0].write_text(finals[0].read_text().splitlines()[0] + "\n")  # as if stopped in the middle
    others = {path: path.stat().st_mtime_ns for path in finals[1:]}
    with interrupt.locked(tmp_path / "out"):
        second = call("run", "plan.py", "--scale", "smoke", "--out", "out", "--resume", cwd=tmp_path)
    assert second.returncode == 2
    assert f"in use by another run (process {os.getpid()})" in second.stderr
    resumed = call("run", "plan.py", "--scale", "smoke", "--out", "out", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert '"end"' in finals[0].read_text()
    assert others == {path: path.stat().st_mtime_ns for path in finals[1:]}

    (tmp_path / "plan.py").write_text(PLAN.replace("steps=4", "steps=3"))
    changed = call("run", "plan.py", "--scale", "smoke", "--out", "out", "--resume", cwd=tmp_path, COLUMNS="250")
    assert len(list((tmp_path / "out" / "final").glob("*.jsonl"))) == 8
    (row,) = (line.split() for line in changed.stdout.splitlines() if " good " in line and "±" in line)
    assert row.count("2") == 1, "two seeds, and not four runs of which two are of another plan"


def test_the_first_steps_of_every_contender_are_tried(tmp_path):
    (tmp_path / "plan.py").write_text(PLAN)
    common = ("run", "plan.py", "--scale", "smoke", "--first-steps", "3")
    done = call(*common, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tried = [read(path) for path in (tmp_path / "out" / "grid").glob("*.jsonl")]
    by_label = {rows[0]["label"]: rows for rows in tried}
    assert set(by_label) == {"good", "bad"}
    assert all(rows[0]["spec"]["test_split"] == "test[:64]" for rows in tried)
    good = by_label["good"]
    assert [row["step"] for row in good if row["kind"] == "train"] == [1, 2, 3]
    assert f"{good[0]['compile_seconds']:.1f}" in done.stdout
    assert f"{good[-1]['seconds'] / 2:.3f}" in done.stdout
    large = (tmp_path / "plan.py").read_text().replace("batch_size=64", "batch_size=400")
    assert "batch_size=400" in large
    (tmp_path / "large.py").write_text(large)
    done = call("run", "large.py", *common[2:], "--out", "large", cwd=tmp_path)
    assert done.returncode == 0, "of 360 test images there are no 400"
    (tmp_path / "beyond.py").write_text(PLAN.replace("batch_size=64", "train_split='train[:9999]', batch_size=64"))
    failed = call("run", "beyond.py", *common[2:], "--out", "beyond", cwd=tmp_path)
    assert failed.returncode == 1
    assert "failed" in failed.stdout
    refused = call(*common[:-1], "1", "--publish", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--first-steps 2" in refused.stderr


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


REFUSED = [
    (["train", "--method", "pall"], "Did you mean 'pal'"),
    (["train", "--method", "bfgs"], "optaxaccel.minimize(loss, params, method='bfgs')"),
    (["train", "--model", "cnnn"], "Did you mean 'cnn'"),
    (["train", "--data", "digit"], "Did you mean 'digits'"),
    (["train", "--methd", "pal"], "--method"),
    (["train", "--method-args", "momentun=0.1"], "Did you mean 'momentum'"),
    (["train", "--method", "interpolatron", "--method-args", "learning_rate=1.0,coefficients=(0.5,0.6)"], "1.1"),
    (["train", "--method-args", "measuring_step_size=-1"], "measuring_step_size=-1"),
    (["train", "--method-args", "1,2"], "K=V"),
    (["train", "--epochs", "-1"], "epochs=-1"),
    (["train", "--model-args", "hidden=8"], "Pass hidden=(128,)"),
    (["train", "--model", "nin", "--model-args", "classes=3"], "Unknown override of model 'nin': 'classes'"),
    (["train", "--data", "mnist"], "optaxaccel data prepare mnist"),
    (["train", "--data", "mnist", "--model", "vgg16_cifar", "--model-args", "blocks=(1,2)"], "five numbers"),
    (["train", "--batch-size", "5000"], "batch_size=5000"),
    (["run", "nothing.py"], "nothing.py"),
    (["report", "nothing"], "nothing"),
    (["data", "info"], "data info NAME"),
    (["train", "--batch-size", "129", "--devices", "2"], "--batch-size 128 or 130"),
    (["train", "--devices", "0"], "devices=0"),
    (["train", "--devices", "-1"], "devices=-1"),
    (["train", "--crop", "resized"], "crop='resized' is unknown"),
    (["train", "--image-size", "0"], "image_size=0"),
    (
        ["train", "--method", "optax.sgd", "--method-args", "learning_rate=fast"],
        "'fast' of optax.sgd is not a number",
    ),
    (["train", "--method-args", "momentum=0.1,momentum=0.2"], "each K once"),
    ([], "list, train, compare, run, report, evaluate, extrapolate, merge, data"),
]
ALL_IN_ONE_PROCESS = """
import contextlib, io, json, sys
from optaxaccel import cli
results = []
for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main(arguments)
        except SystemExit as left:
            results.append([left.code, said.getvalue()])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What the command line says to each of REFUSED: in one process, since starting JAX takes most of the time."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "empty").mkdir()
    env = {**os.environ, "TFDS_DATA_DIR": str(folder / "empty"), "OPTAXACCEL_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", ALL_IN_ONE_PROCESS]
    given = json.dumps([arguments for arguments, _ in REFUSED])
    done = subprocess.run(command, input=given, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (folder / "runs").exists()
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=[" ".join(arguments) for arguments, _ in REFUSED])
def test_bad_input_is_refused_with_the_reason_and_status_2(refusals, case):
    status, said = refusals[case]
    assert status == 2, said
    assert REFUSED[case][1] in " ".join(said.split())


@pytest.mark.parametrize("case", [0, 3])  # one refused by us, one by the parser of options
def test_bad_input_is_refused_by_the_real_command_too(tmp_path, case):
    arguments, text = REFUSED[case]
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_divergence_has_its_own_status(tmp_path):
    arguments = ["train", "--method", "optax.sgd", "--method-args", "learning_rate=1e30", "--steps", 5, "--out", "out"]
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 3
    assert "not finite at step" in done.stderr


@pytest.mark.slow
def test_a_data_set_that_is_not_prepared_is_refused_within_seconds(tmp_path):
    started = time.monotonic()
    done = call("train", "--data", "cifar10", cwd=tmp_path, TFDS_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert time.monotonic() - started < 15  # two seconds on a quiet machine; never the minutes of a network time-out


def test_a_grid_of_a_task_is_in_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--task-args", "size=smoke", "--method", "optax.adam", "--grid", "learning_rate=0.01,0.1", "--steps", "2"]
    for task in ("rosenbrock", "lasso"):
        assert cli.run(["train", "--task", task, *words]) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "optax.adam-rosenbrock-grid",
        "optax.adam-lasso-grid",
    }
