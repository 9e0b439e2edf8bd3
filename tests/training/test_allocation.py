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

print("before", flush=True)
allocation.restart_with_huge_pages()
print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
"""


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
def test_a_process_starts_anew_once_in_its_place(given, granted, after):
    code = RESTART.replace("print(", f"allocation._grants_huge_pages = lambda: {granted}\nprint(", 1)
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | given
    command = [sys.executable, "-c", code, "some", "--words"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        out, _ = process.communicate(timeout=60)
    times = 2 if after.endswith("hugetlb=1") else 1
    assert out.splitlines() == ["before"] * times + [f"{process.pid} ['some', '--words'] {after}"]


@pytest.mark.parametrize("before", ["", "sys.ps1 = '>>> '; ", "sys.executable = '/nowhere'; "])
def test_no_process_is_lost(before):
    """A program from the standard input, an interactive interpreter, and one that is not there go on as they are."""
    code = RESTART.replace("print(", f"{before}allocation._grants_huge_pages = lambda: True\nprint(", 1)
    command = [sys.executable, *(["-c", code] if before else ["-"])]
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    process = subprocess.run(command, input=code, capture_output=True, text=True, env=environment, check=True)
    out = process.stdout
    assert [line.split()[0] for line in out.splitlines()][:1] == ["before"]
    assert len(out.splitlines()) == 2


def test_the_command_line_restarts_and_the_function_behind_it_does_not():
    code = """
import os
from optaxaccel import __main__, cli
from optaxaccel.training import allocation

allocation._grants_huge_pages = lambda: True
cli.main = lambda: print(os.environ.get("GLIBC_TUNABLES"))
"""
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}

    def tunables(call):
        command = [sys.executable, "-c", code + call]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()

    assert tunables("__main__.main()") == ("glibc.malloc.hugetlb=1" if sys.platform == "linux" else "None")
    assert tunables("cli.run(['--version']); cli.main()").split()[-1] == "None"
