"""Line searches: SciPy's trials, Wolfe's conditions wherever they accept, and losses that are not finite."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import _linesearch as scipy_search

from optaxaccel.numerics.line_search.arc import arc
from optaxaccel.numerics.line_search.hager_zhang import hager_zhang
from optaxaccel.numerics.line_search.more_thuente import more_thuente
from optaxaccel.numerics.line_search.rule import Verdict, search
from optaxaccel.numerics.line_search.strong_wolfe import strong_wolfe
from optaxaccel.numerics.line_search.zoom import zoom

C1, C2 = 1e-4, 0.9


def bent(rule, first, wall=jnp.inf, most=40):
    """Search (a - 300)^2 along an arc that ends at a wall, as that of one bounded variable does."""

    def evaluate(a):
        x = jnp.minimum(a, wall)
        return (x - 300.0) ** 2, jnp.stack([-600.0 * x / a, jnp.where(a < wall, 2.0 * (x - 300.0), 0.0)]), x

    here = jnp.asarray(9e4), jnp.asarray([-600.0, -600.0]), jnp.asarray(0.0)
    return search(rule, evaluate, here, jnp.asarray(first), max_evaluations=most)


@pytest.mark.parametrize("first", [1e-2, 1.0, 5e2, 1e5])
def test_a_search_along_an_arc_lengthens_and_shortens(first):
    free = bent(arc(), first)
    assert free.verdict == int(Verdict.ACCEPTED)
    assert 30.0 <= float(free.step) <= 599.95  # the slope is 0.9 of the first there, and the decrease too small
    walled = bent(arc(), first, wall=20.0)
    assert walled.verdict == int(Verdict.ACCEPTED)
    assert float(walled.payload) == 20.0  # as far as the wall lets it
    assert max(int(free.evaluations), int(walled.evaluations)) <= 20


def test_a_search_along_an_arc_takes_what_it_has_where_the_loss_never_bends():
    def evaluate(a):
        return -a, jnp.asarray([-1.0, -1.0]), a

    here = jnp.asarray(0.0), jnp.asarray([-1.0, -1.0]), jnp.asarray(0.0)
    outcome = search(arc(), evaluate, here, jnp.asarray(1.0), max_evaluations=40)
    assert outcome.verdict == int(Verdict.ACCEPTED)
    assert float(outcome.value) == -float(outcome.step) < -(4.0**10)


def tilted(beta):
    """Moré and Thuente's first test function, -a / (a^2 + beta), and its slope."""
    return lambda a: -a / (a * a + beta), lambda a: (a * a - beta) / (a * a + beta) ** 2


LINES = {
    "more_thuente_1": tilted(2.0),
    "more_thuente_2": (
        lambda a: (a + 0.004) ** 5 - 2.0 * (a + 0.004) ** 4,
        lambda a: 5.0 * (a + 0.004) ** 4 - 8.0 * (a + 0.004) ** 3,
    ),
    "quartic": (lambda a: (a - 1.3) ** 4 + 0.1 * a, lambda a: 4.0 * (a - 1.3) ** 3 + 0.1),
    "far": (lambda a: (a - 300.0) ** 2, lambda a: 2.0 * (a - 300.0)),
    "wavy": (
        lambda a: -3.4 * a + 0.3 * a * a + 0.4 * jnp.sin(6.0 * a),
        lambda a: -3.4 + 0.6 * a + 2.4 * jnp.cos(6.0 * a),
    ),
}
FIRSTS = [1e-3, 0.1, 1.0, 10.0, 1000.0]
RULES = {"strong_wolfe": strong_wolfe, "hager_zhang": hager_zhang}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def compiled(rule, name):
    """A search over one of the lines, compiled once for all first trials."""
    make = (
        RULES.get(rule)
        or {
            "more_thuente": functools.partial(more_thuente, decrease=C1, curvature=C2),
            "zoom": functools.partial(zoom, decrease=C1, curvature=C2),
        }[rule]
    )
    return jax.jit(functools.partial(run, make(), *LINES[name]))


