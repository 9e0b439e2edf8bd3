"""The convolution and the max-pool of the zoo against lax, in values and in every kind of derivative."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from optaxaccel.models import convolution
from optaxaccel.models.convolution import Geometry, avg_pool, conv, max_pool

# (image size, input channels, kernel size, output channels, geometry): all that the zoo uses, and groups and dilation
CASES = {
    "cnn-5x5": (7, 3, 5, 4, Geometry()),
    "3x3": (6, 2, 3, 4, Geometry()),
    "1x1": (4, 3, 1, 2, Geometry()),
    "resnet-1x1-stride-2": (6, 3, 1, 2, Geometry(stride=2, padding=0)),
    "resnet-3x3-stride-2": (6, 2, 3, 3, Geometry(stride=2, padding=1)),
    "resnet-3x3-stride-2-odd": (7, 2, 3, 3, Geometry(stride=2, padding=1)),
    "resnet-7x7-stride-2": (9, 3, 7, 2, Geometry(stride=2, padding=3)),
    "alexnet-11x11-stride-4": (16, 3, 11, 2, Geometry(stride=4, padding=2)),
    "same-stride-2": (6, 2, 3, 3, Geometry(stride=2)),
    "valid": (6, 2, 3, 3, Geometry(padding="VALID")),
    "dilation": (8, 2, 3, 3, Geometry(dilation=2)),
    "groups": (5, 4, 3, 6, Geometry(groups=2)),
    "groups-stride-dilation": (9, 4, 3, 8, Geometry(stride=2, padding=2, dilation=2, groups=4)),
}
POOLS = {
    "2-2": (6, 2, 2, ((0, 0), (0, 0))),
    "2-2-odd": (7, 2, 2, ((0, 0), (0, 0))),
    "3-2": (7, 3, 2, ((0, 0), (0, 0))),
    "3-2-resnet": (6, 3, 2, ((1, 1), (1, 1))),
    "3-2-nin": (8, 3, 2, ((0, 1), (0, 1))),
    "2-1": (4, 2, 1, ((0, 0), (0, 0))),
}


def lax_conv(x, kernel, geometry):
    padding = geometry.padding
    return lax.conv_general_dilated(
        x,
        kernel,
        (geometry.stride,) * 2,
        padding if isinstance(padding, str) else [(padding, padding)] * 2,
        rhs_dilation=(geometry.dilation,) * 2,
        feature_group_count=geometry.groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def lax_max_pool(x, size, stride, padding):
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, ((0, 0), *padding, (0, 0)))


def arguments(case):
    size, channels, kernel, features, geometry = CASES[case]
    rng = np.random.default_rng(0)
    x = jnp.array(rng.normal(size=(3, size, size, channels)))
    return x, jnp.array(rng.normal(size=(kernel, kernel, channels // geometry.groups, features))), geometry


def derivatives(f, args):
    """Return value, gradient and forward-over-reverse Hessian-vector product of a nonlinear loss of f."""
    gradient = jax.grad(lambda *args: jnp.sum(jnp.sin(f(*args))), tuple(range(len(args))))
    return f(*args), *jax.jvp(gradient, args, tuple(map(jnp.cos, args)))


def other_ways(f, args):
    """Return the same three, by forward mode, reverse over reverse and under vmap, all from another direction."""
    every = tuple(range(len(args)))
    loss = lambda *args: jnp.sum(jnp.sin(f(*args)))  # noqa: E731
    along = tuple(map(jnp.cos, args))
    slope = jax.jvp(loss, args, along)[1]
    product = jax.grad(lambda *a: sum(map(jnp.vdot, jax.grad(loss, every)(*a), along)), every)(*args)
    return slope, jax.vmap(jax.grad(loss, every))(*(jnp.stack([a, 2 * a]) for a in args)), product


def assert_equal(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_convolution_and_its_derivatives_are_those_of_lax(case):
    with jax.enable_x64(True):
        x, kernel, geometry = arguments(case)
        ours = lambda x, k: conv(x, k, geometry)  # noqa: E731
        theirs = lambda x, k: lax_conv(x, k, geometry)  # noqa: E731
        assert_equal(*jax.jit(lambda *args: [derivatives(f, args) for f in (ours, theirs)])(x, kernel))


@pytest.mark.parametrize("case", ["resnet-3x3-stride-2", "groups"])
def test_other_ways_to_differentiate_a_convolution_agree(case):
    with jax.enable_x64(True):
        x, kernel, geometry = arguments(case)
        ways = jax.jit(lambda args: [f(lambda x, k: conv(x, k, geometry), args) for f in (derivatives, other_ways)])
        (_, gradient, product), (slope, stacked, other_product) = ways((x, kernel))
        assert_equal(slope, sum(jnp.vdot(g, jnp.cos(a)) for g, a in zip(gradient, (x, kernel), strict=True)))
        assert_equal([g[0] for g in stacked], list(gradient))
        assert_equal(other_product, product)
        alone = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(conv(x, kernel, geometry)))))(x)
        assert_equal(alone, gradient[0])


@pytest.mark.parametrize("case", CASES)
def test_float32_derivatives_are_those_of_lax_to_1e_6(case):
    """Of the largest entry; lax itself is off by up to 5e-6 here from what it gives in float64."""
    x, kernel, geometry = (a.astype(jnp.float32) if isinstance(a, jax.Array) else a for a in arguments(case))
    ours, theirs = (
        jax.jit(functools.partial(derivatives, functools.partial(f, geometry=geometry)))((x, kernel))
        for f in (conv, lax_conv)
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("case", ["3x3", "resnet-7x7-stride-2", "groups-stride-dilation"])
def test_kernel_gradient_in_parts_is_that_of_lax(case, monkeypatch):
    monkeypatch.setattr(convolution, "PART_SIZE", 2)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    with jax.enable_x64(True):
        x, kernel, geometry = arguments(case)
        x = jnp.concatenate([x, 2 * x])
        assert convolution._parts(conv(x, kernel, geometry).shape) == 6
        ours = lambda x, k: conv(x, k, geometry)  # noqa: E731
        theirs = lambda x, k: lax_conv(x, k, geometry)  # noqa: E731
        assert_equal(*jax.jit(lambda *args: [derivatives(f, args) for f in (ours, theirs)])(x, kernel))


def test_parts_of_the_batch_are_shared_evenly_by_the_devices(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert convolution._parts((128, 32, 32, 16)) == 8
    assert convolution._parts((128, 16, 16, 16)) == 8
    assert convolution._parts((128, 8, 8, 16)) == 2
    assert convolution._parts((100, 32, 32, 16)) == 5
    assert convolution._parts((64, 8, 8, 16)) == 1
    assert convolution._parts((3, 224, 224, 16)) == 1


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("case", POOLS)
def test_max_pool_and_its_derivatives_are_those_of_lax(case, ties):
    size, *window = POOLS[case]
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(2, size, size, 3))
        x = jnp.array(np.round(x) if ties else x)  # rounded: several equal maxima in nearly every window
        ours = lambda x: max_pool(x, *window)  # noqa: E731
        theirs = lambda x: lax_max_pool(x, *window)  # noqa: E731
        assert_equal(*jax.jit(lambda x: [derivatives(f, (x,)) for f in (ours, theirs)])(x))


@pytest.mark.parametrize("case", ["2-2", "3-2-resnet"])
def test_other_ways_to_differentiate_a_max_pool_agree(case):
    size, *window = POOLS[case]
    with jax.enable_x64(True):
        x = jnp.round(jax.random.normal(jax.random.key(0), (2, size, size, 3)))
        ways = jax.jit(lambda x: [f(lambda x: max_pool(x, *window), (x,)) for f in (derivatives, other_ways)])
        (_, (gradient,), (product,)), (slope, (stacked,), (other_product,)) = ways(x)
        assert_equal(slope, jnp.vdot(gradient, jnp.cos(x)))
        assert_equal(stacked[0], gradient)
        # lax itself fails here: at ties its reverse over reverse takes other entries than its gradient
        assert_equal(other_product, product)


def test_tied_maxima_get_the_gradient_once():
    gradient = jax.grad(lambda x: max_pool(x, 2, 2).sum())(jnp.zeros((1, 4, 4, 1)))
    np.testing.assert_array_equal(gradient[0, :2, :2, 0], [[1, 0], [0, 0]])
    assert gradient.sum() == 4


@pytest.mark.parametrize("stride", [17, 8])
def test_a_window_of_more_places_than_a_byte_counts(stride):
    """289 places: the last of them is where a byte would have gone round to the 33rd."""
    x = jnp.zeros((1, 17, 17, 1)).at[0, 16, 16, 0].set(1.0)
    got = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, 17, stride))))(x)  # place by place it takes ten times as long
    np.testing.assert_array_equal(got, x)


EXPLICIT = {
    "conv": lambda x, k: conv(x, k, Geometry()),
    "steps": lambda x, k: conv(x, k, Geometry(stride=2)),
    "groups": lambda x, k: conv(x, k[:, :, :1], Geometry(groups=2)),
    "1x1": lambda x, k: conv(x, k[:1, :1], Geometry()),
    "max_pool": lambda x, k: max_pool(x, 2, 2),
    "overlapping": lambda x, k: max_pool(x, 3, 2, ((1, 1), (1, 1))),
    "avg_pool": lambda x, k: avg_pool(x, 2),
}


@pytest.mark.parametrize("layer", EXPLICIT)
def test_gradients_on_an_explicit_mesh_are_those_of_one_device(layer):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 6, 6, 2)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 2, 4)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x, k: jnp.sum(EXPLICIT[layer](x, k) ** 2), argnums=(0, 1)))
    want = gradient(x, kernel)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        got = gradient(jax.device_put(x, jax.P("data")), jax.device_put(kernel, jax.P()))
    assert jax.typeof(got[0]).sharding.spec[0] == "data"
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_avg_pool_is_the_mean():
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    np.testing.assert_allclose(avg_pool(x, 2)[0, :, :, 0], [[3, 5], [13, 15]])


def convolutions(jaxpr):
    """Return the dimension numbers of all convolutions in a jaxpr, also inside control flow."""
    layouts = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            layouts.append(equation.params["dimension_numbers"])
        for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(leaf, "eqns"):
                layouts += convolutions(leaf)
    return layouts


FAST = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC x HWIO -> NHWC, as lax counts


@pytest.mark.parametrize("derivative", ["gradient", "Hessian-vector product"])
@pytest.mark.parametrize("flow", ["straight", "cond", "scan"])
def test_backward_convolutions_are_written_in_the_fast_order(derivative, flow):
    x, kernel, geometry = arguments("3x3")
    gradient = jax.grad(lambda k, x: jnp.sum(conv(x, k, geometry) ** 2), (0, 1))
    product = lambda k, x: jax.jvp(gradient, (k, x), (k, x))[1]  # noqa: E731
    compute = gradient if derivative == "gradient" else product
    program = {
        "straight": compute,
        "cond": lambda k, x: lax.cond(x[0, 0, 0, 0] > 0, compute, lambda k, x: (k, x), k, x),
        "scan": lambda k, x: lax.scan(lambda c, _: (compute(*c), None), (k, x), length=2)[0],
    }[flow]
    layouts = convolutions(jax.make_jaxpr(program)(kernel, x).jaxpr)
    assert len(layouts) >= 3
    assert {tuple(map(tuple, numbers)) for numbers in layouts} == {FAST}


def test_off_cpu_the_convolution_is_plain_lax(monkeypatch):
    x, kernel, geometry = arguments("3x3")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for f in (lambda x: conv(x, kernel, geometry), lambda x: max_pool(x, 2, 2)):
        names = {equation.primitive.name for equation in jax.make_jaxpr(f)(x).jaxpr.eqns}
        assert names <= {"conv_general_dilated", "reduce_window_max"}
