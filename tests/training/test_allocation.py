"""Freed memory stays with the process: a large block is touched for the first time only once."""

import os
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from optaxaccel.training import allocation
if sys.argv[1] == "keep" and not allocation.keep_freed_memory():
    raise SystemExit("refused")

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(4_000_000)  # 32 MB, 7,800 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
def test_a_block_that_was_freed_costs_no_new_pages():
    def faults(mode):
        command = [sys.executable, "-c", CODE, mode]
        return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    assert faults("keep") <= faults("leave") / 8


THREAD = """
import ctypes, sys, threading
from optaxaccel.training import allocation

if not allocation.keep_freed_memory(one_arena=sys.argv[1] == "one"):
    raise SystemExit("refused")
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for _ in range(4):
    thread = threading.Thread(target=lambda: libc.malloc(100_000))
    thread.start()
    thread.join()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the settings are glibc's")
def test_threads_share_a_heap_only_on_request():
    def heaps(mode):
        command = [sys.executable, "-c", THREAD, mode]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.count("<heap nr=")

    assert heaps("one") == 1
    assert heaps("own") > 1


RESTART = """
import os, sys
from optaxaccel.training import allocation

allocation._grants_huge_pages = lambda: GRANTED
print("before", flush=True)
allocation.restart_with_huge_pages()
print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
"""


def start(program, tmp_path, given, *, granted=True, before=""):
    """Run the code above as a program of this name; return its process number and the lines that it prints."""
    path = tmp_path / program
    path.write_text(before + RESTART.replace("GRANTED", str(granted)))
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | given
    command = [sys.executable, path, "some", "--words"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        out, _ = process.communicate(timeout=60)
    return process.pid, out.splitlines()


@pytest.mark.parametrize(
    ("given", "granted", "after"),
    [
        ({}, True, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=9"}, True, "glibc.malloc.tcache_count=9:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, True, "glibc.malloc.hugetlb=0"),
        ({}, False, "None"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="processes restart on Linux only")
def test_the_command_starts_anew_once_in_its_place(given, granted, after, tmp_path):
    number, lines = start("optaxaccel", tmp_path, given, granted=granted)
    times = 2 if after.endswith("hugetlb=1") else 1
    assert lines == ["before"] * times + [f"{number} ['some', '--words'] {after}"]


@pytest.mark.parametrize("program", ["analysis.py", "__main__.py"])
def test_a_users_program_never_starts_anew(program, tmp_path):
    number, lines = start(program, tmp_path, {})
    assert lines == ["before", f"{number} ['some', '--words'] None"]


def test_a_command_is_not_lost_where_its_interpreter_is(tmp_path):
    number, lines = start("optaxaccel", tmp_path, {}, before="import sys; sys.executable = '/nowhere'\n")
    assert [line.split()[0] for line in lines] == ["before", str(number)]


@pytest.mark.parametrize("call", ["__main__.main()", "cli.run(['--version']); cli.main()", "cli.run_definition('x')"])
def test_the_functions_behind_the_command_restart_nobody_elses_program(call, tmp_path):
    code = """
import os
from optaxaccel import __main__, cli
from optaxaccel.training import allocation

allocation._grants_huge_pages = lambda: True
cli.main = lambda *arguments: print(os.environ.get("GLIBC_TUNABLES"))
"""
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", code + call]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert out.split()[-1] == "None"
