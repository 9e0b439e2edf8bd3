"""Freed memory stays with the process: a large block is touched for the first time only once."""

import subprocess
import sys

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


def test_a_block_that_was_freed_costs_no_new_pages():
    def faults(mode):
        done = subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, timeout=60, check=True)
        return int(done.stdout)

    if sys.platform == "linux":
        assert faults("keep") < 100
        assert faults("leave") > 100  # what the settings are for
