"""The methods: one paper's method a file, and the registry METHODS that describes them to everything else."""

from collections.abc import Mapping
from types import MappingProxyType

from optaxaccel.methods._adaptive_extrapolation import extrapolate_adaptive
from optaxaccel.methods._agd import CARD as AGD
from optaxaccel.methods._agd import AgdState, ProximalTermState, add_proximal_term, agd, strongly_convex_momentum
from optaxaccel.methods._ancm import CARD as ANCM
from optaxaccel.methods._ancm import AncmState, ancm
from optaxaccel.methods._anderson import CARD as ANDERSON
from optaxaccel.methods._anderson import AndersonState, anderson
from optaxaccel.methods._combined import GOSE_AGD, GOSE_SGD, gose_agd, gose_sgd
from optaxaccel.methods._extrapolation import extrapolate, extrapolation_weights
from optaxaccel.methods._gose import GoseState, gose
from optaxaccel.methods._indian import CARD as INDIAN
from optaxaccel.methods._indian import IndianState, indian, indian_stable, inna, inverse_power_schedule
from optaxaccel.methods._interpolatron import CARD as INTERPOLATRON
from optaxaccel.methods._interpolatron import InterpolatronState, interpolatron
from optaxaccel.methods._negative_curvature import Finder, lanczos, negative_curvature, neon2, shifted_power
from optaxaccel.methods._negative_curvature_descent import CARD as NEGATIVE_CURVATURE_DESCENT
from optaxaccel.methods._negative_curvature_descent import NegativeCurvatureDescentState, negative_curvature_descent
from optaxaccel.methods._nesterov import CARD as NESTEROV
from optaxaccel.methods._nesterov import NesterovState, ProximalNesterovState, nesterov
from optaxaccel.methods._pal import CARD as PAL
from optaxaccel.methods._pal import PalState, pal, pal_decay_schedule
from optaxaccel.methods._parabola import ParabolaCase, ParabolaState, line_profile, scale_by_parabola
from optaxaccel.methods._rna import CARD as RNA_SGD
from optaxaccel.methods._rna import RnaState, rna, rna_sgd
from optaxaccel.methods.contract import Card, Cost, eval_params
from optaxaccel.numerics.ring import History, history_init, history_list, history_push

METHODS: Mapping[str, Card] = MappingProxyType(
    {
        card.name: card
        for card in (
            AGD,
            ANCM,
            ANDERSON,
            GOSE_AGD,
            GOSE_SGD,
            INDIAN,
            INTERPOLATRON,
            NEGATIVE_CURVATURE_DESCENT,
            NESTEROV,
            PAL,
            RNA_SGD,
        )
    }
)

__all__ = [
    "METHODS",
    "AgdState",
    "AncmState",
    "AndersonState",
    "Card",
    "Cost",
    "Finder",
    "GoseState",
    "History",
    "IndianState",
    "InterpolatronState",
    "NegativeCurvatureDescentState",
    "NesterovState",
    "PalState",
    "ParabolaCase",
    "ParabolaState",
    "ProximalNesterovState",
    "ProximalTermState",
    "RnaState",
    "add_proximal_term",
    "agd",
    "ancm",
    "anderson",
    "eval_params",
    "extrapolate",
    "extrapolate_adaptive",
    "extrapolation_weights",
    "gose",
    "gose_agd",
    "gose_sgd",
    "history_init",
    "history_list",
    "history_push",
    "indian",
    "indian_stable",
    "inna",
    "interpolatron",
    "inverse_power_schedule",
    "lanczos",
    "line_profile",
    "negative_curvature",
    "negative_curvature_descent",
    "neon2",
    "nesterov",
    "pal",
    "pal_decay_schedule",
    "rna",
    "rna_sgd",
    "scale_by_parabola",
    "shifted_power",
    "strongly_convex_momentum",
]
