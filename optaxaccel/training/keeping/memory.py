"""How much memory was used, for the last row of a record."""

import sys

import jax


def peak_bytes() -> int | None:
    """Return the most memory that a device of this process held so far; of a CPU, what the process did."""
    sizes = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    known = [size for size in sizes if size is not None]
    if known or jax.default_backend() != "cpu":
        return max(known, default=None)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
