"""The order in which an epoch visits the images."""

import jax
import jax.numpy as jnp


def epoch_order(seed: jax.typing.ArrayLike, epoch: jax.typing.ArrayLike, n: int) -> jax.Array:
    """Return the permutation of 0 .. n-1 in which an epoch visits its images.

    It depends on (seed, epoch) alone: not on the devices, the steps taken before, or the precision in use. So a run
    that was stopped goes on with the very batches it would have seen.

    Args:
      seed: the run's seed, an integer or a traced one.
      epoch: the 0-based epoch, likewise.
      n: how many images there are (>= 1).

    Returns:
      int32 [n].

    Example:
      >>> sorted(epoch_order(0, 1, 5).tolist())
      [0, 1, 2, 3, 4]
      >>> bool((epoch_order(0, 1, 100) == epoch_order(0, 2, 100)).all())
      False
    """
    # The generator is named, because a user's jax_default_prng_impl must not change which batches a run sees.
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), epoch)
    return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))
