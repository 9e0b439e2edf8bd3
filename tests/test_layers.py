"""The package's layers: a light import, imports that point downwards, a lazy public surface."""

import ast
import json
import os
import pkgutil
import re
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("flax", "tensorflow_datasets", "orbax", "matplotlib", "tyro", "rich", "chex", "grain", "PIL", "tensorflow")
TOUCH_EVERYTHING = """
import optaxaccel
for name in optaxaccel.__all__:
    getattr(optaxaccel, name)
for card in optaxaccel.METHODS.values():
    card.make(**card.example)
"""
REPORT = "\nimport sys, json; print(json.dumps(sorted(m for m in sys.modules)))"


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has loaded after running `code`."""
    run = subprocess.run(
        [sys.executable, "-c", code + REPORT],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def touched() -> set[str]:
    return modules_after(TOUCH_EVERYTHING)


@pytest.fixture(scope="module")
def jax_and_optax() -> set[str]:
    return modules_after("import jax, jax.numpy, optax")


def test_every_public_name_is_light(touched, jax_and_optax):
    loaded = packages(touched)
    assert {"jax", "optax", "optaxaccel"} <= loaded
    assert loaded & set(HEAVY) == packages(jax_and_optax) & set(HEAVY) == set()


def test_methods_load_nothing_beyond_jax_and_optax(touched, jax_and_optax):
    """No third package, and of the standard library only what costs nothing."""
    new = packages(touched) - packages(jax_and_optax) - {"optaxaccel"}
    assert {name for name in new if name not in sys.stdlib_module_names} == set()
    assert len(new) <= 3, f"more of the standard library than expected: {sorted(new)}"


def test_import_alone_does_not_start_jax():
    """So that the command line answers `--help` at once."""
    loaded = modules_after("import optaxaccel; optaxaccel.__version__")
    assert "optaxaccel" in loaded
    assert packages(loaded) & {"jax", "jaxlib", "optax", "numpy"} == set()


def test_the_public_names_see_nothing_above_them(touched):
    inside = {name.split(".")[1] for name in touched if name.startswith("optaxaccel.")}
    assert inside <= {"methods", "solvers", "numerics", "registry"}


def test_the_surface_is_that_of_methods_and_solvers():
    import optaxaccel
    from optaxaccel import methods, solvers

    homes = {name: home for home in (methods, solvers) for name in home.__all__}
    assert len(homes) == len(methods.__all__) + len(solvers.__all__), "a name twice"
    assert sorted(optaxaccel.__all__) == sorted(homes)
    assert set(homes) <= set(dir(optaxaccel))
    assert all(getattr(optaxaccel, name) is getattr(home, name) for name, home in homes.items())
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'.*METHODS"):
        getattr(optaxaccel, "nothing")  # noqa: B009


def test_no_public_name_hides_a_module():
    """`import optaxaccel.methods.pal as m` must not be a function: modules of a method are called `_name`."""
    from optaxaccel import methods, solvers

    for home in (methods, solvers):
        modules = {module.name for module in pkgutil.iter_modules(home.__path__)}
        assert modules & set(home.__all__) == set()


def test_an_access_costs_no_more_than_an_attribute():
    import optaxaccel

    assert optaxaccel.pal is optaxaccel.pal
    assert "pal" in vars(optaxaccel)
    seconds = min(timeit.repeat("optaxaccel.pal", globals={"optaxaccel": optaxaccel}, number=10_000, repeat=20)) / 1e4
    assert seconds < 1e-7


def test_a_type_checker_knows_the_public_names(tmp_path):
    """What `from optaxaccel import ...` gives is known statically, so editors complete it."""
    import optaxaccel

    probe = tmp_path / "probe.py"
    wanted = ", ".join(sorted(optaxaccel.__all__))
    probe.write_text(f"from optaxaccel import {wanted}\nfrom optaxaccel import nothing\npal(misspelt=1)\n")
    command = [Path(sys.executable).with_name("basedpyright"), "--outputjson", "--level", "error"]
    command += ["--pythonpath", sys.executable, probe]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    diagnostics = json.loads(run.stdout)["generalDiagnostics"]
    messages = [f["message"].partition(" (")[0] for f in diagnostics]
    assert messages == ['"nothing" is unknown import symbol', 'No parameter named "misspelt"']


def test_import_contracts_hold():
    """The contracts of pyproject.toml, as `make check` runs them."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


ROOMS = ["numerics", *(f"training/{name}" for name in ("run", "steps", "keeping", "histories", "many"))]


@pytest.mark.parametrize("room", ROOMS)
def test_the_header_of_a_room_names_all_its_modules(room):
    folder = ROOT / "optaxaccel" / room
    header = (folder / "__init__.py").read_text(encoding="utf-8")
    modules = {module.name for module in pkgutil.iter_modules([str(folder)])}
    missing = sorted(name for name in modules if not re.search(rf"\b{name}\b", header))
    assert not missing, f"the header of optaxaccel/{room}/__init__.py does not say what {', '.join(missing)} is for"


def test_the_header_of_a_numerics_module_says_in_five_lines_who_uses_it():
    for path in (ROOT / "optaxaccel" / "numerics").rglob("*.py"):
        header = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[:5]
        assert path.name == "__init__.py" or re.search(r"Used by|uses it|ask here", "\n".join(header)), path


SEVERAL = {"__init__": "Python's own name of a folder's face"}  # names that several modules have, and why they may


def test_a_name_is_that_of_one_module():
    """So that a name in a traceback, in an editor's list of files or in a comment says which file is meant."""
    places: dict[str, list[str]] = {}
    for path in (ROOT / "optaxaccel").rglob("*.py"):
        name = path.stem if path.stem.startswith("__") else path.stem.lstrip("_")
        places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    shared = {name: sorted(paths) for name, paths in places.items() if len(paths) > 1}
    assert set(shared) == set(SEVERAL), shared


def test_no_file_is_longer_than_300_lines():
    folders = ("optaxaccel", "experiments", "benchmarks", "docs", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}


LOOSE = {"found", "begin", "held", "told"}


@pytest.mark.parametrize("folder", ["optaxaccel", "experiments", "benchmarks", "docs", "tests"])
def test_a_variable_or_a_function_is_named_by_what_it_holds_or_does(folder):
    kinds = {ast.Name: "id", ast.arg: "arg", ast.FunctionDef: "name", ast.ClassDef: "name", ast.alias: "asname"}
    for path in (ROOT / folder).rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        loose = [n.lineno for n in nodes if type(n) in kinds and str(getattr(n, kinds[type(n)])).lower() in LOOSE]
        assert not loose, f"{path}, lines {loose}: say what was found, held or told, or what begins"
