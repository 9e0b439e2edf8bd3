"""`optaxaccel extrapolate` on checkpoints as others lay them out: order, layout, dtypes, and what is not finite."""

import json

import ml_dtypes
import numpy as np
import pytest

from optaxaccel import cli
from optaxaccel.training.histories import formats
from optaxaccel.training.histories.offline import extrapolate_folder

K = 6


def descent(k):
    """Gradient descent towards 1 with as many rates, so that six iterates know the limit."""
    return 1 + np.array([3.0, -2.0, 1.0, 0.5]) * np.array([0.9, 0.6, 0.3, 0.1]) ** k


def moment(k):
    return 40.0 * np.cos(np.array([1.0, 2.0, 3.0]) * k)


def save(folder, tree_of, *, count=K, name="step_{}.npz"):
    for k in range(count):
        np.savez(folder / name.format(k), **tree_of(k))


def run(folder, *arguments):
    return cli.run(["extrapolate", str(folder), "--regularization", "0", *arguments])


def result(folder):
    with np.load(folder / "extrapolated.npz", allow_pickle=False) as file:
        return dict(file)


# --- What is the parameters -------------------------------------------------------------------------------------------

REFUSED = {
    "an optimiser under an unknown name": (lambda w, m: {"model/w": w, "optimizer_state_dict/m": m}, "--params model"),
    "Lightning": (lambda w, m: {"state_dict/w": w, "optimizer_states/0/state/0/exp_avg": m}, "--params state_dict"),
    "T5X": (lambda w, m: {"target/w": w, "state/param_states/w/v": m}, "--params target"),
    "dots": (lambda w, m: {"model.w": w, "optimizer.m": m}, "--params model"),
    "moments among the weights": (lambda w, m: {"net/w": w, "net/mu": m, "net/nu": m}, "--params . for all of it"),
    "flat moments": (lambda w, m: {"w": w, "m": m, "v": m}, "--params . for all of it"),
    "an average beside": (lambda w, m: {"model/kernel": w, "ema_model/kernel": m}, "--params model"),
    "a target network": (lambda w, m: {"q.weight": w, "target_q.weight": m}, "--params q"),
    "two networks": (lambda w, m: {"generator/kernel": w, "discriminator/kernel": m}, "--params generator"),
    "two equally near": (lambda w, m: {"a/params/w": w, "b/params/w": m}, "--params a/params"),
    "params of an optimiser": (lambda w, m: {"weights/w": w, "optimizer/params/w": m}, "--params weights"),
    "moments below params": (lambda w, m: {"params/w": w, "params/exp_avg_sq": m}, "--params . for all of it"),
    "entries of which nothing is known": (lambda w, m: {"here/w": w, "there/w": m}, "--params here"),
    "a measured number": (lambda w, m: {"w": w, "val_loss": m[0]}, "--params . for all of it"),
}


@pytest.mark.parametrize("layout", REFUSED)
def test_a_checkpoint_that_may_hold_more_than_parameters_is_shown_and_not_extrapolated(layout, tmp_path, capsys):
    tree, remedy = REFUSED[layout]
    save(tmp_path, lambda k: tree(descent(k), moment(k)))
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    for name, array in tree(descent(0), moment(0)).items():
        assert f"{name.replace('.', '/')}  float64 {np.shape(array)}" in error
    assert remedy in error
    assert not list(tmp_path.glob("extrapolated*"))
    where = remedy.split()[1]
    assert run(tmp_path, "--params", where) == 0
    weights = next(iter(result(tmp_path).values()))
    if where != ".":
        np.testing.assert_allclose(weights, 1.0, atol=1e-6)
        assert len(result(tmp_path)) == 1


TAKEN = {
    "one tree": (lambda w, m: {"net/a": w[:2], "net/b": w[2:]}, "all"),
    "a state_dict": (lambda w, m: {"conv1.weight": w[:2], "head.bias": w[2:], "head.num": np.int64(3)}, "all"),
    "a state_dict of Hugging Face": (lambda w, m: {"model.embed.weight": w[:2], "lm_head.weight": w[2:]}, "all"),
    "layers": (lambda w, m: {"dense/kernel": w[:2], "dense_1/bias": w[2:]}, "all"),
    "params and others": (lambda w, m: {"params/w": w, "opt_state/mu/w": m, "ema/w": m, "step": np.int32(4)}, "params"),
    "params further down": (lambda w, m: {"state/params/mu": w, "state/opt/params/mu": m}, "state/params"),
    "params with dots": (lambda w, m: {"params.w": w, "optimizer.m": m}, "params"),
    "a name that is also a folder": (lambda w, m: {"a": w[:2], "a/b": w[2:]}, "all"),
}


