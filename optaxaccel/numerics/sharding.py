"""What can be seen of how an array lies over devices, before a program is compiled for it.

Joining or cutting an axis that is split would gather it; `packing` and `columns` ask here which leaves to leave alone.
"""

from typing import Any

import jax
from jax.core import Tracer


def may_be_sharded(array: Any) -> bool:
    """Tell whether an array may be split over devices, as far as it can be seen here.

    Outside `jax.jit` it is plain. Inside, an explicit mesh shows it, and on an automatic one everything may be.
    """
    if not isinstance(array, Tracer):
        return isinstance(array, jax.Array) and not array.sharding.is_fully_replicated
    sharding = jax.typeof(array).sharding
    axes = zip(sharding.mesh.axis_types, sharding.mesh.axis_sizes, strict=True)
    return any(sharding.spec) or any(kind is jax.sharding.AxisType.Auto and size > 1 for kind, size in axes)
