"""What a function reads elsewhere and is bound anew makes another problem of it; the same bindings compile nothing."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

import optaxaccel
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


def distance(x, settings):
    return settings.rate * x + 1.0


def of_what_is_handed_on():
    owner = Config()
    return owner, lambda x: distance(x, owner)


def of_an_argument_that_is_filled_in():
    owner = Config()
    return owner, functools.partial(distance, settings=owner)


class Computed:
    def __init__(self):
        self.rate = 0.5

    @property
    def slope(self):
        return self.rate


def of_a_property():
    owner = Computed()
    return owner, lambda x: owner.slope * x + 1.0


CASES = (
    of_what_is_handed_on,
    of_an_argument_that_is_filled_in,
    of_a_property,
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


@pytest.mark.parametrize("name", ["lbfgs", "bfgs", "ssbroyden"])
def test_a_step_outside_jit_sees_a_loss_whose_batch_is_bound_anew(name):
    tx, owner, x = getattr(optaxaccel, name)(), Config(), jnp.zeros(2)

    def loss(x):
        return jnp.sum((x - owner.rate) ** 2)

    for owner.rate in (jnp.array([1.0, 2.0]), jnp.array([-5.0, 0.0])):
        state = tx.init(x)
        for _ in range(4):
            value, grad = jax.value_and_grad(loss)(x)
            updates, state = tx.update(grad, state, x, value=value, grad=grad, value_fn=loss)
            x = optax.apply_updates(x, updates)
        assert x.tolist() == pytest.approx(owner.rate.tolist(), abs=1e-3)


@pytest.mark.parametrize("host_driven", [False, True])
def test_a_search_for_negative_curvature_sees_it(host_driven):
    owner = Config()
    owner.rate = -1.0

    def loss(x):
        return jnp.sum(jnp.array([owner.rate, 2.0]) * x**2) / 2

    for owner.rate in (-1.0, -3.0):
        value, *_ = optaxaccel.negative_curvature(loss, jnp.array([0.3, 0.4]), host_driven=host_driven)
        assert value == pytest.approx(owner.rate, rel=1e-4)


def test_adaptive_extrapolation_and_a_projection_see_it():
    owner = Config()
    history = [jnp.array([5.0 * 0.5**k]) for k in range(4)]

    def loss(x):
        return jnp.sum((x - owner.rate) ** 2)

    points = []
    for owner.rate in (-4.0, 3.5):
        points.append(optaxaccel.extrapolate_adaptive(history, loss))
        assert points[-1] == optaxaccel.extrapolate_adaptive(history, lambda x: loss(x))
    assert points[0] != points[1]


def test_what_keeps_points_in_their_domain_sees_it():
    owner = Config()

    def project(x):
        return owner.rate * x / jnp.sum(x)

    def valid(x):
        return jnp.all(x < owner.rate)

    def image(x):
        return 0.9 * x + 0.5

    for owner.rate in (1.0, 2.0):
        x = owner.rate * jnp.array([1.0, 0.0, 0.0])
        state = optaxaccel.anderson_init(x)
        for _ in range(2):
            mixed = 0.3 * owner.rate * jnp.array([0.5, 0.3, 0.2]) + 0.7 * x
            x, state = optaxaccel.anderson_update(mixed, x, state, project=project)
        assert jnp.sum(x) == pytest.approx(owner.rate, rel=1e-5)
    for owner.rate, rejects in ((10.0, False), (1.0, True)):
        assert bool(fixed_point(image, jnp.zeros(1), valid=valid).rejected) == rejects
