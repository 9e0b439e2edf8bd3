"""The training loop evaluates optax's averaged methods at their averages."""

import jax.numpy as jnp
import numpy as np
import optax

from optaxaccel.models.model import Model
from optaxaccel.training.steps.evaluated_state import evaluate_batch
from optaxaccel.training.steps.loss import Batch
from optaxaccel.training.steps.state import TrainState


def test_schedule_free_sgd_is_evaluated_at_its_average():
    """x = (y - (1 - b1) z) / b1 with y = 0.1 z + 0.9 x; the loss at y is another one."""
    tx = optax.contrib.schedule_free_sgd(0.1, b1=0.9)
    x, z = jnp.array([[1.0, -1.0]]), jnp.array([[5.0, 3.0]])
    params = {"w": 0.1 * z + 0.9 * x}
    state = tx.init(params)._replace(z={"w": z})
    model = Model(lambda key, x: (params, {}), lambda params, net_state, x, *, key, train: (x @ params["w"], net_state))
    train_state = TrainState(jnp.int32(3), params, {}, state, jnp.zeros(2, jnp.uint32))
    batch = Batch(jnp.array([[2.0]]), jnp.array([0]))
    got = evaluate_batch(model, train_state, batch, jnp.ones(1))["loss"]
    np.testing.assert_allclose(got, np.log1p(np.exp(-4.0)), rtol=1e-5)
