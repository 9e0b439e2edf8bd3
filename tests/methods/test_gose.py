"""GOSE against the paper's control flow in NumPy with an exact eigendecomposition as finder."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
import saddles
from compilation import SHIPPED
from saddles import FACTORISATION, SADDLE

import optaxaccel


class HeavyBall:
    def __init__(self, rate, momentum):
        self.rate, self.momentum, self.velocity = rate, momentum, 0.0

    def step(self, x, g):
        self.velocity = self.momentum * self.velocity + g
        return x - self.rate * self.velocity

    def restart(self, x):
        pass


class Agd:
    def __init__(self, rate, momentum):
        self.rate, self.momentum, self.y = rate, momentum, None

    def step(self, x, g):
        old = x if self.y is None else self.y
        self.y = x - self.rate * g
        return self.y + self.momentum * (self.y - old)

    def restart(self, x):
        self.y = x


def paper(problem, base, small, every, eta, decay=0.9, threshold=1e-3):
    """Returns run(x), and a dictionary that tells how many searches and jumps the last run made."""
    counts = {}

    def run(x):
        method, mean, trajectory = base(), np.zeros_like(x), [x]
        counts.update(searches=0, jumps=0)
        for k in range(problems.STEPS):
            g = problem.gradient(x)
            mean = decay * mean + (1 - decay) * g
            there, jumps = x, 0
            if k % every == 0 and np.linalg.norm(mean) / (1 - decay ** (k + 1)) < small:
                counts["searches"] += 1
                there, jumps = saddles.descend(problem, x, lambda _: eta, threshold, 1)
            ordinary = method.step(x, g)
            if jumps:
                method.restart(there)
                counts["jumps"] += 1
            x = there if jumps else ordinary
            trajectory.append(x)
        return np.array(trajectory)

    return run, counts


CASES = {  # problem, gradient threshold (between the norms that the run meets), check_every, step of a jump
    "saddle": (SADDLE, 0.3, 3, 0.3),
    "factorisation": (FACTORISATION, 0.6, 3, 0.2),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["gose_sgd", "gose_agd"])
def test_follows_the_paper(case, name):
    problem, small, every, eta = CASES[case]
    tx = getattr(optaxaccel, name)(
        problem.rate, momentum=0.5, gradient_threshold=small, check_every=every,
        finder=optaxaccel.lanczos(saddles.dimension(problem)), step_size=eta,
    )  # fmt: skip
    base = {"gose_sgd": HeavyBall, "gose_agd": Agd}[name]
    twin, counts = paper(problem, lambda: base(problem.rate, 0.5), small, every, eta)
    got = problems.run_jax(tx, problem)
    problems.assert_follows(got.params, twin, problem)
    twin(problem.x0)
    assert 0 < counts["searches"] < 1 + (problems.STEPS - 1) // every, "the threshold decides nothing here"
    assert counts["jumps"] > 0
    assert (int(got.state.num_searches), int(got.state.num_jumps)) == (counts["searches"], counts["jumps"])


def test_both_sequences_of_agd_restart_at_the_jump():
    tx = optaxaccel.gose_agd(0.1, finder=optaxaccel.lanczos(2), check_every=1)
    params = {"x": jnp.zeros(()), "y": jnp.zeros(())}
    state = tx.init(params)
    state = state._replace(base_state=state.base_state._replace(lead={"x": jnp.ones(()), "y": jnp.ones(())}))
    updates, after = jax.jit(lambda s, p: tx.update(p, s, p, value_fn=SADDLE.loss))(state, params)
    assert abs(float(updates["y"])) == pytest.approx(0.5, rel=1e-5)
    there = optax.apply_updates(params, updates)
    assert problems.flatten(optaxaccel.eval_params(after, there)).tolist() == problems.flatten(there).tolist()
    assert int(after.base_state.count) == 1


def test_a_base_deep_inside_a_chain_restarts_too():
    base = optax.chain(optax.clip(1.0), optaxaccel.nesterov(0.1))
    tx = optaxaccel.gose(base, finder=optaxaccel.lanczos(2), check_every=1)
    params = {"x": jnp.full((), 1e-4), "y": jnp.full((), 1e-4)}
    updates, state = jax.jit(lambda p: tx.update(p, tx.init(p), p, value_fn=SADDLE.loss))(params)
    there = optax.apply_updates(params, updates)
    assert int(state.num_jumps) == 1
    np.testing.assert_array_equal(problems.flatten(optaxaccel.eval_params(state, there)), problems.flatten(there))


# --- Saddles and minima -----------------------------------------------------------------------------------------------


def test_one_jump_leaves_the_exact_saddle():
    start = saddles.zeros(SADDLE)
    points, state = saddles.run_from(optaxaccel.gose_agd(0.2, momentum=0.5), SADDLE, start, 100)
    assert int(state.num_jumps) == 1
    assert abs(points[0][1]) == pytest.approx(0.5, rel=1e-5)
    assert SADDLE.value(points[-1]) == pytest.approx(-0.25, abs=1e-6)


@pytest.mark.parametrize("start", ["zero", "nearly zero"])
def test_factorisation_escapes_and_momentum_sgd_does_not(start):
    """From zero, or so near that momentum needs more than the budget of 60 steps to leave."""
    near = jax.tree.map(lambda leaf: leaf * (1e-9 if start == "nearly zero" else 0.0), FACTORISATION.start)
    sgd, _ = saddles.run_from(optax.sgd(0.02, momentum=0.9), FACTORISATION, near, 60)
    escaped, state = saddles.run_from(optaxaccel.gose_sgd(0.02), FACTORISATION, near, 60)
    at_saddle = FACTORISATION.value(np.zeros(7))
    assert FACTORISATION.value(sgd[-1]) > at_saddle - 1e-3
    assert FACTORISATION.value(escaped[-1]) < saddles.FACTORISED + 1e-2
    assert int(state.num_jumps) == 1


@pytest.mark.parametrize("name", ["gose_sgd", "gose_agd", "ancm"])
def test_next_to_nothing_happens_on_a_convex_problem_in_float32(name):
    """1,500 steps on a quadratic with curvatures from 1e-4 to 1: at most one jump, though searches are made."""
    problem = problems.QUADRATIC
    tx = getattr(optaxaccel, name)(0.5, momentum=0.9)
    points, state = saddles.run_from(tx, problem, problem.start, 1500)
    assert int(state.num_searches) >= 10
    assert int(state.num_jumps) <= 1
    assert problem.value(points[-1]) < 1e-3 * problem.value(problem.x0)


# --- When and where it searches ---------------------------------------------------------------------------------------


def count_searches(steps=9, **arguments):
    """How often a run at a minimum, with gradients of norm 1 from noise of alternating sign, searched."""
    tx = optaxaccel.gose(optax.set_to_zero(), finder=optaxaccel.lanczos(2), **arguments)

    @jax.jit
    def run(x):
        def step(state, k):
            return tx.update(jnp.ones(()) * (-1.0) ** k, state, x, value_fn=lambda x: x**2)[1], None

        return jax.lax.scan(step, tx.init(x), jnp.arange(steps))[0]

    return int(run(jnp.zeros(())).num_searches)


def test_the_mean_of_the_gradients_decides():
    assert count_searches(gradient_threshold=2.0, check_every=2) == 5
    assert count_searches(gradient_threshold=2.0, check_every=4) == 3
    assert count_searches(gradient_threshold=0.9, check_every=1, ema_decay=0.0) == 0
    # bias-corrected mean of +1, -1, +1, ... with decay 0.9: norms 1, 0.053, 0.37, 0.056, ...
    assert count_searches(gradient_threshold=0.9, check_every=1) == 8
    assert count_searches(gradient_threshold=0.06, check_every=1) == 4


def test_a_larger_batch_may_decide():
    """`curvature_value_fn` gives the gradient, the Hessian and the loss that must fall; the base never sees it."""

    def flat(p):
        return 0.0 * p["x"]

    tx = optaxaccel.gose(optax.sgd(0.1), finder=optaxaccel.lanczos(2), gradient_threshold=0.1)
    steep = {"x": jnp.full((), 5.0), "y": jnp.full((), 5.0)}
    at = {"x": jnp.zeros(()), "y": jnp.full((), 0.01)}

    @jax.jit
    def update(p):
        state = tx.init(p)
        return tx.update(
            steep, state, p, value_fn=flat, curvature_value_fn=lambda p, data: data * SADDLE.loss(p), data=1.0
        )

    updates, state = update(at)
    assert float(updates["y"]) == pytest.approx(0.5, rel=1e-4)
    assert float(state.eigenvalue) == pytest.approx(-1 + 3e-4, rel=1e-4)
    updates, state = update({"x": jnp.ones(()), "y": jnp.zeros(())})
    assert int(state.num_searches) == 0
    assert float(updates["y"]) == pytest.approx(-0.5)


def test_the_base_gets_all_extras_and_takes_the_step_when_nothing_is_found():
    problem = problems.QUADRATIC
    for base in (optaxaccel.pal(), optax.polyak_sgd()):
        alone = problems.run_jax(base, problem, 5)
        wrapped = problems.run_jax(
            optaxaccel.gose(base, finder=optaxaccel.lanczos(2), gradient_threshold=1e9, check_every=2), problem, 5
        )
        np.testing.assert_allclose(wrapped.params, alone.params, rtol=1e-13)
        assert int(wrapped.state.num_searches) == 3


def test_a_loss_of_the_wrong_shape_of_step_is_not_taken_for_negative_curvature():
    """Nothing is found where the Hessian is not finite."""
    tx = optaxaccel.gose(optax.sgd(0.0), check_every=1, gradient_threshold=1.0, finder=optaxaccel.lanczos(3))
    x = jnp.zeros(3)
    updates, state = jax.jit(lambda x: tx.update(x, tx.init(x), x, value_fn=lambda x: jnp.sum(jnp.sqrt(x))))(x)
    assert int(state.num_searches) == 1
    assert int(state.num_jumps) == 0
    assert not np.any(updates)


@pytest.mark.parametrize(("name", "loops"), [("gose_sgd", 0), ("ancm", 1)])
def test_the_search_lies_inside_a_conditional(name, loops):
    """So that a step without one pays for a comparison: no search, no eigenvalues in the part that always runs.

    What begins a round of ancm is a loop of no round or one, with the search in a branch of its own.
    """
    tx = optaxaccel.METHODS[name].make(0.1)
    x = {"w": jnp.ones((4, 4)), "b": jnp.ones(4)}

    def loss(p):
        return jnp.sum(jnp.tanh(p["w"] @ p["b"]))

    @jax.jit
    def step(p, state):
        updates, state = tx.update(jax.grad(loss)(p), state, p, value_fn=loss)
        return optax.apply_updates(p, updates), state

    text = step.lower(x, tx.init(x)).compile(SHIPPED).as_text()
    entry = text[text.index("ENTRY ") :]
    assert " conditional(" in entry
    assert entry.count(" while(") == loops
    assert "syevd" not in entry
    assert text.count(" while(") > loops


def test_devices_jump_together_if_the_gradient_of_the_loss_is_averaged():
    """Under pmap a pmean of the loss has the device's own gradient; this is the loss that the documentation gives."""
    batch = jnp.array([0.5, 0.8, 1.2, 1.5])
    tx = optaxaccel.gose_sgd(0.1, finder=optaxaccel.lanczos(2), gradient_threshold=10.0)

    @jax.custom_vjp
    def shared(params):
        return params

    shared.defvjp(lambda params: (params, None), lambda _, ct: (jax.lax.pmean(ct, "devices"),))

    def step(params, target):
        def loss(p):
            p = shared(p)
            return jax.lax.pmean(SADDLE.loss(p) - 0.01 * target * p["x"] * p["y"], "devices")

        grads = jax.grad(loss)(params)
        updates, state = tx.update(grads, tx.init(params), params, value=loss(params), grad=grads, value_fn=loss)
        return updates, state.eigenvalue

    def whole(params):
        def loss(p):
            return SADDLE.loss(p) - 0.01 * p["x"] * p["y"]

        updates, state = tx.update(jax.grad(loss)(params), tx.init(params), params, value_fn=loss)
        return updates, state.eigenvalue

    params = {"x": jnp.float32(0.01), "y": jnp.float32(0.02)}
    apart = jax.pmap(step, axis_name="devices", in_axes=(None, 0))(params, batch)
    together = jax.jit(whole)(params)
    for device in range(4):
        got = problems.flatten(jax.tree.map(lambda leaf, d=device: leaf[d], apart))
        np.testing.assert_allclose(got, problems.flatten(together), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("around", [optaxaccel.gose_sgd, optaxaccel.gose_agd])
def test_what_goes_round_a_base_says_the_same_of_the_search(around):
    """Every argument of `gose` but the base: the same default, and the same words at the prompt."""
    whole, part = inspect.signature(optaxaccel.gose).parameters, inspect.signature(around).parameters
    for name in list(whole)[1:]:
        defaults = [getattr(p[name].default, "cost", p[name].default) for p in (whole, part)]  # a finder's cost
        assert defaults[0] == defaults[1], name
        line = rf"^  {name}: (.*\n(?:    .*\n)*)"
        said = [re.search(line, inspect.getdoc(f), re.MULTILINE) for f in (optaxaccel.gose, around)]
        assert said[0][1] == said[1][1], name