@pytest.mark.parametrize("layout", TAKEN)
def test_a_checkpoint_of_parameters_is_taken_without_a_word(layout, tmp_path, capsys):
    tree, where = TAKEN[layout]
    save(tmp_path, lambda k: tree(descent(k), moment(k)))
    assert run(tmp_path) == 0, capsys.readouterr().err
    assert f"parameters: {where}" in capsys.readouterr().out
    extrapolated = result(tmp_path)
    floats = [x for x in extrapolated.values() if x.dtype == np.float64]
    np.testing.assert_allclose(np.concatenate(floats), np.ones(4), atol=1e-6)
    prefix = where.rpartition("/")[0]
    names = [n.removeprefix(f"{prefix}/") for n in tree(descent(0), moment(0)) if where == "all" or n.startswith(where)]
    assert sorted(extrapolated) == sorted(names)


# --- Statistics, integers and dtypes ----------------------------------------------------------------------------------


def test_statistics_among_the_weights_have_no_say_and_the_file_says_so(tmp_path, capsys):
    def state_dict(k):
        variance = np.array([0.4 * 0.8**k])
        tree = {"conv.weight": descent(k), "bn.running_mean": 5.0 + moment(k)[:1], "bn.running_var": variance}
        return {**tree, "bn.num_batches_tracked": np.int64(2**40 + k)}

    save(tmp_path, state_dict)
    done = extrapolate_folder(tmp_path, regularization=0.0)
    extrapolated = result(tmp_path)
    np.testing.assert_allclose(extrapolated["conv.weight"], 1.0, atol=1e-9)
    assert 0.4 * 0.8 ** (K - 1) <= extrapolated["bn.running_var"][0] <= 0.4
    mean = np.array([state_dict(k)["bn.running_mean"] for k in range(1, K)])
    np.testing.assert_allclose(extrapolated["bn.running_mean"], done.weights @ mean, rtol=1e-9)
    assert extrapolated["bn.num_batches_tracked"].dtype == np.int64
    assert extrapolated["bn.num_batches_tracked"] == 2**40 + K - 1
    note = json.loads((tmp_path / "extrapolated.npz.json").read_text())
    assert note["statistics"]["names"] == ["bn/running_mean", "bn/running_var"]
    assert note["kept from the newest"] == ["bn/num_batches_tracked"]
    assert note["checkpoints"] == [f"step_{k}.npz" for k in range(K)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, ml_dtypes.bfloat16, ">f4"])
def test_every_leaf_keeps_its_dtype_beside_others(dtype, tmp_path):
    dtype = np.dtype(dtype)
    save(tmp_path, lambda k: {"a.weight": descent(k).astype(dtype), "b.weight": descent(k), "n": np.uint64(2**63 + k)})
    before = formats.NPZ.read(tmp_path / "step_5.npz")
    extrapolate_folder(tmp_path, regularization=1e-4)
    extrapolated = formats.NPZ.read(tmp_path / "extrapolated.npz")
    assert {n: x.dtype for n, x in extrapolated.items()} == {n: x.dtype for n, x in before.items()}
    assert extrapolated["a.weight"].dtype == dtype.newbyteorder("=")
    assert extrapolated["n"] == 2**63 + K - 1
    np.testing.assert_allclose(
        extrapolated["a.weight"].astype(np.complex64), extrapolated["b.weight"], rtol=0.1, atol=0.1
    )


# --- What is not finite -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "where"), [(np.nan, 0), (np.inf, 3), (-np.inf, 5), (3e38, 0), (3e38, 5)])
def test_a_checkpoint_that_is_not_finite_is_named_or_left_out(value, where, tmp_path, capsys):
    def tree(k):
        w = descent(k).astype(np.float32)
        w[2] = value if k == where else w[2]
        return {"params/w": w, "step": np.int32(k)}

    save(tmp_path, tree)
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    assert f"step_{where}.npz: params/w holds" in error
    assert "--skip-not-finite" in error
    assert not list(tmp_path.glob("extrapolated*"))
    assert cli.run(["extrapolate", str(tmp_path), "--skip-not-finite"]) == 0
    printed = capsys.readouterr().out
    assert f"left out, because it is not finite: step_{where}.npz" in printed
    assert np.isfinite(result(tmp_path)["params/w"]).all()


def test_not_finite_statistics_and_moments_count_only_where_they_are_used(tmp_path, capsys):
    save(tmp_path, lambda k: {"params/w": descent(k), "opt_state/nu": np.full(2, np.nan)})
    assert run(tmp_path) == 0
    (tmp_path / "extrapolated.npz").unlink()
    save(tmp_path, lambda k: {"params/w": descent(k), "batch_stats/var": np.full(2, np.nan if k == 2 else 1.0)})
    assert run(tmp_path) == 2
    assert "step_2.npz: batch_stats/var holds NaN" in capsys.readouterr().err


