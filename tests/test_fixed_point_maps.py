"""The benchmark of fixed points: its further maps, and what is written of them. Solvers are measured by hand."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.fixed_points import __main__ as command
from benchmarks.fixed_points import further, maps, measure, solvers, table

TURNS = 100  # of plain iteration


def residuals(case, dtype):
    """The residuals of plain iteration, and whether all of it is finite and as x0 is."""
    fun, start = case.make(dtype)
    kind = jnp.promote_types(dtype, jnp.complex64) if np.iscomplexobj(start) else dtype
    x, fun, sizes = jnp.asarray(start, kind), jax.jit(fun), []
    assert x.ndim == 1
    for _ in range(TURNS):
        y = fun(x)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        sizes.append(np.linalg.norm(y - x))
        x = y
    assert np.all(np.isfinite(np.asarray(x)))
    assert np.all(np.isfinite(case.essence(np.asarray(x))))
    return sizes


@pytest.mark.parametrize("case", further.FURTHER, ids=lambda case: case.name)
def test_a_further_map_is_finite_and_keeps_types_and_plain_iteration_comes_nearer(case):
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(True):  # in which a float32 that meets a float64 does not stay one
            sizes = residuals(case, dtype)
        assert sizes[-1] < 0.7 * sizes[0] or not case.plain


def test_free_constants_signs_and_turns_are_no_other_point():
    (case,) = [each for each in further.FURTHER if each.name == "factor_analysis"]
    _, start = case.make(jnp.float32)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = np.concatenate([(start[:60].reshape(20, 3) @ turn).reshape(-1), start[60:]])
    np.testing.assert_allclose(case.essence(turned), case.essence(start), atol=1e-12)
    assert not np.allclose(case.essence(2 * start), case.essence(start))


def test_names_are_of_one_map():
    names = [case.name for cases in measure.SETS.values() for case in cases]
    assert len(set(names)) == len(names) == len(maps.ALL) + len(further.FURTHER)
    assert set(measure.SETS) == set(command.FILES)


def test_a_row_of_a_further_map_is_measured(tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    arguments = ["measure", "--precision", "float32", "--set", "further", "--maps", "riccati", "--solvers", "plain"]
    monkeypatch.setattr("sys.argv", [*arguments, "--out", str(out)])
    before = jax.config.jax_enable_x64
    try:
        measure.main()
    finally:
        jax.config.update("jax_enable_x64", before)
    ((name, cell),) = json.loads(out.read_text())[0]["solvers"].items()
    assert (name, cell["status"]) == ("plain", "solved")
    assert 5 < cell["maps"] < 50


@pytest.mark.parametrize("set_", ["first", "further"])
def test_a_set_has_files_of_its_own(set_, tmp_path, monkeypatch, capsys):
    ran = []

    def run(module, *arguments):
        ran.append((module, arguments[: arguments.index("--out")]))
        cells = {name: {"status": "solved", "maps": 7, "seconds": 0.1} for name in (solvers.OURS, "plain")}
        rows = [{"map": "stein", "unknowns": 400, "solvers": cells}]
        with open(arguments[arguments.index("--out") + 1], "w") as file:
            json.dump([] if module.endswith("costs") else rows, file)

    monkeypatch.setattr(command, "_run", run)
    command.main(["--set", set_, "--out", str(tmp_path)])
    numbers, words = command.FILES[set_]
    text = (tmp_path / words).read_text()
    assert json.loads((tmp_path / numbers).read_text())["float64"][0]["map"] == "stein"
    assert text in capsys.readouterr().out
    assert "| stein | 400 | 7 | 7 |" in text
    further_ = set_ == "further"
    assert ("None of these maps was used" in text) == ("--set further" in text) == further_
    assert ("### Goals" in text) == any(module.endswith("costs") for module, _ in ran) == (not further_)


def test_the_sentence_on_jaxopt_leaves_out_what_it_does_not_solve():
    def row(**counts):
        return {"solvers": {name: {"status": "solved", "maps": count} for name, count in counts.items()}}

    rows = [row(anderson=20, jaxopt=100, acx=10), row(anderson=80, jaxopt=100, acx=90), row(anderson=7)]
    rows.append(row(anderson=5, jaxopt=100))
    rows[-1]["solvers"]["jaxopt"]["status"] = "failed"
    text = table.over_jaxopt(rows)
    assert "On the 2 maps" in text
    assert "takes 0.400 of" in text  # the root of 0.2 times 0.8
    assert "would take\n0.283." in text  # the root of 0.1 times 0.8
    assert table.over_jaxopt(rows[2:]) == ""


def test_the_page_says_what_the_records_say():
    """Evaluations and seconds over jaxopt's on both sets, over the best, over textbook Anderson's, and the batch."""
    records = [json.loads((command.RESULTS / numbers).read_text()) for numbers, _ in command.FILES.values()]
    text = " ".join((Path(__file__).parents[1] / "docs" / "fixed_points.md").read_text(encoding="utf-8").split())
    first, second = (record["float64"] for record in records)
    both = [row for row in first + second if row["solvers"]["jaxopt"]["status"] == "solved"]
    evaluations, seconds = (table.against(both, "jaxopt", what) for what in ("maps", "seconds"))
    assert (
        f"jaxopt succeeds ({len(both)} maps), ours takes {evaluations:.3f} of its evaluations and {seconds:.3f}" in text
    )
    for rows, words in ((first, "of any solver, and jaxopt"), (second, "evaluations, and jaxopt")):
        ours, jaxopt = (
            next(line for line in table.summary(rows) if line["solver"] == n) for n in ("anderson", "jaxopt")
        )
        assert ours["failed"] + ours["other"] == 0
        assert f"{ours['over_best']:.2f} times the fewest" in text
        assert f"{words} {jaxopt['given'] - jaxopt['failed'] - jaxopt['other']}" in text
    shares = [table.against(rows, "textbook Anderson", "seconds") for rows in (first, second)]
    assert "takes {:.2f} of its seconds on the first set and {:.2f} on the second".format(*shares) in text
    compiled, calls = (row["value"] for row in records[0]["costs"] if "floor" in row)
    assert f"take {compiled:.1f} times as long as a batch of 256 problems" in text
    assert f"outside a compiled function {calls:.0f} times" in text


@pytest.mark.parametrize("set_", command.FILES)
def test_the_tables_are_made_of_the_records(set_):
    numbers, words = command.FILES[set_]
    measured = json.loads((command.RESULTS / numbers).read_text())
    made = command.page(measured) if set_ == "first" else command.further_page(measured)
    assert made == (command.RESULTS / words).read_text()
