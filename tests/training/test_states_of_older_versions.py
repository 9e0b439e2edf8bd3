"""Checkpoints that version 0.2 wrote are read: its states are written down here, name by name and in their order."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from training.kept import RUN, assert_equal_states

import optaxaccel
from optaxaccel.training.keeping.checkpoint import Checkpoints


class PalState(NamedTuple):
    count: Any
    notfinite_count: Any
    momentum: Any
    step_size: Any
    slope: Any
    curvature: Any
    case: Any


class ParabolaState(NamedTuple):
    count: Any
    notfinite_count: Any
    step_size: Any
    slope: Any
    curvature: Any
    case: Any


def loss(w):
    return jnp.sum(jnp.array([1.0, 3.0]) * w["w"] ** 2)


@pytest.mark.parametrize(
    ("tx", "place", "older"),
    [
        (optaxaccel.pal(), 0, PalState),
        (optax.chain(optax.scale(-1.0), optaxaccel.scale_by_parabola()), 1, ParabolaState),
    ],
    ids=["pal", "scale_by_parabola"],
)
def test_a_state_of_version_0_2_is_read(tx, place, older, tmp_path):
    w = {"w": jnp.array([1.0, -2.0])}
    tx = tx if place else optax.chain(tx)
    value, grad = jax.value_and_grad(loss)(w)
    _, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss)
    written = [
        older(*(getattr(s, name) for name in older._fields)) if k == place else s for k, s in enumerate(tuple(state))
    ]
    checkpoints = Checkpoints(tmp_path, RUN)
    checkpoints.save(1, {"params": w, "opt_state": tuple(written)}, {})
    checkpoints.wait()
    restored = checkpoints.restore({"params": w, "opt_state": jax.jit(tx.init)(w)})
    checkpoints.close()
    assert restored is not None
    assert_equal_states(restored.tree["opt_state"], state)
