"""A batch of fixed points: each member as if alone, and nothing done for the sake of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxaccel

MEMBERS, SIZE, HISTORY = 8, 12, 7
RATES = np.linspace(0.0, 0.98, MEMBERS)  # from done at once to slow


def image(x, rate, shift):
    return rate * jnp.tanh(x + shift) + 0.3 * shift


def solve(rate, shift, method="anderson"):
    return optaxaccel.fixed_point(image, jnp.zeros(SIZE), rate, shift, method=method, history=HISTORY, rtol=1e-6)


@pytest.mark.parametrize("method", ["anderson", "acx", "plain"])
def test_a_member_ends_as_it_would_alone(method):
    shifts = np.random.default_rng(1).normal(size=(MEMBERS, SIZE))
    shifts[3] *= 1e308  # overflows at once: not finite, beside members that go on
    with jax.enable_x64(True):
        together = jax.jit(jax.vmap(lambda r, s: solve(r, s, method)))(RATES, shifts)
        alone = jax.jit(lambda r, s: solve(r, s, method))
        each = [alone(rate, shift) for rate, shift in zip(RATES, shifts, strict=True)]
    assert len(set(np.asarray(together.maps).tolist())) > 3
    assert together.status[3] == optaxaccel.FixedPointStatus.NOT_FINITE
    for member, single in enumerate(each):
        for name in ("status", "maps", "rejected", "backward"):
            assert int(getattr(together, name)[member]) == int(getattr(single, name)), name
        np.testing.assert_allclose(together.residual[member], single.residual, rtol=1e-3)  # itself all but rounding
        np.testing.assert_allclose(together.value[member], single.value, rtol=1e-9)


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def test_no_history_is_selected_and_no_weights_are_found_that_nobody_needs():
    program = jax.make_jaxpr(jax.vmap(solve))(jnp.ones(MEMBERS), jnp.ones((MEMBERS, SIZE))).jaxpr
    loop = max((e for e in _equations(program) if e.primitive.name == "while"), key=lambda e: len(e.outvars))
    body = list(_equations(loop.params["body_jaxpr"].jaxpr))
    rings = {(MEMBERS, HISTORY, SIZE)}
    assert rings & {v.aval.shape for v in loop.outvars}, "the rings are in the loop's state"
    assert not [e for e in body if e.primitive.name == "select_n" and e.outvars[0].aval.shape in rings]
    conditions = [e for e in body if e.primitive.name == "cond" and len(e.outvars) > 1]
    assert conditions
    assert all(e.invars[0].aval.shape == () for e in conditions)


def test_more_differences_than_unknowns_are_not_kept():
    three = {"a": jnp.zeros(1), "b": jnp.zeros(2)}

    def rotated(x):
        flat = jnp.concatenate([x["a"], x["b"]])
        turned = 0.9 * jnp.sin(jnp.roll(flat, 1) + jnp.arange(3.0)) + 0.1
        return {"a": turned[:1], "b": turned[1:]}

    many, few = (optaxaccel.fixed_point(rotated, three, history=h) for h in (50, 3))
    assert jax.tree.map(np.array_equal, many.value, few.value) == {"a": True, "b": True}
    assert int(many.maps) == int(few.maps)
    program = str(jax.make_jaxpr(lambda x: optaxaccel.fixed_point(rotated, x, history=50))(three))
    assert "f32[3,3]" in program
    assert "[50" not in program


def test_complex_unknowns_count_twice():
    program = str(jax.make_jaxpr(lambda z: optaxaccel.fixed_point(lambda z: 0.5j * z + 1, z))(jnp.zeros(2, complex)))
    assert "c64[4,2]" in program
