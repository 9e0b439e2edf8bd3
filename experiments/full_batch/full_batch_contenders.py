"""The contenders on full-batch problems, the grids that they choose from, and how a grid grows."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import optax

import optaxaccel

RATES = 11  # main values over five decades
SECONDS = 3  # other values


class Contender(NamedTuple):
    """A method with its main hyperparameter and another one.

    Attributes:
      make: (main, second) -> the method.
      first: the exponent of ten of the smallest main value; None: L-BFGS, whose search needs none.
      seconds: all values that the other one may take: (): a method has none, and gets three times as many of the main
        one instead.
      middle: index of the second of the three that are tried at first.
      static: whether the other one changes the program.
      searches: whether a step may search negative curvature: then settings run one after another, since together each
        would pay for a search at every step.
    """

    make: Callable[[Any, Any], optax.GradientTransformation]
    first: int | None
    seconds: tuple[float, ...] = ()
    middle: int = 3
    static: bool = False
    searches: bool = False


MOMENTA = (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.997, 0.999)
NATURAL_ENDS = (0.0, 1.0)  # of another value: no momentum, the newest gradient alone
LENGTHS = (2, 3, 5, 10, 20, 40, 80)
CONTENDERS: Mapping[str, Contender] = {
    "gradient descent": Contender(lambda a, _: optax.sgd(a), -3),
    "heavy ball": Contender(lambda a, b: optax.sgd(a, momentum=b), -4, MOMENTA, 5),
    "Nesterov momentum": Contender(lambda a, b: optax.sgd(a, momentum=b, nesterov=True), -4, MOMENTA, 5),
    "Adam": Contender(lambda a, b: optax.adam(a, b2=b), -4, (0.5, 0.8, 0.9, 0.99, 0.999, 0.9999, 0.99999)),
    "optax L-BFGS": Contender(lambda a, b: optax.lbfgs(memory_size=int(b)), None, LENGTHS, static=True),
    "L-BFGS": Contender(lambda a, b: optaxaccel.lbfgs(memory_size=int(b)), None, LENGTHS, static=True),
    "nesterov": Contender(lambda a, _: optaxaccel.nesterov(a), -3),
    "AGD": Contender(lambda a, _: optaxaccel.agd(a), -4),
    "Interpolatron": Contender(
        lambda a, b: optaxaccel.interpolatron(a, coefficients=(b, 1 - b)),
        -3,
        (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
        static=True,
    ),
    "Anderson": Contender(lambda a, b: optaxaccel.anderson(a, history=int(b)), -3, LENGTHS, static=True),
    "Anderson, safeguarded": Contender(
        lambda a, b: optaxaccel.anderson(a, history=int(b), every=2, safeguard=True), -3, LENGTHS, static=True
    ),
    "INDIAN": Contender(lambda a, b: optaxaccel.indian(a, alpha=b), -4, (0.01, 0.03, 0.1, 0.5, 1.0, 2.0, 5.0)),
    "PAL": Contender(
        lambda a, b: optaxaccel.pal(measuring_step_size=a, momentum=b, loose_approximation=1.0),
        -4,
        (0.0, 0.2, 0.4, 0.9, 0.95, 0.98, 0.99),
    ),
    "RNA at every step": Contender(
        lambda a, b: optaxaccel.rna_sgd(a, history=int(b), period=1), -3, LENGTHS, static=True
    ),
    "GOSE": Contender(lambda a, b: optaxaccel.gose_sgd(a, momentum=b), -4, MOMENTA, 5, searches=True),
    "ANCM": Contender(lambda a, _: optaxaccel.ancm(a, period=50), -4, searches=True),
}


class Tried(NamedTuple):
    """What a contender's values are so far: how many settings, by the ends of both grids.

    Attributes:
      mains: exponents of ten of the main value, rising; (0.0,) where there is none.
      seconds: values of the other one, rising; (0.0,) where there is none.
    """

    mains: tuple[float, ...]
    seconds: tuple[float, ...]

    def settings(self) -> list[tuple[float, float]]:
        """All pairs of a main value and another one."""
        return [(float(10.0**a), float(b)) for b in self.seconds for a in self.mains]


def grid_at_first(contender: Contender, every: int = 1) -> Tried:
    """Eleven main values over five decades by three of the other one, or thirty-three main values over five."""
    seconds = contender.seconds[contender.middle - 1 : contender.middle + 2] or (0.0,)
    if contender.first is None:
        return Tried((0.0,), seconds)
    count = RATES if contender.seconds else RATES * SECONDS
    return Tried(tuple((contender.first + np.linspace(0, 5, count))[::every].tolist()), seconds)


def widened(contender: Contender, tried: Tried, main: float, second: float) -> Tried:
    """The grid, a decade longer at the end at which the best main value stands, and likewise with the next other one.

    Args:
      contender: whose it is.
      tried: its grid.
      main: the exponent of the best main value.
      second: the best other value.
    """
    mains, seconds = list(tried.mains), list(tried.seconds)
    if len(mains) > 1:
        gap = mains[1] - mains[0]
        more = [gap * k for k in range(1, round(1 / gap) + 1)]
        mains = [mains[0] - d for d in reversed(more)] * (main == mains[0]) + mains
        mains += [mains[-1] + d for d in more] * (main == tried.mains[-1])
    below = [b for b in contender.seconds if b < seconds[0]]
    above = [b for b in contender.seconds if b > seconds[-1]]
    seconds = below[-1:] * (second == seconds[0]) + seconds + above[:1] * (second == seconds[-1])
    return Tried(tuple(mains), tuple(seconds))


def middle_of_best(scores: Mapping[tuple[float, float], float]) -> tuple[float, float]:
    """The setting with the lowest score; of several with the same, the middle of their main values, then of the others.

    Where everything reaches rounding, or nothing moves, the end of a grid is thus no better than its middle.
    """
    lowest = min(scores.values())
    best = [setting for setting, score in scores.items() if score == lowest]
    mains = sorted({main for main, _ in best})
    main = mains[(len(mains) - 1) // 2]
    seconds = sorted(second for each, second in best if each == main)
    return main, seconds[(len(seconds) - 1) // 2]
