"""A second set of maps, of other kinds: none was used when the solver's rule was chosen, and none is tuned to a solver.

They are as their sources define them, of round sizes. Plain iteration alone was run when they were written, to see that
they are finite and whether it converges.
"""

import numpy as np

from benchmarks.fixed_points import (
    further_decisions,
    further_graphs,
    further_physics,
    further_signals,
    further_statistics,
)
from benchmarks.fixed_points.maps import Map


def _image(x: np.ndarray) -> np.ndarray:
    return x[: further_signals.SIDE**2]


def _tensor(x: np.ndarray) -> np.ndarray:
    return np.einsum("ir,jr,kr->ijk", *further_signals.factors(x))


def _up_to_factors(x: np.ndarray) -> np.ndarray:
    potentials = x.reshape(further_signals.HISTOGRAMS, -1)
    return potentials - np.mean(potentials, axis=1, keepdims=True)


def _table(x: np.ndarray) -> np.ndarray:
    first, second, third = further_statistics.terms(x)
    return first + second + third


def _unrotated(x: np.ndarray, rows: int, columns: int) -> np.ndarray:
    loadings = x[: rows * columns].reshape(rows, columns)
    return np.concatenate([(loadings @ loadings.T).reshape(-1), x[rows * columns :]])


def _factors(x: np.ndarray) -> np.ndarray:
    return _unrotated(x, further_statistics.VARIABLES, further_statistics.FACTORS)


def _components(x: np.ndarray) -> np.ndarray:
    return _unrotated(x, further_statistics.SEEN, further_statistics.COMPONENTS)


FURTHER: tuple[Map, ...] = (
    Map("admm_lasso", further_signals.admm_lasso),
    Map("admm_total_variation", further_signals.admm_total_variation),
    Map("chambolle_pock", further_signals.chambolle_pock, plain=False, essence=_image),
    Map("richardson_lucy", further_signals.richardson_lucy),
    Map("soft_impute", further_signals.soft_impute),
    Map("cp_als", further_signals.cp_als, essence=_tensor),
    Map("wasserstein_barycentre", further_signals.wasserstein_barycentre, essence=_up_to_factors),
    Map("factor_analysis", further_statistics.factor_analysis, essence=_factors),
    Map("missing_components", further_statistics.missing_components, essence=_components),
    Map("turnbull", further_statistics.turnbull),
    Map("bradley_terry", further_statistics.bradley_terry),
    Map("proportional_fitting", further_statistics.proportional_fitting, essence=_table),
    Map("least_absolute", further_statistics.least_absolute),
    Map("geometric_median", further_statistics.geometric_median),
    Map("mean_shift", further_statistics.mean_shift),
    Map("soft_value_iteration", further_decisions.soft_value_iteration),
    Map("quantal_response", further_decisions.quantal_response),
    Map("equilibrium_prices", further_decisions.equilibrium_prices),
    Map("riccati", further_decisions.riccati),
    Map("stein", further_decisions.stein),
    Map("belief_propagation", further_graphs.belief_propagation),
    Map("simrank", further_graphs.simrank),
    Map("implicit_graph_layer", further_graphs.implicit_graph_layer),
    Map("power_flow", further_graphs.power_flow),
    Map("gauss_seidel", further_physics.gauss_seidel),
    Map("convection_diffusion", further_physics.convection_diffusion),
    Map("nonlinear_diffusion", further_physics.nonlinear_diffusion),
    Map("gross_pitaevskii", further_physics.gross_pitaevskii, essence=np.abs),
    Map("ornstein_zernike", further_physics.ornstein_zernike),
    Map("slab_transport", further_physics.slab_transport),
)