def run(rule, value, slope, first, max_evaluations=200):
    def evaluate(a):
        return value(a), slope(a), a

    zero = jnp.zeros(())
    return search(rule, evaluate, evaluate(zero), jnp.asarray(first, float), max_evaluations=max_evaluations)


def scipy_first_trial(value, slope, first):
    """The old loss from which SciPy's rule makes this first trial, which is 1 at most."""
    return float(value(0.0)) - first * float(slope(0.0)) / 2.02


@pytest.mark.parametrize("first", [f for f in FIRSTS if f <= 1.0])
@pytest.mark.parametrize("name", LINES)
def test_more_thuente_takes_the_steps_of_scipy(name, first):
    value, slope = LINES[name]
    old = scipy_first_trial(value, slope, first)
    calls = []

    def counted(a):
        calls.append(a)
        return float(value(a))

    want, *_ = scipy_search.scalar_search_wolfe1(
        counted,
        lambda a: float(slope(a)),
        float(value(0.0)),
        old,
        float(slope(0.0)),
        c1=C1,
        c2=C2,
        amin=1e-100,
        amax=1e100,
    )
    search = compiled("more_thuente", name)(first)
    assert (want is not None) == (int(search.verdict) == Verdict.ACCEPTED)
    if want is not None:
        np.testing.assert_allclose(float(search.step), want, rtol=1e-9)
        assert int(search.evaluations) == len(calls)


def bumpy(c, lib):
    """A line of random numbers, steep or flat, with several minima, and its slope."""
    value = lambda a: -a * c[0] + c[1] * a * a + c[2] * lib.sin(c[3] * a + c[4]) + c[5] * a**4  # noqa: E731
    slope = lambda a: -c[0] + 2 * c[1] * a + c[2] * c[3] * lib.cos(c[3] * a + c[4]) + 4 * c[5] * a**3  # noqa: E731
    return value, slope


@pytest.mark.parametrize("rule", ["more_thuente", "zoom"])
def test_random_lines_take_the_steps_of_scipy(rule):
    rng = np.random.default_rng(0)
    make = {"more_thuente": more_thuente, "zoom": zoom}[rule](decrease=C1, curvature=0.1)
    ours = jax.jit(lambda c, first: run(make, *bumpy(c, jnp), first))
    theirs = {"more_thuente": scipy_search.scalar_search_wolfe1, "zoom": scipy_search.scalar_search_wolfe2}[rule]
    trials = []
    while len(trials) < 60:
        c = 10.0 ** rng.uniform(-1.5, 1.5, size=6) * np.array([1, 1, 1, 1, 1, 0.1])
        value, slope = bumpy(c, np)
        if slope(0.0) > -1e-3:
            continue
        first = 10.0 ** rng.uniform(-2, 0)
        old = value(0.0) - first * slope(0.0) / 2.02
        search = ours(jnp.asarray(c), first)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want = theirs(value, slope, value(0.0), old, slope(0.0), c1=C1, c2=0.1)
        if want[0] is None or want[-1] is None:  # SciPy's doubling may end at any step
            continue
        assert int(search.verdict) == Verdict.ACCEPTED
        np.testing.assert_allclose(float(search.step), want[0], rtol=1e-7)
        trials.append(int(search.evaluations))
    assert max(trials) >= 5


@pytest.mark.parametrize("first", [f for f in FIRSTS if f <= 1.0])
@pytest.mark.parametrize("name", LINES)
def test_zoom_takes_the_steps_of_scipy(name, first):
    value, slope = LINES[name]
    old = scipy_first_trial(value, slope, first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy_search.LineSearchWarning)
        want, _, _, slope_there = scipy_search.scalar_search_wolfe2(
            lambda a: float(value(a)),
            lambda a: float(slope(a)),
            float(value(0.0)),
            old,
            float(slope(0.0)),
            c1=C1,
            c2=C2,
        )
    search = compiled("zoom", name)(first)
    if want is None or slope_there is None:  # SciPy found nothing, or ended its doubling at any step
        assert int(search.verdict) == Verdict.FAILED
    else:
        assert int(search.verdict) == Verdict.ACCEPTED
        np.testing.assert_allclose(float(search.step), want, rtol=1e-9)


