"""Where arrays live: one mesh over all devices of all hosts; the batch is cut along it, everything else is replicated.

Two modes compute the same. `jit` hands whole-batch computations to the compiler, which cuts them by the batch's
sharding; losses, gradients and batch statistics are then those of the whole batch by construction. `pmap` runs the step
on every device with a part of the batch and takes means explicitly; it exists for code that needs the axis.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from optaxaccel.training import cores

Tree = Any
AXIS = "data"
IN_FLIGHT = 8  # programs; from 32 a CPU device on, the threads of XLA (0.10.2) that start programs can wait for ever
CPU_DEVICES_PAY_FROM = 2**16  # input values a batch; below, dispatch to several CPU devices costs more than it saves


class Layout(NamedTuple):
    """A mode and a mesh of one axis.

    Attributes:
      mode: "jit" or "pmap".
      mesh: all devices along the axis "data".
    """

    mode: str
    mesh: Mesh

    @property
    def count(self) -> int:
        """Return the number of devices."""
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """Return the sharding of what every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """Return the sharding of a batch, cut along its first axis."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def put(self, tree: Tree, *, cut: bool = False) -> Tree:
        """Place host arrays, equal on all hosts, whole on every device or cut along their first axis."""
        sharding = self.batch if cut else self.replicated

        def place(x):
            x = np.asarray(x)
            return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

        return jax.tree.map(place, tree)

    def put_local(self, tree: Tree) -> Tree:
        """Place host arrays of which every process holds its share of the first axis."""
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self.batch, np.asarray(x)), tree)

    def stack(self, tree: Tree) -> Tree:
        """Give every local device its own copy along a new first axis, as `jax.pmap` wants it."""
        count = self.mesh.local_mesh.size
        return self._local(jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (count, *np.shape(x))), tree))

    def split(self, tree: Tree) -> Tree:
        """Cut host arrays along their first axis, a part for each local device, as `jax.pmap` wants it."""
        count = self.mesh.local_mesh.size
        return self._local(jax.tree.map(lambda x: np.asarray(x).reshape(count, -1, *x.shape[1:]), tree))

    def unstack(self, tree: Tree) -> Tree:
        """Return the devices' copies, which are equal, as one replicated array."""

        def one(x):
            copies = [shard.data[0] for shard in x.addressable_shards]
            return jax.make_array_from_single_device_arrays(x.shape[1:], self.replicated, copies)

        return jax.tree.map(one, tree)

    def _local(self, tree: Tree) -> Tree:
        sharding = NamedSharding(self.mesh.local_mesh, PartitionSpec(AXIS))
        return jax.tree.map(lambda x: jax.device_put(x, sharding), tree)


def layout(mode: str, batch_size: int, devices: int | None = None) -> Layout:
    """Return the layout of a run over all devices, or over the first `devices` of them.

    Raises:
      ValueError: the batch does not divide; the message names sizes that do.
    """
    present = jax.devices()
    if jax.process_count() > 1:
        devices = None  # every process brings its own
    if devices is not None and not 1 <= devices <= len(present):
        raise ValueError(f"devices={devices}, but there are {len(present)}. Pass devices=1 to {len(present)}.")
    used = present[: devices or _most_that_divide(batch_size, len(present))]
    if batch_size % len(used):
        lower = batch_size // len(used) * len(used)
        sizes = " or ".join(str(size) for size in (lower, lower + len(used)) if size)
        raise ValueError(
            f"batch_size={batch_size} does not divide among {len(used)} devices. Pass --batch-size {sizes}, or "
            "--devices 1."
        )
    return Layout(mode, Mesh(np.array(used), (AXIS,), axis_types=(AxisType.Auto,)))


def _most_that_divide(batch_size: int, devices: int) -> int:
    """Return the largest number of devices that share a batch evenly; all where every process brings its own."""
    if jax.process_count() > 1:
        return devices
    return max(n for n in range(1, devices + 1) if batch_size % n == 0)


def wait_for_oldest(results: Sequence[Tree]) -> None:
    """Wait until no more than `IN_FLIGHT` of the programs are under way whose results, oldest first, are given."""
    if len(results) > IN_FLIGHT:
        jax.block_until_ready(results[-1 - IN_FLIGHT])


def is_main_process() -> bool:
    """Tell whether this process writes records and talks."""
    return jax.process_index() == 0


def use_cpu_cores(devices: int | None = None) -> None:
    """Make the CPU appear as one device a core, unless JAX has started its backends: then the devices stay."""
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # where more devices are asked for than there are, `layout` says so
            jax.config.update("jax_num_cpu_devices", devices or cores.available_cores())


def default_devices(values_per_batch: int) -> int | None:
    """Return the number of devices to use unless told otherwise: all, but one CPU device for small batches."""
    alone = jax.process_count() == 1
    return 1 if alone and jax.default_backend() == "cpu" and values_per_batch < CPU_DEVICES_PAY_FROM else None
