"""`merge` and `extrapolate` of a run of ours take the iterate that its method evaluates, as `load` does."""

import json
import shutil
import threading

import jax
import numpy as np
import pytest

from optaxaccel import cli, training
from optaxaccel.training import loading, loop
from optaxaccel.training.histories import checkpoint_order, formats, merging, npz_files, orbax_steps
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run.spec import Run

IMAGES = {"model_args": {"hidden": (8,)}, "epochs": 4}
TASK = {"task": "poisson_1d", "task_args": {"size": "smoke", "width": 4}, "steps": 8}  # in float64
RUNS = {
    "averaged_sgd": Run(method="averaged_sgd", method_args={"learning_rate": 0.5}, **IMAGES),
    "schedule_free": Run(method="baseline.schedule_free_sgd", method_args={"learning_rate": 0.5}, **IMAGES),
    "task": Run(method="averaged_sgd", method_args={"learning_rate": 1e-5}, **TASK),
    "plain": Run(method="optax.sgd", method_args={"learning_rate": 0.5}, **IMAGES),
    "plain task": Run(method="optax.adam", method_args={"learning_rate": 0.01}, **TASK),
    "scheduled": Run(
        method="averaged_sgd",
        method_args={"learning_rate": 0.5},
        schedule={"learning_rate": {"name": "cosine_decay_schedule", "decay_steps": "4epochs"}},
        **IMAGES,
    ),
}


@pytest.fixture(scope="module", params=RUNS)
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run = RUNS[request.param]
    loop.train(run, folder / "record.jsonl", keep=Keep(folder, every=2 if run.task else "1epoch"))
    return request.param, folder


def trees(folder, raw=False):
    steps = sorted(int(path.name) for path in (folder / "checkpoints" / "kept").iterdir())
    loaded = [training.load(folder, step) for step in steps]
    return [jax.device_get(one.state.params if raw else one.params) for one in loaded]


def flat(tree):
    return npz_files.flat_arrays({"params": tree})


def mean(history):
    return {name: np.mean([flat(tree)[name] for tree in history], axis=0) for name in flat(history[0])}


def test_the_mean_is_that_of_the_evaluated_iterates(trained, tmp_path, capsys):
    name, folder = trained
    evaluated, raw = mean(trees(folder)), mean(trees(folder, raw=True))
    differ = any(not np.allclose(evaluated[n], raw[n], rtol=1e-4, atol=0) for n in raw)
    assert differ == (not name.startswith("plain"))
    assert cli.run(["merge", str(folder), "--out", str(tmp_path / "m.npz")]) == 0
    assert ("the iterate that the method evaluates" in capsys.readouterr().out) == differ
    merged = npz_files.flat_arrays(npz_files.read(tmp_path / "m.npz"))
    for n, array in evaluated.items():
        assert merged[n].dtype == array.dtype
        np.testing.assert_allclose(merged[n], array, rtol=1e-5, atol=1e-7)
    assert len(json.loads((tmp_path / "m.npz.json").read_text())["checkpoints"]) == 4
    kept = folder / "checkpoints" / "kept"  # the folder of the checkpoints itself
    assert cli.run(["merge", str(kept), "--out", str(tmp_path / "kept.npz")]) == 0
    assert (tmp_path / "kept.npz").read_bytes() == (tmp_path / "m.npz").read_bytes()
    asked = ["--params", "state/params", "--out", str(tmp_path / "raw.npz")]
    assert cli.run(["merge", str(folder), *asked]) == 0
    taken = npz_files.flat_arrays(npz_files.read(tmp_path / "raw.npz"))
    for n, array in raw.items():
        np.testing.assert_allclose(taken[n], array, rtol=1e-5, atol=1e-7)


