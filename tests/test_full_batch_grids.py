"""How a full-batch contender's grid grows where its best setting stands at an end, and which of equals is taken."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "full_batch"


@pytest.fixture(scope="module")
def grids():
    sys.path.insert(0, str(FOLDER))
    try:
        import full_batch_contenders

        yield full_batch_contenders
    finally:
        sys.path.remove(str(FOLDER))


def test_everybody_begins_with_thirty_three_settings_but_those_without_a_rate(grids):
    for name, contender in grids.CONTENDERS.items():
        count = len(grids.grid_at_first(contender).settings())
        assert count == (3 if contender.first is None else 33), name
        assert list(contender.seconds) == sorted(set(contender.seconds))


def test_a_grid_grows_by_a_decade_and_by_the_next_value_where_its_best_stands(grids):
    ball = grids.CONTENDERS["heavy ball"]
    first = grids.grid_at_first(ball)
    assert first.seconds == (0.9, 0.95, 0.99)
    assert first.mains == pytest.approx([-4 + k / 2 for k in range(11)])
    assert grids.widened(ball, first, first.mains[5], 0.95) == first
    higher = grids.widened(ball, first, first.mains[-1], 0.99)
    assert higher.mains == (*first.mains, pytest.approx(1.5), pytest.approx(2.0))
    assert higher.seconds == (0.9, 0.95, 0.99, 0.997)
    lower = grids.widened(ball, first, first.mains[0], 0.9)
    assert lower.mains == (pytest.approx(-5.0), pytest.approx(-4.5), *first.mains)
    assert lower.seconds == (0.8, 0.9, 0.95, 0.99)
    last = grids.Tried(first.mains, ball.seconds)
    assert grids.widened(ball, last, first.mains[5], ball.seconds[-1]) == last  # there is no other value above


def test_a_method_with_one_hyperparameter_and_one_without_a_rate_grow_too(grids):
    descent, limited = grids.CONTENDERS["gradient descent"], grids.CONTENDERS["L-BFGS"]
    first = grids.grid_at_first(descent)
    assert grids.widened(descent, first, first.mains[-1], 0.0).mains[-1] == pytest.approx(2 + 6 * 5 / 32)
    assert grids.widened(limited, grids.grid_at_first(limited), 0.0, 20).seconds == (5, 10, 20, 40)


def test_of_settings_that_are_equally_good_the_middle_one_is_taken(grids):
    rounding = {(main, second): -36.8 for main in (1.0, 2.0, 3.0, 4.0, 5.0) for second in (5, 10, 20)}
    assert grids.middle_of_best(rounding) == (3.0, 10)
    assert grids.middle_of_best({**rounding, (5.0, 20): -36.9}) == (5.0, 20)
    assert grids.middle_of_best({(1.0, 0.0): 0.0, (2.0, 0.0): -1.0, (3.0, 0.0): -1.0}) == (2.0, 0.0)
