"""What others do with a run's folder while it trains, after damage, and when the run starts late or ends early."""

import json
import shutil
import signal
import threading
import time

import pytest
from training.kept import rows, train

from optaxaccel import cli, training
from optaxaccel.training import loop
from optaxaccel.training.keeping import reading, records
from optaxaccel.training.keeping.checkpoint import Checkpoints
from optaxaccel.training.keeping.keep import Keep
from optaxaccel.training.run.spec import Run

RUN = Run(
    method="optax.sgd", method_args={"learning_rate": 0.1}, model_args={"hidden": (4,)}, batch_size=128, epochs=1.0
)
TASK = Run(task="rosenbrock", task_args={"size": "smoke"}, method="optax.sgd", method_args={"learning_rate": 1e-4})
TYPED = ("--method", "optax.sgd", "--method-args", "learning_rate=0.1", "--model-args", "hidden=(4,)")


def test_who_looks_at_a_run_leaves_what_it_is_writing(tmp_path):
    train(RUN, tmp_path)
    under_way = tmp_path / "checkpoints" / "last" / "12.orbax-checkpoint-tmp"
    under_way.mkdir()
    assert training.load(tmp_path, "last").step == 11
    assert under_way.is_dir()
    Checkpoints(tmp_path / "checkpoints", RUN).close()  # as the run itself does when it goes on
    until = time.monotonic() + 60  # orbax tidies up in the background, and waits for that before it writes
    while under_way.is_dir() and time.monotonic() < until:
        time.sleep(0.01)
    assert not under_way.is_dir()


def test_who_merges_leaves_what_it_is_writing(tmp_path):
    """The method evaluates another iterate, so that checkpoints are read as the run itself reads them."""
    train(RUN.replace(method="averaged_sgd"), tmp_path, every=4)
    under_way = tmp_path / "checkpoints" / "kept" / "12.orbax-checkpoint-tmp"
    under_way.mkdir()
    assert cli.run(["merge", str(tmp_path), "--last", "2"]) == 0
    assert under_way.is_dir()


def test_a_first_checkpoint_that_was_not_whole_is_none(tmp_path):
    """A run that starts from another one, killed while it wrote its first: it starts there again."""
    train(RUN, tmp_path / "first")
    second = RUN.replace(start_from={"run": (tmp_path / "first").as_posix(), "which": "last"})
    train(second, tmp_path / "whole")
    (tmp_path / "parts" / "checkpoints" / "last" / "11.orbax-checkpoint-tmp").mkdir(parents=True)
    train(second, tmp_path / "parts", resume=True)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_who_looks_makes_no_folder(tmp_path):
    train(RUN, tmp_path)
    (tmp_path / "checkpoints" / "best").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="Ask for the last one"):
        training.load(tmp_path)
    assert not (tmp_path / "checkpoints" / "best").exists()


@pytest.mark.parametrize("which", ["last", "best"])
def test_arrays_that_are_not_those_that_were_saved_are_no_network(tmp_path, which):
    train(RUN, tmp_path)
    newest = max((tmp_path / "checkpoints" / which).glob("[0-9]*"), key=lambda path: int(path.name))
    memory = newest / "memory" / "metadata"
    text = json.loads(memory.read_text())
    memory.write_text(json.dumps({**text, "checksum": text["checksum"] ^ 1}))
    with pytest.raises(OSError, match="not those that were saved"):
        training.load(tmp_path, which)


