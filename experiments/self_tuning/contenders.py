"""Who runs in the self-tuning track: what each is made of, its own default, and the settings it may try.

A contender is `make(number, decay)` with a traced number and a schedule `decay(step)`: from 1 to 0, or 1 throughout.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from optax import contrib

import optaxaccel

HALF_DECADES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-8, 5))


class Contender(NamedTuple):
    """A line of the table.

    Attributes:
      make: `make(number, decay)` gives the transformation.
      default: the number that its package, or custom, has; the schedule stays at 1.
      numbers: what it may try, with and without the cosine; empty where nothing is tuned.
      shown: what `make` gives is judged at: `shown(state, params)`; None is `optaxaccel.eval_params`.
      cosine: whether its numbers are tried with a cosine, too.
    """

    make: Callable[[Any, Callable], optax.GradientTransformation]
    default: float
    numbers: tuple[float, ...] = ()
    shown: Callable[[Any, Any], Any] | None = None
    cosine: bool = True


def _scaled(decay: Callable, rate: Any) -> Callable:
    return lambda step: rate * decay(step)


CONTENDERS: dict[str, Contender] = {
    "Adam": Contender(lambda rate, decay: optax.adam(_scaled(decay, rate)), 1e-3, HALF_DECADES[:10]),
    "momentum SGD": Contender(lambda rate, decay: optax.sgd(_scaled(decay, rate), momentum=0.9), 0.1, HALF_DECADES[3:]),
    "tuning_free": Contender(lambda _, decay: optaxaccel.tuning_free(), 0.0),
    "tuning_free, every fifth": Contender(lambda _, decay: optaxaccel.tuning_free(every=5), 0.0),
    "PAL": Contender(lambda distance, decay: optaxaccel.pal(measuring_step_size=distance), 0.1),
    "Prodigy": Contender(lambda _, decay: contrib.prodigy(decay), 0.0),
    "schedule-free AdamW": Contender(lambda rate, decay: contrib.schedule_free_adamw(rate), 0.0025),
    "schedule-free Prodigy": Contender(
        lambda _, decay: contrib.schedule_free(contrib.prodigy(1.0, betas=(0.0, 0.999)), learning_rate=1.0, b1=0.9),
        0.0,
        shown=contrib.schedule_free_eval_params,
    ),
    "DoWG": Contender(lambda _, decay: contrib.dowg(decay), 0.0),
    "MoMo-Adam": Contender(lambda rate, decay: contrib.momo_adam(rate), 0.01),
    "COCOB": Contender(lambda _, decay: contrib.cocob(), 0.0),
    # The second set, see README.md.
    "AdamW": Contender(lambda rate, decay: optax.adamw(rate), 1e-3),
    "NAdamW": Contender(lambda rate, decay: optax.nadamw(rate), 1e-3),
    "Adam, averaged": Contender(
        lambda rate, decay: optaxaccel.polynomial_mean(optax.adam(rate)), 1e-3, HALF_DECADES[:10], cosine=False
    ),
    "momentum SGD, averaged": Contender(
        lambda rate, decay: optaxaccel.polynomial_mean(optax.sgd(rate, momentum=0.9)),
        0.1,
        HALF_DECADES[3:],
        cosine=False,
    ),
    "schedule-free SGD": Contender(lambda rate, decay: contrib.schedule_free_sgd(rate), 1.0),
    "D-Adapt AdamW": Contender(lambda _, decay: contrib.dadapt_adamw(decay), 0.0),
    "Mechanic around Adam": Contender(lambda rate, decay: contrib.mechanize(optax.adam(rate)), 1e-3),
    "SaLSA": Contender(lambda rate, decay: optaxaccel.salsa(), 0.0),
    "SaLSA, seldom": Contender(lambda rate, decay: optaxaccel.salsa(max_interval=10), 0.0),
    "SaLSA, its code's defaults": Contender(
        lambda rate, decay: optaxaccel.salsa(max_interval=10, momentum_in_search=False), 0.0
    ),
    "INNAprop": Contender(lambda rate, decay: optaxaccel.innaprop(rate), 1e-3),
    "CDAT": Contender(lambda _, decay: optaxaccel.cdat(), 0.0),
}

FORMER = ("tuning_free, candidate 1", "tuning_free, every fifth, candidate 1")  # in the records, but no longer made
DEFAULTS = {label: contender.default for label, contender in CONTENDERS.items()} | dict.fromkeys(FORMER, 0.0)