def test_the_newest_alone_is_what_is_evaluated_also_in_blocks_and_extrapolated(trained, tmp_path):
    name, folder = trained
    if name != "schedule_free":
        return
    newest = flat(trees(folder)[-1])
    assert cli.run(["merge", str(folder), "--weights", "0,0,0,1", "--out", str(tmp_path / "m.npz")]) == 0
    reader, kept = loading.evaluated(folder), folder / "checkpoints" / "kept"
    merging.merge_folder(kept, (0, 0, 0, 1), in_memory=0, reader=reader, out=tmp_path / "blocks.npz")
    for file in ("m.npz", "blocks.npz"):
        merged = npz_files.flat_arrays(npz_files.read(tmp_path / file))
        for n, array in newest.items():
            np.testing.assert_array_equal(merged[n], array)
    assert cli.run(["extrapolate", str(folder), "--out", str(tmp_path / "e.npz")]) == 0
    from optaxaccel import extrapolate

    want = flat(jax.device_get(extrapolate(trees(folder))))
    got = npz_files.flat_arrays(npz_files.read(tmp_path / "e.npz"))
    for n, array in want.items():
        np.testing.assert_allclose(got[n], array, rtol=1e-3, atol=1e-5)


def test_no_data_are_asked_for(tmp_path):
    """A run of a file that is gone since is merged all the same."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (64, 4, 4, 1)).astype(np.uint8), np.arange(64) % 2
    path = tmp_path / "d.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    run = RUNS["averaged_sgd"].replace(data=str(path), batch_size=16)
    loop.train(run, tmp_path / "r" / "record.jsonl", keep=Keep(tmp_path / "r", every="1epoch"))
    want = mean(trees(tmp_path / "r"))
    path.unlink()
    shutil.rmtree(tmp_path / "r" / "checkpoints" / "best")
    assert cli.run(["merge", str(tmp_path / "r"), "--out", str(tmp_path / "m.npz")]) == 0
    merged = npz_files.flat_arrays(npz_files.read(tmp_path / "m.npz"))
    for n, array in want.items():
        np.testing.assert_allclose(merged[n], array, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gone", ["tree", "."])
def test_a_checkpoint_that_goes_while_it_is_read_is_named(gone, tmp_path, capsys, monkeypatch):
    """A run that trains removes its older ones; a part of one may still be there when reading it fails."""
    run, kept = RUNS["plain"].replace(epochs=1), tmp_path / "checkpoints" / "kept"
    loop.train(run, tmp_path / "record.jsonl", keep=Keep(tmp_path, every=2))
    read = orbax_steps.read

    def meanwhile(path):
        shutil.rmtree(kept / "4" / gone, ignore_errors=True)
        threading.Timer(0.05, shutil.rmtree, (kept / "4", True)).start()
        return read(path)

    monkeypatch.setattr(formats, "ORBAX", formats.ORBAX._replace(read=meanwhile))
    assert cli.run(["extrapolate", str(tmp_path)]) == 2
    assert "4 was removed while the checkpoints were read" in capsys.readouterr().err


def test_a_checkpoint_that_goes_while_the_folder_is_listed_is_not_taken(tmp_path, monkeypatch):
    loop.train(RUNS["plain"].replace(epochs=1), tmp_path / "record.jsonl", keep=Keep(tmp_path, every=2))
    kept, items = tmp_path / "checkpoints" / "kept", orbax_steps.items

    def meanwhile(path):
        if path == kept / "4":
            shutil.rmtree(path)
        return items(path)

    monkeypatch.setattr(orbax_steps, "items", meanwhile)
    assert [path.name for path in checkpoint_order.find(kept).paths] == ["2", "6", "8", "10"]


def test_a_link_that_leads_nowhere_was_not_removed(tmp_path, capsys):
    for step in range(3):
        np.savez(tmp_path / f"{step}.npz", w=np.full(2, float(step)))
    (tmp_path / "3.npz").symlink_to(tmp_path / "nowhere")
    assert cli.run(["merge", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "3.npz" in said
    assert "was removed" not in said
