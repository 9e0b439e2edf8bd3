"""The cores that this process may use: XLA's threads on a CPU, our own readers, and what records say of them."""

import os
import platform


def available_cores() -> int:
    """Return the number of cores that this process may use; macOS and Windows tell only how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """Return the machine in words.

    XLA sums in another order on one thread than on two, which can decide near ties: a pinned process says so.
    """
    all_, mine = os.cpu_count() or 1, available_cores()
    return f"{platform.machine()}, {all_} cores" if mine == all_ else f"{platform.machine()}, {mine} of {all_} cores"
