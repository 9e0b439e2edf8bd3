"""What a function reads elsewhere and is bound anew makes another problem of it; the same bindings compile nothing."""

import jax.numpy as jnp
import pytest

from optaxaccel import fixed_point, minimize


class Config:
    rate = 0.5


class Slots:
    __slots__ = ("rate",)

    def image(self, x):
        return self.rate * x + 1.0


class Object:
    def __init__(self):
        self.rate, self.inner = 0.5, Config()

    def image(self, x):
        return self.rate * x + 1.0

    def __call__(self, x):
        return self.inner.rate * x + 1.0


class OfClass:
    rate = 0.5

    def image(self, x):
        return self.rate * x + 1.0


def of_an_instance():
    owner = Config()
    return owner, lambda x: owner.rate * x + 1.0


def of_a_class():
    owner = type("Other", (), {"rate": 0.5})
    return owner, lambda x: owner.rate * x + 1.0


def of_slots():
    owner = Slots()
    owner.rate = 0.5
    return owner, owner.image


def of_a_method_that_is_called():
    owner = Object()
    return owner, lambda x: owner.image(x)


def of_an_object_in_an_object():
    outer = Object()
    return outer.inner, outer


def of_the_class_of_a_method():
    owner = type("OfClass", (OfClass,), {"rate": 0.5})
    return owner, owner().image


CASES = (
    of_an_instance,
    of_a_class,
    of_slots,
    of_a_method_that_is_called,
    of_an_object_in_an_object,
    of_the_class_of_a_method,
)


@pytest.mark.parametrize("case", CASES)
def test_an_attribute_that_is_bound_anew_is_seen(case):
    owner, fun = case()
    assert fixed_point(fun, 0.0).value == pytest.approx(2.0, rel=1e-5)
    owner.rate = 0.9
    assert fixed_point(fun, 0.0).value == pytest.approx(10.0, rel=1e-5)


def test_a_loss_that_reads_an_attribute():
    owner = Config()
    owner.rate = 0.25

    def loss(x):
        return (x - owner.rate) ** 2

    assert minimize(loss, 0.0).params == pytest.approx(0.25)
    owner.rate = 0.75
    assert minimize(loss, 0.0).params == pytest.approx(0.75)


def test_a_long_chain_of_objects_is_followed():
    first = last = Config()
    for _ in range(3000):
        last.next = Config()
        last = last.next
    last.next, first.rate = None, 0.25

    def loss(x):
        node, steps = first, 0
        while node.next is not None and steps < 2:
            node, steps = node.next, steps + 1
        return (x - first.rate) ** 2

    assert minimize(loss, 0.0).params == pytest.approx(0.25)


def test_the_same_bindings_compile_nothing():
    traced, owner = [], Object()

    def fun(x):
        traced.append(x)
        return owner.image(x) * owner.inner.rate

    for _ in range(3):
        fixed_point(fun, jnp.zeros(2))
    assert len(traced) == 1


def test_a_state_goes_on_within_its_own_bounds():
    start = jnp.zeros(2)

    def loss(x):
        return jnp.sum((x - 1.0) ** 2)

    state = minimize(loss, start, bounds=(0.0, 0.5)).state
    assert minimize(loss, start, bounds=(0.0, 0.5), state=state).params == pytest.approx([0.5, 0.5])
    with pytest.raises(ValueError, match="other bounds"):
        minimize(loss, start, bounds=(0.0, 0.75), state=state)