def test_a_mask_of_infinities_that_never_changes_is_kept(tmp_path):
    mask = np.array([0.0, -np.inf])
    save(tmp_path, lambda k: {"attention.mask": mask, "attention.weight": descent(k)})
    assert run(tmp_path) == 0
    np.testing.assert_array_equal(result(tmp_path)["attention.mask"], mask)
    np.testing.assert_allclose(result(tmp_path)["attention.weight"], 1.0, atol=1e-9)


@pytest.mark.parametrize("tree", [{"step": np.int32(3)}, {"running_mean": np.ones(2)}])
def test_checkpoints_without_weights_are_refused(tree, tmp_path, capsys):
    save(tmp_path, lambda k: tree)
    assert run(tmp_path) == 2
    assert "no floating weights" in capsys.readouterr().err


# --- Wild weights -----------------------------------------------------------------------------------------------------


def noisy(k):
    return {"w": 1 + 0.97**k + 1e-4 * np.random.default_rng(k).normal(size=50)}


def test_wild_weights_are_told_with_what_would_calm_them_and_a_loss_chooses(tmp_path, capsys):
    save(tmp_path, noisy, count=11)
    assert run(tmp_path) == 0
    captured = capsys.readouterr()
    done = extrapolate_folder(tmp_path, regularization=0.0, out=tmp_path / "extrapolated2.npz")
    total = sum(map(abs, done.weights))
    assert total > 10
    assert f"sum of |weights| is {total:.3g}" in captured.err
    strength, calm = done.calmer
    again = extrapolate_folder(tmp_path, regularization=strength, out=tmp_path / "extrapolated3.npz")
    assert again.calmer is None
    assert sum(map(abs, again.weights)) == pytest.approx(calm)
    assert f"--regularization {strength:.0e}" in captured.err

    hook = tmp_path / "judge.py"
    hook.write_text("def loss(tree):\n    return ((tree['w'] - 1) ** 2).mean()\n")
    out = ["--out", str(tmp_path / "extrapolated4.npz")]
    assert run(tmp_path, "--value-fn", f"{hook}:loss", *out) == 0
    with np.load(tmp_path / "extrapolated4.npz", allow_pickle=False) as file:
        chosen = ((file["w"] - 1) ** 2).mean()
    assert chosen <= min(((result(tmp_path)["w"] - 1) ** 2).mean(), ((noisy(10)["w"] - 1) ** 2).mean())
    assert f"{chosen:.6g}" in capsys.readouterr().out


def test_where_nothing_is_better_the_newest_is_written(tmp_path):
    save(tmp_path, noisy)
    newest = noisy(K - 1)["w"]
    done = extrapolate_folder(tmp_path, value_fn=lambda tree: np.abs(tree["w"] - newest).max())
    assert (done.regularization, done.weights) == (None, [0.0] * (K - 2) + [1.0])
    np.testing.assert_array_equal(result(tmp_path)["w"], newest)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "judge.py", "FILE.py:FUNCTION"),
        ("", "judge.py:loss", "no function 'loss'"),
        ("def loss(:", "judge.py:loss", "SyntaxError"),
        ("def loss(tree): return 'low'", "judge.py:loss", "by one number"),
        ("", "missing.py:loss", "No such file"),
    ],
)
def test_a_loss_that_is_none_is_refused(text, place, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, noisy)
    (tmp_path / "judge.py").write_text(text)
    assert run(tmp_path, "--value-fn", place) == 2
    assert message in capsys.readouterr().err


# --- Where the result goes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".msgpack"])
def test_the_ending_of_the_output_says_its_format(ending, tmp_path):
    save(tmp_path, lambda k: {"params/w": descent(k).astype(ml_dtypes.bfloat16), "params/n": np.int64(2**40 + k)})
    out = tmp_path / "elsewhere" / f"y{ending}"
    assert run(tmp_path, "--out", str(out)) == 0
    tree = formats.of(out).read(out)
    assert tree["params"]["w"].dtype == ml_dtypes.bfloat16
    assert tree["params"]["n"] == 2**40 + K - 1
    assert {path.name for path in out.parent.iterdir()} == {out.name, f"{out.name}.json"}


@pytest.mark.parametrize(("name", "message"), [("extrapolated.h5", "no format"), ("step_9.npz", "be taken for one")])
def test_an_output_that_would_be_a_trap_is_refused(name, message, tmp_path, capsys):
    save(tmp_path, lambda k: {"w": descent(k)})
    assert run(tmp_path, "--out", str(tmp_path / name)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / name).exists()
