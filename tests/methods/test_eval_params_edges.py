"""`eval_params` where something may change a method's update behind its back, and optax's own averages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from optax import contrib

import optaxaccel

PARAMS = {"moving": jnp.array([1.0, 2.0]), "frozen": jnp.array(10.0)}
FROZEN = {"moving": False, "frozen": True}
LOOK_AHEAD = {
    "agd": lambda: optaxaccel.agd(0.1),
    "nesterov": lambda: optaxaccel.nesterov(0.1),
    "proximal": lambda: optaxaccel.nesterov(0.1, prox=lambda p, t: p),
    "gose_agd": lambda: optaxaccel.gose_agd(0.1),
    "ancm": lambda: optaxaccel.ancm(0.1),
    "schedule_free": lambda: contrib.schedule_free_sgd(0.1),
    "rna": lambda: optaxaccel.rna(optaxaccel.agd(0.1), history=2, period=50),
}
BEHIND = {
    "freeze": lambda m: optax.chain(m, optax.freeze(FROZEN)),
    "clip": lambda m: optax.chain(m, optax.clip(0.01)),
    "clip_by_global_norm": lambda m: optax.chain(m, optax.clip_by_global_norm(0.01)),
    "scale": lambda m: optax.chain(m, optax.scale(0.5)),
    "scale_by_schedule": lambda m: optax.chain(m, optax.scale_by_schedule(lambda k: 0.5)),
    "reduce_on_plateau": lambda m: optax.chain(m, contrib.reduce_on_plateau()),
    "ema": lambda m: optax.chain(m, optax.ema(0.9)),
    "trace": lambda m: optax.chain(m, optax.trace(0.9)),
    "decay": lambda m: optax.chain(m, optax.add_decayed_weights(-0.1)),
    "nonnegative": lambda m: optax.chain(m, optax.keep_params_nonnegative()),
    "another method": lambda m: optax.chain(m, optaxaccel.interpolatron(0.1)),
    "set_to_zero": lambda m: optax.chain(m, optax.masked(optax.set_to_zero(), FROZEN)),
    "mechanize": lambda m: contrib.mechanize(m),
    "inside another chain": lambda m: optax.chain(optax.chain(optax.clip(1.0), m), optax.scale(0.5)),
    "inside a mask": lambda m: optax.masked(optax.chain(m, optax.scale(0.5)), True),
    "inside a partition": lambda m: optax.partition({"all": optax.chain(m, optax.scale(0.5))}, "all"),
    "inside an injection": lambda m: optax.inject_hyperparams(lambda s: optax.chain(m, optax.scale(s)))(s=0.5),
    "named": lambda m: optax.named_chain(("method", m), ("behind", optax.scale(0.5))),
    "inside gose": lambda m: optaxaccel.gose(optax.chain(m, optax.scale(0.5))),
}


def loss(p):
    return 0.5 * jnp.sum(p["moving"] ** 2) + 0.5 * (p["frozen"] - 1.0) ** 2


def run(tx, steps=3, params=None):
    """Compiled, since a compiled step rebuilds the containers of the state."""
    tx, params = optax.with_extra_args_support(tx), PARAMS if params is None else params
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params, state


@pytest.mark.parametrize("behind", BEHIND)
def test_what_may_change_an_update_is_refused_with_the_reason(behind):
    params, state = run(BEHIND[behind](optaxaccel.agd(0.1)))
    with pytest.raises(ValueError, match=r"AgdState knows .*changed that update.*in front of"):
        optaxaccel.eval_params(state, params)
    with pytest.raises(ValueError, match="changed that update"):
        jax.jit(optaxaccel.eval_params)(state, params)


@pytest.mark.parametrize("method", LOOK_AHEAD)
def test_every_method_that_looks_ahead_is_refused_there(method):
    state = optax.chain(LOOK_AHEAD[method](), optax.scale(0.5)).init(PARAMS)
    with pytest.raises(ValueError, match=r"State knows .*EmptyState"):
        optaxaccel.eval_params(state, PARAMS)


@pytest.mark.parametrize("method", [m for m in LOOK_AHEAD if m != "schedule_free"])
def test_what_freezes_in_front_or_around_is_right(method):
    """The frozen leaf is evaluated where it is, and the others as without it."""
    around = optax.masked(LOOK_AHEAD[method](), {"moving": True, "frozen": False})
    if method in ("gose_agd", "ancm"):
        return  # they need the loss of all parameters, and say so
    tx = optax.chain(optax.masked(optax.set_to_zero(), FROZEN), around)
    params, state = run(tx)
    got = optaxaccel.eval_params(state, params)
    alone, alone_state = run(LOOK_AHEAD[method](), params={**PARAMS, "frozen": jnp.array(1.0)})
    want = optaxaccel.eval_params(alone_state, alone)
    assert float(got["frozen"]) == float(params["frozen"]) == 10.0
    np.testing.assert_allclose(got["moving"], want["moving"], rtol=1e-6)


@pytest.mark.parametrize("method", LOOK_AHEAD)
def test_the_order_of_a_named_chain_outlives_compilation(method):
    tx = optax.named_chain(("z first", optax.clip(100.0)), ("a last", LOOK_AHEAD[method]()))
    params, state = run(tx)
    bare, bare_state = run(LOOK_AHEAD[method]())
    got, want = optaxaccel.eval_params(state, params), optaxaccel.eval_params(bare_state, bare)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), got, want)


@pytest.mark.parametrize(
    "tx", [optaxaccel.agd(0.1), optaxaccel.pal(), optax.sgd(0.1), optax.lookahead(optax.sgd(0.1), 5, 0.5)]
)
def test_arguments_the_wrong_way_round_are_told_of(tx):
    params = optax.LookaheadParams(PARAMS, PARAMS) if tx.init.__qualname__.startswith("lookahead") else PARAMS
    state = tx.init(params)
    with pytest.raises(ValueError, match=r"the wrong way round\. Call eval_params\(opt_state, params\)"):
        optaxaccel.eval_params(params, state)
    optaxaccel.eval_params(state, params)


# --- Wrappers that change the tree ------------------------------------------------------------------------------------


def test_flatten_says_which_params_it_wants():
    params, state = run(optax.flatten(optaxaccel.agd(0.1)))
    with pytest.raises(ValueError, match=r"optax\.flatten.*ravel_pytree\(params\)"):
        optaxaccel.eval_params(state, params)
    flat, unravel = ravel_pytree(params)
    got = unravel(optaxaccel.eval_params(state, flat))
    bare, bare_state = run(optaxaccel.agd(0.1))
    want = optaxaccel.eval_params(bare_state, bare)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), got, want)


def test_complex_parameters_split_into_parts_are_refused_with_the_wrapper_named():
    params = {"w": jnp.array([1.0 + 1j])}
    tx = contrib.split_real_and_imaginary(optaxaccel.agd(0.1))
    with pytest.raises(ValueError, match=r"SplitRealAndImaginaryState"):
        optaxaccel.eval_params(tx.init(params), params)


# --- Averages of optax ------------------------------------------------------------------------------------------------


def test_schedule_free_is_evaluated_at_the_average_that_it_defines():
    rate, b1, steps = 0.1, 0.9, 6
    tx = contrib.schedule_free_sgd(rate, b1=b1)
    params, state = run(tx, steps)
    x = z = np.array([1.0, 2.0, 10.0])
    for k in range(steps):
        y = (1 - b1) * z + b1 * x
        z = z - rate * (y - np.array([0.0, 0.0, 1.0]))
        x = x + (z - x) / (k + 1)
    got = optaxaccel.eval_params(state, params)
    np.testing.assert_allclose(np.append(got["moving"], got["frozen"]), x, rtol=1e-5)
    assert abs(float(params["frozen"]) - x[2]) > 0.1, "the parameters are elsewhere"
    inside = optax.MultiSteps(optax.apply_if_finite(optax.chain(optax.clip(1e9), tx), 3), 1)
    params, state = run(optax.GradientTransformationExtraArgs(inside.init, inside.update), steps)
    np.testing.assert_allclose(optaxaccel.eval_params(state, params)["frozen"], x[2], rtol=1e-5)


def test_lookahead_is_evaluated_at_its_slow_weights():
    tx = optax.lookahead(optaxaccel.agd(0.1), sync_period=5, slow_step_size=0.5)
    params = optax.LookaheadParams.init_synced(PARAMS)
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(jax.grad(loss)(params.fast), state, params)
        params = optax.apply_updates(params, updates)
    got = optaxaccel.eval_params(state, params)
    jax.tree.map(np.testing.assert_array_equal, got, PARAMS)
    with pytest.raises(ValueError, match=r"LookaheadParams\(fast, slow\)"):
        optaxaccel.eval_params(state, PARAMS)


def test_sam_is_evaluated_where_it_stands_and_not_at_its_adversary():
    sam = contrib.sam(optax.sgd(0.1), optax.sgd(0.5), sync_period=2)
    tx = optax.GradientTransformation(sam.init, lambda u, s, p=None: sam.update(u, s, p))  # it knows no extras
    for steps, moved in ((0, False), (1, True), (2, False)):
        params, state = run(tx, steps)
        evaluated = optaxaccel.eval_params(state, params)
        assert bool(jnp.any(evaluated["moving"] != params["moving"])) == moved
    one, one_state = run(tx, 1)
    jax.tree.map(np.testing.assert_array_equal, optaxaccel.eval_params(one_state, one), PARAMS)


@pytest.mark.parametrize("tx", [optax.chain(optax.sgd(0.1), optax.ema(0.9)), contrib.mechanize(optax.sgd(0.1))])
def test_methods_without_an_iterate_of_their_own_may_be_followed_by_anything(tx):
    params, state = run(tx)
    assert optaxaccel.eval_params(state, params) is params
