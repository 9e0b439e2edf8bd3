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
