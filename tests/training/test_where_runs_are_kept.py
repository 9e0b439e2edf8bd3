"""Where a run cannot keep checkpoints: folders that orbax takes for patterns, and beside another run of the process."""

import numpy as np
import orbax.checkpoint as ocp
import pytest
from training.kept import RUN

from optaxaccel import cli
from optaxaccel.training import loop
from optaxaccel.training.histories import orbax_steps
from optaxaccel.training.keeping import interrupt
from optaxaccel.training.keeping.keep import Keep

# Where reading fails, orbax leaves event loops behind, of which the interpreter complains later.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("name", ["lr[0.1]", "a*b", "what?", "back\\slash"])
def test_a_folder_in_which_nothing_could_be_read_again_is_refused(name, tmp_path, capsys):
    words = ["train", "--data", "digits", "--model", "mlp", "--model-args", "hidden=(4,)", "--method", "pal"]
    assert cli.run([*words, "--steps", "2", "--out", str(tmp_path / name)]) == 2
    assert "takes the path for a pattern" in capsys.readouterr().err
    assert not (tmp_path / name).exists()
    with pytest.raises(ValueError, match="for a pattern"):
        orbax_steps.write(tmp_path / name / "merged", {"w": np.ones(2)})


def test_orbax_alone_writes_there_what_cannot_be_read(tmp_path):
    """The day this fails, `orbax_folder` can go."""
    path = tmp_path / "lr[0.1]" / "tree"
    with ocp.StandardCheckpointer() as writer:
        writer.save(path, {"w": np.ones(2)})
    with pytest.raises(Exception, match=r"NOT_FOUND|does not exist"), ocp.StandardCheckpointer() as reader:
        reader.restore(path, {"w": np.ones(2)})


def test_a_second_run_that_keeps_is_refused_in_one_process(tmp_path):
    """Another thread would train it; the next one after the first is fine."""
    refused = []

    def progress(**row):
        del row
        if not refused:
            with pytest.raises(RuntimeError, match="Another thread of this process"):
                loop.train(RUN, tmp_path / "b" / "record.jsonl", keep=Keep(tmp_path / "b"))
            refused.append(True)

    first = loop.train(RUN, tmp_path / "a" / "record.jsonl", keep=Keep(tmp_path / "a"), progress=progress)
    assert (refused, first.status) == ([True], "done")
    assert loop.train(RUN, f"{tmp_path}/b/record.jsonl", keep=Keep(f"{tmp_path}/b")).status == "done"


def test_a_start_that_is_refused_holds_nothing(tmp_path):
    """A notebook keeps the error and with it whatever its frames hold."""
    with interrupt.locked(tmp_path / "a"), pytest.raises(FileExistsError) as refused:
        loop.train(RUN, tmp_path / "a" / "record.jsonl", keep=Keep(tmp_path / "a"))
    assert loop.train(RUN, tmp_path / "b" / "record.jsonl", keep=Keep(tmp_path / "b")).status == "done"
    assert refused.value is not None
