"""ANCM against the paper's pseudo-code in NumPy with an exact eigendecomposition as finder."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
import saddles
from saddles import FACTORISATION, SADDLE

import optaxaccel


def paper(problem, rate, momentum, period, eta, max_steps=5, gradient_threshold=np.inf, weight=0.0):
    """Outer rounds of negative curvature descent and Almost-convex-AGD; a row an update, as ours counts them."""
    seen = {}

    def run(x):
        trajectory, shown, moves, jumped = [x], [x], [], 0
        while len(trajectory) <= problems.STEPS:
            start = x
            if np.linalg.norm(problem.gradient(x)) < gradient_threshold:
                start, jumps = saddles.descend(problem, x, lambda _: eta, 1e-3, max_steps)
                jumped += jumps
                if jumps:
                    trajectory.append(start)
                    shown.append(start)
            x = y = start
            for _ in range(period):
                following = x - rate * (problem.gradient(x) + 2 * weight * (x - start))
                x, y = following + momentum * (following - y), following
                trajectory.append(x)
                shown.append(y)
            moves.append((len(trajectory), np.linalg.norm(start - x)))
        moves = [move for end, move in moves if end <= problems.STEPS + 1]
        seen.update(evaluated=np.array(shown[: problems.STEPS + 1]), move=moves[-1], jumps=jumped)
        return np.array(trajectory[: problems.STEPS + 1])

    return run, seen


CASES = {
    "saddle": (SADDLE, {"period": 7, "eta": 0.3}),
    "gate": (SADDLE, {"period": 4, "eta": 0.3, "gradient_threshold": 0.5}),
    "one step a round": (SADDLE, {"period": 1, "eta": 0.3, "gradient_threshold": 0.3}),
    "proximal": (problems.VALLEY, {"period": 6, "eta": 0.05, "max_steps": 2, "weight": 1.5}),
    "factorisation": (FACTORISATION, {"period": 8, "eta": 0.2, "max_steps": 3}),
}
NAMES = {"eta": "step_size", "max_steps": "ncd_max_steps", "weight": "proximal_weight"}


@pytest.mark.parametrize("case", CASES)
def test_follows_the_paper(case):
    problem, arguments = CASES[case]
    tx = optaxaccel.ancm(
        problem.rate,
        momentum=0.6,
        finder=optaxaccel.lanczos(saddles.dimension(problem)),
        **{NAMES.get(name, name): value for name, value in arguments.items()},
    )
    twin, seen = paper(problem, problem.rate, 0.6, **arguments)
    got = problems.run_jax(tx, problem)
    problems.assert_follows(got.params, twin, problem)
    twin(problem.x0)
    problems.assert_follows(got.evaluated, lambda _: seen["evaluated"], problem)
    assert seen["jumps"] > 0
    assert float(got.state.round_move) == pytest.approx(seen["move"], rel=1e-9)
    if case in ("saddle", "factorisation"):
        assert int(got.state.num_jumps) >= seen["jumps"]


def test_the_jump_is_an_update_of_its_own():
    """Jumps, then `period` steps, then the next search; without a jump the first update is step 1."""
    at_saddle, convex = saddles.zeros(SADDLE), {"x": np.array(0.1), "y": np.array(1.1)}
    for start, updates_in_a_round in ((at_saddle, 4), (convex, 3)):
        tx = optaxaccel.ancm(0.1, period=3, finder=optaxaccel.lanczos(2))
        params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), start)
        state, positions = tx.init(params), []
        assert np.isinf(state.round_move)

        @jax.jit
        def step(params, state, tx=tx):
            updates, state = tx.update(jax.grad(SADDLE.loss)(params), state, params, value_fn=SADDLE.loss)
            return jax.tree.map(jnp.add, params, updates), state

        for _ in range(updates_in_a_round):
            params, state = step(params, state)
            positions.append(int(state.position))
        assert positions == [1, 2, 3, 0][4 - updates_in_a_round :]
        assert np.isfinite(state.round_move)
        assert int(state.num_searches) == 1
        assert int(state.num_jumps) == (2 if start is at_saddle else 0)
        step(params, state)


def test_factorisation_escapes_from_zero():
    points, state = saddles.run_from(optaxaccel.ancm(0.02), FACTORISATION, saddles.zeros(FACTORISATION), 60)
    assert FACTORISATION.value(points[-1]) < saddles.FACTORISED + 1e-2
    assert int(state.num_jumps) >= 1


def test_what_is_not_finite_holds_the_round():
    tx = optaxaccel.ancm(0.1, period=3, finder=optaxaccel.lanczos(2))
    params = {"x": jnp.float32(0.1), "y": jnp.float32(1.1)}
    bad = {"x": jnp.float32(np.nan), "y": jnp.float32(0.0)}
    update = jax.jit(lambda g, s: tx.update(g, s, params, value_fn=SADDLE.loss))
    fresh = tx.init(params)
    for state in (fresh, update(params, fresh)[1]):
        updates, after = update(bad, state)
        assert problems.flatten(updates).tolist() == [0.0, 0.0]
        assert int(after.notfinite_count) == 1
        for name, old, new in zip(state._fields, state, after, strict=True):
            if name != "notfinite_count":
                jax.tree.map(np.testing.assert_array_equal, old, new)
