"""One test per item and method; an item is skipped only for the reason that the method's card gives."""

import pytest

from optaxaccel import METHODS

from .problem import reservation


@pytest.fixture(params=METHODS.values(), ids=list(METHODS))
def card(request: pytest.FixtureRequest):
    reason = reservation(request.param, request.function.__name__)
    if reason is not None:
        pytest.skip(reason)
    return request.param
