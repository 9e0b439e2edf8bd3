"""What people read in a terminal and in a log: helps, tables, lines of progress, what a stopped command says."""

import inspect
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from optaxaccel import METHODS, cli
from optaxaccel.cli import commands, from_run, showing, terminal_tables
from optaxaccel.data import DATASETS
from optaxaccel.models import MODELS
from optaxaccel.tasks import TASKS
from optaxaccel.training import many
from optaxaccel.training.keeping import progress

COMMANDS = ["", *commands.NAMES.values()]


def said(capsys, *arguments, code=0):
    try:
        status = cli.run(arguments)
    except SystemExit as left:
        status = left.code or 0
    printed = capsys.readouterr()
    assert status == code, printed
    return printed


# --- Help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_help_fits_80_columns_names_its_command_and_ends_with_an_example_that_works(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = said(capsys, *command.split(), "--help").out
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"usage: optaxaccel {command}".strip())
    assert "{None}" not in text
    examples = [line.strip() for line in text.partition("example")[2].splitlines() if line.startswith("  optax")]
    assert examples
    for example in examples:
        words = shlex.split(example)[1:]
        assert words[0] == (command or words[0])
        assert isinstance(from_run.parse(words), commands.Command)


def test_a_default_is_said_once(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10000")
    for command in commands.NAMES.values():
        for line in said(capsys, command, "--help").out.splitlines():
            assert line.count("default") <= 1 or "TFDS default" in line, line
    text = said(capsys, "train", "--help").out
    assert "seconds between two checkpoints; 0 writes one whenever metrics are read (default: 30.0)" in text
    assert "sets initial weights, batches, augmentation and dropout. (default: 0)" in text
    assert "start_from" not in text.replace("-", "_")


MISSPELT = [
    (["trian"], "'train'"),
    (["list", "pall"], "'pal'"),
    (["list", "digit"], "'digits'"),
    (["list", "optax.adamm"], "'adam"),
    (["train", "--metod", "pal"], "--method"),
    (["train", "--task", "rosenbrok"], "'rosenbrock'"),
    (["train", "--task", "rosenbrock", "--task-args", "dimensoin=3"], "'dimension'"),
    (["train", "--schedule", "learnig_rate=constant_schedule(value=1.0)", "--method", "agd"], "'learning_rate'"),
    (["train", "--method", "baseline.ngm"], "'ngn'"),
    (["train", "--extrapolate", "regularisation=1"], "'regularization'"),
    (["train", "--augment", "flp"], "'flip'"),
    (["train", "--normalise", "chanel"], "'channel'"),
    (["compare", "--task", "copi", "--methods", "pal"], "'copy'"),
    (["compare", "--task", "copy", "--methods", "pall"], "'pal'"),
    (["data", "info", "mnits"], "'mnist'"),
    (["train", "--train-split", "trian"], "'train'"),
    (["train", "--method-args", "slope=exakt"], "'exact'"),
    (["compare", "--task", "copy", "--size", "smoke", "--methods", "pal", "--tune", "momentun=0.1,0.2"], "'momentum'"),
    (["train", "--grid", "momentun=0.1,0.2"], "'momentum'"),
    (["train", "--grid", "schedul.momentum=0.1"], "'schedule'"),
]


@pytest.mark.parametrize("case", range(len(MISSPELT)), ids=[" ".join(words) for words, _ in MISSPELT])
def test_a_misspelt_name_is_answered_with_the_nearest(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, nearest = MISSPELT[case]
    assert nearest in said(capsys, *words, code=2).err
    assert not list(tmp_path.iterdir())


# --- One name ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_shown_with_arguments_defaults_cost_and_page(method, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = said(capsys, "list", method).out
    card, page = METHODS[method], f"docs/methods/{method}.md"
    assert page in text
    assert (Path(__file__).parents[1] / page).is_file()
    cost = card.cost
    assert f"losses {cost.values:g}, gradients {cost.grads:g}, Hessian products {cost.hvps:g}" in text
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in text.splitlines() if line[:1] == "│"}
    for name, parameter in inspect.signature(card.make).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            assert rows[name] == "(required)"
        elif isinstance(parameter.default, (int, float, str)):
            assert rows[name].replace(" ", "") == repr(parameter.default).replace(" ", "")
    for name, _, meaning in showing.arguments(card.make):
        assert meaning, f"{name} has no line under Args"


@pytest.mark.parametrize(
    "name", ["lbfgs", "anderson", "cnn", "resnet18", "digits", "mnist", "copy", "optax.adam", "baseline.ngn"]
)
def test_other_names_are_shown(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = said(capsys, "list", name).out
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("  try "))  # that is to be copied
    assert text.startswith(f"{name}: ")
    where = {**dict.fromkeys(MODELS, "models"), **dict.fromkeys(DATASETS, "data"), **dict.fromkeys(TASKS, "tasks")}
    assert name not in where or f"docs/{where[name]}.md" in text


# --- Tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120, 200])
def test_tables_fit_and_break_no_word(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = said(capsys, "list", "methods").out.splitlines()
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.replace("│", " ").split()}
    assert set(METHODS) <= words
    papers = {word for card in METHODS.values() for word in card.paper.split()}
    assert papers <= words or (width == 80 and any("Left out" in line and "paper" in line for line in lines))


def test_a_mean_and_its_error_stay_together_and_the_first_columns_stay():
    columns, rows = ["name", "accuracy", "paper"], [["a_long_name_of_a_method", "93.4\u00a0±\u00a00.2", "word " * 9]]
    for width in range(24, 120):
        widths = terminal_tables.fitted(columns, rows, width)
        assert widths[0] >= 23
        assert len(widths) < 2 or (widths[1] >= 10 and sum(widths) + 3 * len(widths) + 1 <= width)
    assert len(terminal_tables.fitted(columns, rows, 120)) == 3


# --- Logs -------------------------------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_one_line_a_second_and_the_last_one(clock):
    log = io.StringIO()
    with progress.counter(Console(file=log), "runs", 1000) as advance:
        for run in range(1000):
            clock.now += 0.004
            advance(f"run {run} (done)")
    lines = log.getvalue().splitlines()
    assert len(lines) <= 6
    assert lines[-1] == "runs 1000/1000: run 999 (done)"


def test_a_run_tells_the_log_seldom_and_time_left_is_without_compilation(clock):
    log = io.StringIO()
    row = {"kind": "eval", "split": "test", "loss": 1.0}
    with progress.reporter(Console(file=log, width=200), "a run") as report:
        clock.now += 600  # compilation
        report(step=0, total=100, row={**row, "epoch": 0.0})
        for step in range(1, 101):
            clock.now += 0.1
            report(step=step, total=100, row={**row, "epoch": step / 31})
    lines = log.getvalue().splitlines()
    assert len(lines) <= 12
    assert lines[-1].startswith("step 100/100  epoch 3.2  ")
    at = next(line for line in lines if line.startswith("step 10/"))
    assert at.endswith("  9 s left")  # ninety steps of a tenth of a second


# --- Colour -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["list", "models"], ["train", "--method"], ["train", "--help"]])
def test_colours_are_for_terminals_that_want_them(arguments):
    def shown(**environment):
        usual = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        code = "import sys; from optaxaccel import cli; cli.main(sys.argv[1:])"
        master, worker = os.openpty()
        command = [sys.executable, "-c", code, *arguments]
        env = {**usual, "TERM": "xterm-256color", **environment}
        with subprocess.Popen(command, stdout=worker, stderr=worker, stdin=worker, env=env) as process:
            os.close(worker)
            text = b""
            while True:
                try:
                    part = os.read(master, 65536)
                except OSError:  # the other end is closed
                    break
                if not part:
                    break
                text += part
            process.wait(60)
        os.close(master)
        return text.decode()

    colour = "\x1b[3"
    plain = shown(NO_COLOR="1")
    assert colour not in plain
    assert "\x1b[9" not in plain
    assert "\x1b[" in shown()


# --- Stopped ----------------------------------------------------------------------------------------------------------

STOPPED = [
    (["train", "--method", "pal", "--seeds", "1", "2"], "the same command and --resume"),
    (["compare", "--task", "rosenbrock", "--methods", "pal"], "the same command and --resume"),
    (["run", "plan.py"], "the same command and --resume"),
    (["train", "--method", "pal"], "Start again with the same command"),
    (["extrapolate", "."], "nothing was written"),
    (["merge", "."], "nothing was written"),
    (["data", "prepare", "mnist"], "Go on with the same command"),
]


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("case", range(len(STOPPED)), ids=[" ".join(words) for words, _ in STOPPED])
def test_a_command_that_is_stopped_says_how_to_go_on(case, how, capsys, monkeypatch):
    def stopped(command):
        raise KeyboardInterrupt if how is KeyboardInterrupt else SystemExit(130)

    monkeypatch.setattr(cli, "execute", stopped)
    words, text = STOPPED[case]
    assert text in said(capsys, *words, code=130).err


def test_a_grid_that_is_stopped_goes_on(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--method", "pal", "--model-args", "hidden=(4,)", "--steps", "2", "--seeds", "1", "2", "3"]
    words += ["--vectorize", "no", "--out", "out"]
    real, begun = many.sweep._train_alone, []

    def second_is_stopped(job):
        begun.append(job)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(many.sweep, "_train_alone", second_is_stopped)
    assert "--resume" in said(capsys, *words, code=130).err
    out = said(capsys, *words, "--resume").out
    assert "finished before" in out
    assert len(begun) == 4