def test_a_step_that_only_the_last_one_has_is_told(tmp_path):
    train(RUN, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 11.*the last one, of step 11"):
        training.load(tmp_path, 11)


def test_a_run_that_never_beats_its_start_says_so(tmp_path):
    run = TASK.replace(method_args={"learning_rate": 1e-30}, steps=4)
    train(run, tmp_path)
    with pytest.raises(FileNotFoundError, match="no evaluation was better than the first"):
        training.load(tmp_path)
    assert training.load(tmp_path, "last").step == 4


def test_seconds_end_a_task_without_epochs(tmp_path):
    """Nothing else does: there are no steps in sight, of which intervals could be shares."""
    outcome = train(TASK.replace(seconds=0.05), tmp_path)
    row = records.read(tmp_path / "record.jsonl").last("eval")
    assert outcome.status == "done"
    assert 0 < outcome.step == row["step"] < 10**7
    assert 0.05 <= row["seconds"] < 5


def test_a_signal_before_the_first_step_changes_nothing(tmp_path):
    run = RUN.replace(extrapolate={"K": 3, "every": 3})
    train(run, tmp_path / "whole")

    def stop(*, step, total, row):
        if step == 0 and row["kind"] == "eval":
            signal.raise_signal(signal.SIGTERM)

    assert train(run, tmp_path / "parts", progress=stop).status == "stopped"
    assert train(run, tmp_path / "parts", resume=True).status == "done"
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_a_run_that_is_done_can_be_asked_to_go_on(tmp_path):
    train(RUN, tmp_path)
    before = rows(tmp_path)
    assert train(RUN, tmp_path, resume=True).status == "done"
    assert rows(tmp_path) == before


def test_a_run_goes_on_by_itself_whatever_became_of_the_one_it_started_from(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert cli.run(["train", *TYPED, "--epochs", "1", "--out", str(first)]) == 0
    asked = ["train", "--from", str(first), "--epochs", "1", "--out", str(second)]
    assert cli.run(asked) == 0
    assert cli.run(["train", *TYPED, "--epochs", "2", "--resume", "--out", str(first)]) == 0
    asked[4] = "2"
    assert cli.run([*asked, "--resume"]) == 0
    first.rename(tmp_path / "gone")
    asked[4] = "3"
    assert cli.run([*asked, "--resume"]) == 0
    record = records.read(second / "record.jsonl")
    assert record.start["spec"]["start_from"]["step"] == 11
    assert (record.status, record.end["step"]) == ("done", 33)
    capsys.readouterr()


@pytest.mark.parametrize("damaged", [0, 3])
def test_a_damaged_record_of_another_run_is_not_written_over(tmp_path, capsys, damaged):
    assert cli.run(["train", *TYPED, "--epochs", "1", "--out", str(tmp_path)]) == 0
    path = tmp_path / "record.jsonl"
    lines = path.read_text().splitlines()
    lines[damaged] = lines[damaged][:20]
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    assert cli.run(["train", *TYPED, "--epochs", "1", "--seed", "7", "--out", str(tmp_path)]) == 2
    assert ("another run" if damaged else "damaged") in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_interval_shorter_than_a_step_is_one_step(tmp_path):
    train(RUN, tmp_path)
    loop.train(RUN, tmp_path / "record.jsonl", keep=Keep(tmp_path, every="0.01epoch"))
    assert len(list((tmp_path / "checkpoints" / "kept").glob("[0-9]*"))) == 11


def test_a_run_that_went_on_says_how_long_it_is(tmp_path):
    train(RUN, tmp_path)
    train(RUN.replace(epochs=2.0), tmp_path, resume=True)
    assert json.loads((tmp_path / "record.jsonl").read_text().splitlines()[0])["steps"] == 22


def test_a_run_is_loaded_again_and_again_while_it_trains(tmp_path):
    """Each evaluation of the run writes checkpoints, and another thread reads them, as another process would."""
    ended, failures, loads = threading.Event(), [], []

    def look():
        while not ended.is_set():
            try:
                loads.append(training.load(tmp_path, "last").step)
            except Exception as error:
                if loads or not isinstance(error, FileNotFoundError):  # there is none yet
                    failures.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        assert train(RUN.replace(epochs=4.0, eval_every=0.2), tmp_path).status == "done"
    finally:
        ended.set()
        looking.join()
    assert not failures


@pytest.mark.parametrize("gone", ["memory", "tree", "."])
def test_a_checkpoint_that_goes_while_it_is_read_is_that_which_came(tmp_path, monkeypatch, gone):
    """The run has written a newer one by then; of this one all is gone, or a part."""
    train(RUN, tmp_path)
    old, new = tmp_path / "checkpoints" / "last" / "11", tmp_path / "checkpoints" / "last" / "12"
    removed_at_the_first_read(monkeypatch, lambda: (shutil.copytree(old, new), shutil.rmtree(old / gone)))
    assert training.load(tmp_path, "last").step == 12


def test_a_kept_checkpoint_that_goes_while_it_is_read_is_missing(tmp_path, monkeypatch):
    train(RUN, tmp_path, every=4)
    removed_at_the_first_read(monkeypatch, lambda: shutil.rmtree(tmp_path / "checkpoints" / "kept" / "4"))
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 4; there are: after steps 8"):
        training.load(tmp_path, 4)


def removed_at_the_first_read(monkeypatch, remove):
    """Have `remove` called after the folder was listed, before a file is read."""
    read, calls = reading.memory, []

    def memory(path):
        if not calls:
            calls.append(remove())
        return read(path)

    monkeypatch.setattr(reading, "memory", memory)


def test_a_run_that_is_only_starting_has_nothing_to_load(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "record.jsonl").write_text("")
    with pytest.raises(FileNotFoundError, match="only starting"):
        training.load(tmp_path, "last")
