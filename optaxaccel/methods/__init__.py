"""The methods: one paper's method a file, and the registry METHODS that describes them to everything else.

A method is its file and its line here: the names in the file's `__all__` are public, its `Card`s are in METHODS.
"""

from collections.abc import Mapping as _Mapping
from types import MappingProxyType as _MappingProxyType
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

from optaxaccel.methods._adaptive_extrapolation import *
from optaxaccel.methods._agd import *
from optaxaccel.methods._ancm import *
from optaxaccel.methods._anderson import *
from optaxaccel.methods._averaging import *
from optaxaccel.methods._cdat import *
from optaxaccel.methods._combined import *
from optaxaccel.methods._extrapolation import *
from optaxaccel.methods._full_batch import *
from optaxaccel.methods._gose import *
from optaxaccel.methods._hindsight import *
from optaxaccel.methods._indian import *
from optaxaccel.methods._innaprop import *
from optaxaccel.methods._interpolatron import *
from optaxaccel.methods._latest_weight_average import *
from optaxaccel.methods._line_profile import *
from optaxaccel.methods._means import *
from optaxaccel.methods._merge import *
from optaxaccel.methods._merge_by_loss import *
from optaxaccel.methods._merge_weights import *
from optaxaccel.methods._negative_curvature import *
from optaxaccel.methods._negative_curvature_descent import *
from optaxaccel.methods._nesterov import *
from optaxaccel.methods._outer_nesterov import *
from optaxaccel.methods._pal import *
from optaxaccel.methods._parabola import *
from optaxaccel.methods._primal_averaging import *
from optaxaccel.methods._quasi_newton import *
from optaxaccel.methods._quasi_newton_update import *
from optaxaccel.methods._rna import *
from optaxaccel.methods._salsa import *
from optaxaccel.methods._schedule_free import *
from optaxaccel.methods._tuning_free import *
from optaxaccel.methods._wolfe_search import *
from optaxaccel.methods.card import *
from optaxaccel.methods.groups import *
from optaxaccel.methods.iterates import *
from optaxaccel.methods.purity import *
from optaxaccel.methods.states import *
from optaxaccel.numerics.ring import *

_CARDS = (
    card
    for module in tuple(globals().values())
    if isinstance(module, _ModuleType)
    for card in vars(module).values()
    if isinstance(card, Card)
)
METHODS: _Mapping[str, Card] = _MappingProxyType({card.name: card for card in sorted(_CARDS, key=lambda c: c.name)})

__all__: list[str]  # a type checker reads the imports above instead, which it understands
if not TYPE_CHECKING:
    __all__ = sorted(n for n, v in globals().items() if n[0] != "_" and not isinstance(v, _ModuleType))
    __all__.remove("TYPE_CHECKING")
