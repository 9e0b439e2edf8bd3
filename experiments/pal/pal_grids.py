"""The grids of PAL's paper, section 4, as settings of runs."""

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

from optaxaccel.training.many.experiment import Contender, Plan
from optaxaccel.training.run.spec import Run

MU, ALPHA, LAMBDA, S_MAX, RATE = (0.1, 0.01), (0.0, 0.4, 0.6), (0.4, 0.6, 0.8), (0.1, 1.0), (0.85, 0.9, 0.95)
RATES = (0.8, 0.85, 0.9, 0.95, 1.0)
LEARNING_RATES = (0.1, 0.01, 0.001, 0.0001)
ENDLESS = 10_000  # epochs that no run at equal time makes: only the clock ends one


def pal(base: Run, mu: float, alpha: float, loose: float, s_max: float, rate: float) -> Run:
    """PAL with the paper's decay of both step sizes by `rate` an epoch."""
    decay = {"name": "pal_decay_schedule", "rate": rate, "transition_steps": "1epoch"}
    arguments = {"measuring_step_size": mu, "max_step_size": s_max, "momentum": alpha, "loose_approximation": loose}
    schedule = {"measuring_step_size": decay, "max_step_size": decay}
    return base.replace(method="pal", method_args=arguments, schedule=schedule)


def decayed(base: Run, method: str, rate: float, **arguments: float) -> Run:
    """A baseline whose learning rate decays by `rate` an epoch."""
    decay = {"name": "exponential_decay", "decay_rate": rate, "transition_steps": "1epoch"}
    return base.replace(method=method, method_args=arguments, schedule={"learning_rate": decay})


def pal_108(base: Run) -> tuple[Run, ...]:
    return tuple(pal(base, *setting) for setting in product(MU, ALPHA, LAMBDA, S_MAX, RATE))


def sgd_100(base: Run) -> tuple[Run, ...]:
    grid = product(LEARNING_RATES, (0.0, 0.8, 0.9, 0.95, 1.0), RATES)
    return tuple(decayed(base, "optax.sgd", d, learning_rate=l, momentum=a) for l, a, d in grid)


def adam_120(base: Run) -> tuple[Run, ...]:
    grid = product(LEARNING_RATES, (0.9, 0.95), (1e-8, 0.1, 1.0), RATES)
    return tuple(decayed(base, "optax.adam", d, learning_rate=l, b1=b1, b2=0.999, eps=eps) for l, b1, eps, d in grid)


def rmsprop_80(base: Run) -> tuple[Run, ...]:
    grid = product(LEARNING_RATES, (0.85, 0.9, 0.95, 0.99), RATES)
    return tuple(decayed(base, "optax.rmsprop", d, learning_rate=l, decay=f, eps=1e-10) for l, f, d in grid)


def equal_time(
    base: Run,
    seconds: float | None,
    seeds: int,
    count: int = 2,
    *,
    of_paper: Mapping[str, tuple[float, ...]] = MappingProxyType({}),
) -> Plan:
    """PAL with and without momentum, SGD, Adam and RMSProp for a number of seconds.

    Args:
      base: the network and its data.
      seconds: the budget; None keeps the steps of `base`. Nothing else ends a run but epochs of `base`.
      seeds: of the final runs.
      count: how many settings each contender has, four at most: the paper's best on this network, if given, then its
        best on ResNet-32 and their neighbours.
      of_paper: the paper's best numbers on this network (Table 3): (rate, momentum, decay) of SGD, (rate, decay) of
        Adam and RMSProp, and PAL's five.
    """
    base = base if seconds is None else base.replace(seconds=seconds, epochs=base.epochs or ENDLESS)

    def sgd(rate, momentum, decay):
        return decayed(base, "optax.sgd", decay, learning_rate=rate, momentum=momentum)

    def adam(rate, decay):
        return decayed(base, "optax.adam", decay, learning_rate=rate, b1=0.9, b2=0.999, eps=1e-8)

    def rmsprop(rate, decay):
        return decayed(base, "optax.rmsprop", decay, learning_rate=rate, decay=0.85, eps=1e-10)

    def search(*numbers):
        return pal(base, *numbers)

    entrants = {
        "PAL": (search, ((0.1, 0.4, 0.8, 1.0, 0.95), (0.1, 0.6, 0.6, 1.0, 0.95), (0.1, 0.6, 0.8, 1.0, 0.95))),
        "PAL without momentum": (search, tuple((0.1, 0.0, loose, 1.0, 0.95) for loose in (0.8, 0.4, 0.6))),
        "SGD": (sgd, ((0.1, 0.95, 1.0), (0.01, 0.95, 1.0), (0.1, 0.9, 1.0))),
        "Adam": (adam, ((0.01, 0.95), (0.001, 0.95), (0.0001, 0.95), (0.1, 0.95))),
        "RMSProp": (rmsprop, ((0.01, 0.95), (0.001, 0.95), (0.0001, 0.95), (0.1, 0.95))),
    }
    contenders = []
    for label, (make, near) in entrants.items():
        numbers = tuple(dict.fromkeys(((of_paper[label],) if of_paper else ()) + near))
        settings = tuple(make(*each) for each in numbers[:count])
        contenders.append(Contender(label, settings))
    return Plan(tuple(contenders), seeds, by="train loss")


def best_on_imagenet(base: Run, seconds: float | None, seeds: int) -> Plan:
    """The paper's best settings on ImageNet, for a number of seconds."""
    base = base if seconds is None else base.replace(seconds=seconds, epochs=base.epochs or ENDLESS)
    contenders = {
        "SGD": decayed(base, "optax.sgd", 0.95, learning_rate=0.01, momentum=0.95),
        "PAL": pal(base, 0.1, 0.2, 0.8, 1.0, 0.9),
        "PAL without momentum": pal(base, 0.1, 0.0, 0.6, 1.0, 0.9),
        "Adam": decayed(base, "optax.adam", 0.95, learning_rate=0.001, b1=0.9, b2=0.999, eps=1e-8),
        "RMSProp": decayed(base, "optax.rmsprop", 0.9, learning_rate=0.001, decay=0.9, eps=1e-10),
    }
    return Plan(tuple(Contender(label, (run,)) for label, run in contenders.items()), seeds, by="train loss")
