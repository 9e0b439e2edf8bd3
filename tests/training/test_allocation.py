"""Freed memory stays with the process: a large block is touched for the first time only once."""

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