@pytest.mark.parametrize("first", FIRSTS)
@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("rule", RULES)
def test_what_is_accepted_satisfies_the_conditions(rule, name, first):
    value, slope = LINES[name]
    search = compiled(rule, name)(first)
    assert int(search.verdict) == Verdict.ACCEPTED
    a, c1 = float(search.step), {"strong_wolfe": C1, "hager_zhang": 0.1}[rule]
    f0, s0, f, s = (float(x) for x in (value(0.0), slope(0.0), value(a), slope(a)))
    low = f <= f0 + c1 * a * s0
    if rule == "strong_wolfe":
        assert low
        assert abs(s) <= C2 * abs(s0)
    else:
        assert low or (s <= (2 * c1 - 1) * s0 and f <= f0 + 1e-6 * abs(f0))
        assert s >= C2 * s0
    assert float(search.value) == pytest.approx(f, rel=1e-12)
    assert float(search.payload) == a
    assert int(search.evaluations) <= 30


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("rule", [*RULES, "more_thuente"])
def test_a_trial_that_is_not_finite_shortens_the_step(rule, bad):
    """The loss is finite up to 1.01 only, and its minimum is at 1."""
    make = RULES.get(rule) or functools.partial(more_thuente, decrease=C1, curvature=C2)
    search = run(
        make(),
        lambda a: jnp.where(a < 1.01, (a - 1.0) ** 2, bad),
        lambda a: jnp.where(a < 1.01, 2.0 * (a - 1.0), bad),
        50.0,
    )
    assert int(search.verdict) == Verdict.ACCEPTED
    assert 0.0 < float(search.step) < 1.01
    assert np.isfinite(float(search.value))


@pytest.mark.parametrize("rule", RULES)
def test_without_any_good_trial_it_fails_where_it_stands(rule):
    search = run(
        RULES[rule](), lambda a: jnp.where(a == 0, 1.0, jnp.nan), lambda a: jnp.where(a == 0, -1.0, jnp.nan), 1.0
    )
    assert int(search.verdict) != Verdict.ACCEPTED
    assert (float(search.step), float(search.value)) == (0.0, 1.0)


@pytest.mark.parametrize("rule", RULES)
def test_a_line_without_end_fails_at_its_lowest_point(rule):
    search = run(RULES[rule](), lambda a: -a, lambda a: -jnp.ones_like(a), 1.0)
    assert int(search.verdict) != Verdict.ACCEPTED
    assert float(search.value) < -1.0
    assert float(search.payload) == float(search.step)


def test_the_budget_bounds_the_evaluations():
    value, slope = LINES["far"]
    search = run(strong_wolfe(), value, slope, 1e-3, max_evaluations=2)
    assert (int(search.evaluations), int(search.verdict)) == (2, Verdict.SEARCHING)
    assert float(search.value) < float(value(0.0))


@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("rule", RULES)
def test_what_does_not_descend_is_not_searched(rule, slope):
    search = run(RULES[rule](), lambda a: slope * a, lambda a: slope + 0.0 * a, 1.0)
    assert (int(search.verdict), int(search.evaluations)) == (Verdict.FAILED, 0)


def test_the_approximate_test_works_where_losses_no_longer_differ():
    """Close to the minimum of 1 + a tiny parabola rounding makes the loss a staircase; the slope is exact."""
    tiny = 1e-9

    def value(a):
        return 1.0 + (tiny * (a - 1.0)) ** 2

    def slope(a):
        return 2.0 * tiny * tiny * (a - 1.0)

    near = run(hager_zhang(), value, slope, 1.9)
    assert int(near.verdict) == Verdict.ACCEPTED
    assert abs(float(near.step) - 1.0) < 0.9
    assert int(run(strong_wolfe(), lambda a: value(a) + 1e-15 * (a > 0), slope, 1.9).verdict) == Verdict.FAILED
