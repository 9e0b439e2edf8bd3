"""The maps of the first table, by name; `further.py` has others. All data are drawn from fixed seeds; nothing is read.

A map is made for a dtype, float32 or float64 (complex maps take the complex one of that width), and is a pure function
of one array. `plain` tells whether plain iteration
converges within 20,000 evaluations; where it does, another fixed point than its counts as wrong.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.fixed_points import equations, learning, statistics


class Map(NamedTuple):
    """A map F and where to start."""

    name: str
    make: Callable[[Any], tuple[Callable[[Any], Any], np.ndarray]]
    plain: bool = True
    essence: Callable[[np.ndarray], np.ndarray] = np.asarray  # what is left when free constants and turns are taken off


def _centred(x: np.ndarray) -> np.ndarray:
    return x - np.mean(x)


def _of_sum_one(x: np.ndarray) -> np.ndarray:
    return x / np.sum(x)


def _without_phase(x: np.ndarray) -> np.ndarray:
    return x * np.exp(-1j * np.angle(x[np.argmax(np.abs(x))]))


def _distances(x: np.ndarray) -> np.ndarray:
    points = x.reshape(-1, 2)
    return np.linalg.norm(points[:, None] - points, axis=2)


ALL: tuple[Map, ...] = (
    Map("spiral", equations.spiral),
    Map("em_poisson", statistics.em_poisson),
    Map("blood_groups", statistics.blood_groups),
    Map("em_gauss", statistics.em_gauss),
    Map("em_multinomial", statistics.em_multinomial),
    Map("baum_welch", statistics.baum_welch),
    Map("student_t", statistics.student_t),
    Map("demand_inversion", statistics.demand_inversion, plain=False),
    Map("sinkhorn", statistics.sinkhorn, essence=_centred),
    Map("value_iteration", statistics.value_iteration),
    Map("pagerank", statistics.pagerank, essence=_of_sum_one),
    Map("chandrasekhar", equations.chandrasekhar),
    Map("mean_field", equations.mean_field, plain=False),
    Map("scf", equations.scf),
    Map("scf_hard", equations.scf_hard, plain=False),
    Map("power", equations.power, essence=np.abs),
    Map("power_complex", equations.power_complex, essence=_without_phase),
    Map("kepler", equations.kepler),
    Map("bratu_jacobi", equations.bratu_jacobi),
    Map("jacobi", equations.jacobi),
    Map("diffusion", equations.diffusion),
    Map("gradient_1e2", learning.gradient_1e2),
    Map("gradient_1e4", learning.gradient_1e4, plain=False),
    Map("gradient_1e6", learning.gradient_1e6, plain=False),
    Map("logistic", learning.logistic),
    Map("smacof", learning.smacof, essence=_distances),
    Map("lasso", learning.lasso),
    Map("projections", learning.projections),
    Map("drs_qp", learning.drs_qp),
    Map("nearest_correlation", learning.nearest_correlation),
    Map("nmf", learning.nmf, plain=False),
    Map("deq_0.9", learning.deq),
)
