"""What a run has trained is loaded, measured, exported and extrapolated from its folder."""

import errno
import os
import shlex
import signal
from functools import partial

import jax
import numpy as np
import pytest

from optaxaccel import cli, data, tasks, training
from optaxaccel.models.own import network_at
from optaxaccel.training import loop
from optaxaccel.training.histories import formats, judging, npz_files, safetensors_files
from optaxaccel.training.keeping import records
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run.spec import Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of images whose best evaluation is not the last, by a schedule that ends far too high."""
    folder = tmp_path_factory.mktemp("run")
    wild = {"learning_rate": {"name": "piecewise_constant_schedule", "boundaries_and_scales": {"3epochs": 1000.0}}}
    run = Run(
        method="nesterov", method_args={"learning_rate": 0.05}, schedule=wild, epochs=4, model_args={"hidden": (8,)}
    )
    loop.train(run, folder / "record.jsonl", keep=Keep(folder, number=3, every="1epoch"))
    return folder


def test_the_best_and_the_last_are_what_the_record_says(trained):
    rows = [row for row in records.read(trained / "record.jsonl").rows if row["kind"] == "eval"][1:]
    best = max(rows, key=lambda row: row["accuracy"])
    assert best["step"] < rows[-1]["step"]
    test = data.load("digits").test
    for which, row in {"best": best, "last": rows[-1], rows[1]["step"]: rows[1]}.items():
        trained_run = training.load(trained, which)
        assert trained_run.step == row["step"]
        assert trained_run.evaluate()["accuracy"] == pytest.approx(row["accuracy"], abs=1e-6)
        assert trained_run.evaluate()["loss"] == pytest.approx(row["loss"], rel=1e-4)
        right = np.mean(np.argmax(trained_run.predict(test.image), 1) == test.label)
        assert right == pytest.approx(row["accuracy"], abs=1e-6)


def test_as_many_stay_as_were_asked_for_and_they_are_extrapolated(trained, capsys):
    steps = sorted(int(path.name) for path in (trained / "checkpoints" / "kept").iterdir())
    assert steps == [22, 33, 44]
    assert cli.run(["extrapolate", str(trained)]) == 0
    assert (trained / "extrapolated").is_dir()
    assert [line for line in capsys.readouterr().out.splitlines() if "44" in line]


@pytest.mark.parametrize("command", ["extrapolate", "merge"])
def test_a_run_is_read_from_a_path_that_begins_where_one_is(trained, tmp_path, monkeypatch, command):
    monkeypatch.chdir(trained.parent)
    assert cli.run([command, trained.name, "--out", str(tmp_path / "out")]) == 0
    monkeypatch.chdir(tmp_path)
    assert cli.run([command, os.path.relpath(trained / "checkpoints" / "kept"), "--out", "again"]) == 0
    assert (tmp_path / "out").exists()
    assert (tmp_path / "again").exists()
    assert cli.run(["evaluate", os.path.relpath(trained), "--export", "net.npz"]) == 0


@pytest.mark.parametrize(("ending", "read"), [(".safetensors", safetensors_files.read), (".npz", npz_files.read)])
def test_the_command_measures_and_exports(trained, tmp_path, capsys, ending, read):
    out = tmp_path / f"net{ending}"
    assert cli.run(["evaluate", str(trained), "--export", str(out)]) == 0
    assert "accuracy" in capsys.readouterr().out
    flat = npz_files.flat_arrays(read(out)) if ending == ".npz" else read(out)
    params = npz_files.flat_arrays(jax.device_get({"params": training.load(trained).params}))
    assert set(params) <= set(flat)
    for name, array in params.items():
        np.testing.assert_array_equal(flat[name], array)
    assert cli.run(["evaluate", str(trained), "--export", str(out)]) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
@pytest.mark.parametrize("fault", ["SIGINT", "SIGTERM", "full"])
def test_an_export_that_is_stopped_leaves_nothing(trained, tmp_path, capsys, monkeypatch, ending, fault):
    """Behind the first bytes of a file a signal comes, or the disk is full."""
    out = tmp_path / f"net{ending}"
    kind = formats.for_writing(out, formats.NPZ)

    def write(path, *arguments):
        kind.write(path, *arguments)
        path.write_bytes(path.read_bytes()[:1000])
        if fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        signal.raise_signal(getattr(signal, fault))

    with monkeypatch.context() as patched:
        patched.setattr(formats, "for_writing", lambda *arguments: kind._replace(write=write))
        if fault == "full":
            assert cli.run(["evaluate", str(trained), "--export", str(out)]) == 1
        else:
            with pytest.raises(SystemExit):
                cli.run(["evaluate", str(trained), "--export", str(out)])
            assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert cli.run(["evaluate", str(trained), "--export", str(out)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_run_of_a_task_is_loaded_in_its_precision(tmp_path):
    run = Run(task="poisson_1d", task_args={"size": "smoke", "width": 4}, method="nesterov", steps=6)
    run = run.replace(method_args={"learning_rate": 1e-5})
    loop.train(run, tmp_path / "record.jsonl", keep=Keep(tmp_path, every=2))
    row = records.read(tmp_path / "record.jsonl").last("eval")
    trained_run = training.load(tmp_path, "last")
    assert trained_run.evaluate()["relative_l2"] == pytest.approx(row["relative_l2"], rel=1e-12)
    assert np.asarray(trained_run.predict(np.array([[0.0], [1.0]]))).tolist() == [0.0, 0.0]  # the boundary is built in
    assert training.load(tmp_path, 4).step == 4
    with pytest.raises(FileNotFoundError, match="after steps 2, 4, 6"):
        training.load(tmp_path, 3)


def test_what_is_no_run_is_refused(tmp_path, trained):
    with pytest.raises(FileNotFoundError, match=r"no record\.jsonl"):
        training.load(tmp_path)
    with pytest.raises(ValueError, match="'best', 'last'"):
        training.load(trained, "beste")  # pyright: ignore[reportArgumentType]
    for words, said in {("--keep", "0"): "keeps none", ("--keep-every", "often"): "is no interval"}.items():
        with pytest.raises(ValueError, match=said):
            cli.execute(cli.from_run.parse(["train", *words]))


def network_with_names_of_tasks(folder, monkeypatch):
    """A network whose arguments are called like some of `tasks.images`."""
    monkeypatch.chdir(folder)
    (folder / "net.py").write_text(
        "import flax.linen as nn, jax.numpy as jnp\n\n\nclass Net(nn.Module):\n    classes: int\n    steps: int = 1\n"
        "    batch_size: int = 3\n    augment: str = 'some'\n    dataset: float = 1.0\n\n    @nn.compact\n"
        "    def __call__(self, x, *, train=False):\n        x = nn.Dense(self.batch_size)(x.reshape(len(x), -1))\n"
        "        layer = nn.Dense(self.batch_size)\n        for _ in range(self.steps):\n"
        "            x = jnp.tanh(self.dataset * layer(x))\n        return nn.Dense(self.classes)(x)\n"
    )
    return "steps=5,batch_size=6,augment=none,dataset=2.0"


def test_arguments_of_a_network_are_no_arguments_of_the_task(tmp_path, monkeypatch):
    given = network_with_names_of_tasks(tmp_path, monkeypatch)
    words = ["train", "--model", "net.py:Net", "--model-args", given, "--method", "optax.adam", "--epochs", "2"]
    assert cli.run([*words, "--method-args", "learning_rate=0.01", "--out", "r"]) == 0
    row = records.read(tmp_path / "r" / "record.jsonl").last("eval")
    trained_run = training.load("r", "last")
    assert trained_run.evaluate()["loss"] == pytest.approx(row["loss"], rel=1e-5)
    assert jax.tree.leaves(trained_run.params)[0].shape == (6,)
    loss = judging.loss_on("net.py:Net", "digits", model_args=trained_run.run.model_args)
    judged = loss({"params": jax.device_get(trained_run.params)})
    images = data.load("digits").train
    chosen = np.linspace(0, len(images.label) - 1, judging.JUDGES).astype(int)
    logits = np.asarray(trained_run.predict(images.image[chosen]), np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(chosen)), images.label[chosen]]
    assert judged == pytest.approx(losses.mean(), rel=1e-5)


def test_a_task_of_images_takes_a_class_of_networks(tmp_path, monkeypatch):
    network_with_names_of_tasks(tmp_path, monkeypatch)
    task = tasks.make("images", model=partial(network_at("net.py:Net"), steps=2))
    params, _ = jax.eval_shape(task.init, jax.random.key(0))
    assert len(params) == 3


def test_the_command_that_comes_next_can_be_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--task", "rosenbrock", "--method", "optax.sgd", "--method-args", "learning_rate=0.0001"]
    for more in ([], ["--seeds", "0", "1"]):
        assert cli.run([*words, "--steps", "2", "--out", f"runs/Größe u8{len(more)}", *more]) == 0
        said = capsys.readouterr().out
        command = next(line for line in said.splitlines() if line.startswith("next: "))
        assert shlex.split(command)[1:] == ["optaxaccel", "report", f"runs/Größe u8{len(more)}"]
