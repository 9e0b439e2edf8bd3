"""Do a new user's first hour with a stopwatch, and write its times into CONTRIBUTING: `make first-hour`.

Everything happens in a fresh folder with a fresh home, from a clone of the last commit. A step that does not do what it
should is told with its output, and then nothing is written: what makes a new user stop is a bug, of code or of text.
"""

import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
TABLE = re.compile(r"<!-- begin first hour -->\n.*?<!-- end first hour -->", re.DOTALL)
TUTORIALS = (
    "compare transformer pinn equilibrium_layer merge_checkpoints untuned sharding batch_norm_dropout flax_nnx equinox"
)

FLAX = """
import flax.linen as nn, jax, jax.numpy as jnp, optax, optaxaccel
from flax.training.train_state import TrainState
x = jax.random.normal(jax.random.key(0), (32, 4)); y = x.sum(1, keepdims=True)
net = nn.Dense(1)
loss = lambda params: jnp.mean((net.apply({"params": params}, x) - y) ** 2)
state = TrainState.create(apply_fn=net.apply, params=net.init(jax.random.key(1), x)["params"], tx=TX)
for _ in range(100):
    value, grad = jax.value_and_grad(loss)(state.params)
    UPDATE
print("loss", float(loss(optaxaccel.eval_params(state.opt_state, state.params))) < 1e-2)
"""
PLAIN = "state = state.apply_gradients(grads=grad)"
WHOLE = (
    "u, s = state.tx.update(grad, state.opt_state, state.params, value=value, grad=grad, value_fn=loss); "
    "state = state.replace(params=optax.apply_updates(state.params, u), opt_state=s)"
)
README = r"""
import pathlib, re
for code, said in re.findall(r"```python\n(.*?)```\s+```text\n(.*?)```", pathlib.Path("README.md").read_text(), re.S):
    exec(code); print("said:", said)
"""


class Step(NamedTuple):
    """A line of the table: what is done, what should happen, the command, a word of its output, its exit status."""

    what: str
    should: str
    command: str
    word: str
    status: int = 0


def flax(tx: str, update: str = PLAIN) -> str:
    """Return the command that runs a small script of Flax in the environment with the extra `command`."""
    Path("script.py").write_text(FLAX.replace("TX", tx).replace("UPDATE", update))
    return "command/bin/python script.py"


def steps(python: str, data: str) -> Iterator[Step]:
    """Give the steps, in order; each is made when the one before it is done."""
    run = "command/bin/optaxaccel"
    demo = f"make -C clone demo PYTHON={python}"
    yield Step(
        "clone; `make demo`", "installs; a ranked table and a figure", f"git clone -q {ROOT} clone && {demo}", "figure"
    )
    yield Step("`make demo` again", "the same without the installation", demo, "figure")
    wheel = f"{python} -m venv builder && builder/bin/pip -q install build && builder/bin/python -m build -o dist clone"
    yield Step("build the wheel and the sdist", "two files, whose README links to the repository", wheel, ".whl")
    wheel = next(Path("dist").glob("*.whl"))
    bare = f"{python} -m venv bare && bare/bin/pip -q install {wheel}"
    yield Step("`pip install` of the wheel in an empty environment", "jax, optax and what they need, no more", bare, "")
    Path("README.md").write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    Path("readme.py").write_text(README)
    yield Step("there, the README's examples", "print what stands below them", "bare/bin/python readme.py", "[1.0, 2.0")
    command = f"{python} -m venv command && command/bin/pip -q install '{wheel}[command]' equinox"
    yield Step("`pip install` of the wheel with `[command]`", "no TFDS, no grain", command, "")
    train = f"{run} train --method pal --data digits --model mlp --epochs 20 --out one && {run} report one"
    yield Step("train and report", "an accuracy above 90 %, a table, a figure", train, "figure")
    tried = "--methods optax.adam agd --tune learning_rate=1e-4,1e-3"
    compare = f"{run} compare --task poisson_1d --size smoke {tried} --out two"
    yield Step("compare", "a table and a figure", compare, "figure")
    yield Step("an own Flax script with optax's SGD", "its loss", flax("optax.sgd(0.1)"), "True")
    yield Step("there, `interpolatron(0.1)`", "runs unchanged", flax("optaxaccel.interpolatron(0.1)"), "True")
    pal = flax("optaxaccel.pal()")
    yield Step("there, `pal()`", "an error: what to pass, and that `apply_gradients` does not", pal, "value_fn", 1)
    yield Step("`state.tx.update(..., value_fn=)`", "runs", flax("optaxaccel.pal()", WHOLE), "True")
    mnist = f"{run} train --data mnist --model cnn --method pal --epochs 1"
    away = f"TFDS_DATA_DIR=$PWD/none {mnist}"
    yield Step("train on MNIST without the data", "refused: where it was looked for, what to do", away, "prepare", 2)
    if data:
        install = f"command/bin/pip -q install '{wheel}[train]' && "
        there = f"{install}TFDS_DATA_DIR={data} {mnist} --out three"
        yield Step("`[train]`, and MNIST where it is prepared", "98 % after an epoch, decoding included", there, "98.")
    yield Step("a misspelt method", "the nearest name", f"{run} train --method pall --data digits", "'pal'", 2)
    yield Step("a data set that is missing", "the nearest name", f"{run} train --data digit", "'digits'", 2)
    for name in TUTORIALS.split():
        run_page = f"mkdir {name} && cd {name} && ../command/bin/python ../clone/docs/executed.py {name} && ls"
        yield Step(
            f"the tutorial [{name}](docs/guides/{name}.md)", "prints what stands there; a figure", run_page, ".png"
        )


def walk(python: str, data: str) -> str:
    """Do all steps in the current folder and return the table."""
    rows = ["| step | what should happen | seconds |", "| --- | --- | ---: |"]
    environment = {**os.environ, "HOME": os.getcwd(), "XDG_CACHE_HOME": f"{os.getcwd()}/cache"}
    for name in ("PYTHONPATH", "VENV", "TFDS_DATA_DIR", "VIRTUAL_ENV"):
        environment.pop(name, None)
    loads, stumbles = [os.getloadavg()[0]], []
    for step in steps(python, data):
        began = time.perf_counter()
        done = subprocess.run(step.command, shell=True, capture_output=True, text=True, env=environment)
        seconds = time.perf_counter() - began
        output = done.stdout + done.stderr
        print(f"{seconds:6.0f} s  {step.what}", flush=True)
        if done.returncode != step.status or step.word not in output:
            stumbles.append(step.what)
            print(f"{output}\nstumble: status {done.returncode}, {step.word!r} expected above", flush=True)
        rows.append(f"| {step.what} | {step.should} | {max(1, round(seconds))} |")
        loads.append(os.getloadavg()[0])
    if stumbles:
        sys.exit(f"Nothing is written, for {len(stumbles)} steps did not do what they should: {'; '.join(stumbles)}.")
    version = subprocess.run([python, "--version"], capture_output=True, text=True).stdout.split()[1]
    machine = f"{os.cpu_count()} cores of {platform.machine()}, load {min(loads):.0f} to {max(loads):.0f}"
    head = f"Seconds by the clock on {datetime.date.today()}: Python {version}, {machine}, packages from the network."
    return "\n".join(["<!-- begin first hour -->", head, "", *rows, "<!-- end first hour -->"])


def main(python: str = sys.executable, data: str = os.environ.get("TFDS_DATA_DIR", "")) -> None:
    """Walk in a fresh folder and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        table = walk(python, data)
        os.chdir(ROOT)
    PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
