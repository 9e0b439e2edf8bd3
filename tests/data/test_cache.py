import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from optaxaccel.data import cache


def filled(value, n=50):
    return np.full((n, 4, 4, 3), value, np.uint8), np.full(n, value, np.int32)


def test_what_is_stored_is_loaded(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
    label = np.arange(7, dtype=np.int32)
    assert cache.load(tmp_path / "a.u8") is None
    assert cache.store(tmp_path / "a.u8", image, label, {"encoding": "png"})
    got_image, got_label, facts = cache.load(tmp_path / "a.u8")
    np.testing.assert_array_equal(got_image, image)
    np.testing.assert_array_equal(got_label, label)
    assert got_label.dtype == np.int32
    assert facts == {"encoding": "png"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.u8"]


@pytest.mark.parametrize("damage", ["cut", "head", "byte", "label", "longer", "empty", "garbage"])
def test_a_damaged_file_is_not_read(tmp_path, damage):
    path = tmp_path / "a.u8"
    cache.store(path, *filled(3), {})
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:-1],
            "head": whole[:20],
            "byte": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "label": whole[:-1] + bytes([whole[-1] ^ 1]),
            "longer": whole + b"\0",
            "empty": b"",
            "garbage": bytes(range(256)),
        }[damage]
    )
    with pytest.warns(UserWarning, match="decoded again"):
        assert cache.load(path) is None
    assert cache.store(path, *filled(3), {})
    assert path.read_bytes() == whole


def test_no_flipped_bit_of_the_description_is_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_warn", lambda message: None)  # a thousand warnings would take seconds
    path = tmp_path / "a.u8"
    cache.store(path, *filled(3, n=2), {"encoding": "png"})
    whole = path.read_bytes()
    for bit in range(0, 8 * (whole.index(b"\n") + 1), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert cache.load(path) is None, (bit, damaged)
    path.write_bytes(whole.replace(b"[2, 4", b"[2%s, 4" % (b"0" * 15)))  # more than fits in memory
    assert cache.load(path) is None


def test_an_unwritable_folder_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not cached.*OPTAXACCEL_CACHE"):
        assert not cache.store(tmp_path / "file" / "a.u8", *filled(1), {})


def test_a_full_disk_is_a_warning_and_leaves_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        with pytest.warns(UserWarning, match="not cached"):
            assert not cache.store(tmp_path / "a.u8", *filled(1, n=5000), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_go_but_those_at_work_stay(tmp_path):
    for name, age in (("old-x.partial", 7200), ("new-x.partial", 10)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    cache.store(tmp_path / "a.u8", *filled(1), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.u8", "new-x.partial"]


def _store_and_load(path, value):
    seen = []
    for _ in range(10):
        cache.store(path, *filled(value, n=20_000), {"value": value})
        image, label, facts = cache.load(path)
        seen.append(bool((image == facts["value"]).all() and (label == facts["value"]).all()))
    return all(seen)


def test_two_processes_at_once(tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_store_and_load, tmp_path / "a.u8", value) for value in (1, 2)]
        assert [job.result(timeout=60) for job in jobs] == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["a.u8"]


EVERY_LINE = """
import os
import signal
import sys
from pathlib import Path

import numpy as np
from optaxaccel.data import cache

path = Path(sys.argv[1])


def store(value):
    cache.store(path, np.full((50, 4, 4, 3), value, np.uint8), np.full(50, value, np.int32), {"value": value})


def killed_at(line):
    def trace(frame, event, argument):
        nonlocal line
        if frame.f_code.co_filename != cache.__file__:
            return None
        line -= event == "line"
        if line < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    child = os.fork()
    if child == 0:
        sys.settrace(trace)
        store(2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


line, seen = 0, []
while True:
    store(1)
    died = killed_at(line)
    image, label, facts = cache.load(path)
    assert (image == facts["value"]).all() and (label == facts["value"]).all()
    seen.append(facts["value"])
    if not died:
        break
    line += 1
    for left in path.parent.glob("*.partial"):  # or the next one would walk over them, line by line
        left.unlink()
print(line, *sorted(set(seen)))
"""


def test_killed_at_any_line_it_leaves_the_old_file_or_the_new_one(tmp_path):
    command = [sys.executable, "-W", "error", "-c", EVERY_LINE, str(tmp_path / "a.u8")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines, *values = done.stdout.split()
    assert int(lines) > 15
    assert values == ["1", "2"]


AT_ANY_MOMENT = """
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from optaxaccel.data import cache

path, draw, seen = Path(sys.argv[1]), random.Random(0), []


def store(value):
    cache.store(path, np.full((20_000, 4, 4, 3), value, np.uint8), np.full(20_000, value, np.int32), {"value": value})


store(0)
for _ in range(20):
    child = os.fork()
    while child == 0:
        value = cache.load(path)[2]["value"]
        store((value + 1) % 250)
    time.sleep(draw.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    image, label, facts = cache.load(path)
    assert (image == facts["value"]).all() and (label == facts["value"]).all()
    seen.append(facts["value"])
print(len(set(seen)))
"""


def test_killed_at_twenty_moments_it_leaves_a_whole_file(tmp_path):
    command = [sys.executable, "-W", "error", "-c", AT_ANY_MOMENT, str(tmp_path / "a.u8")]  # damage would be a warning
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1  # it was killed between two stores, too
