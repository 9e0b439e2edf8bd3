r"""Finders of negative curvature: directions along which the loss curves downwards.

A finder looks for the lowest eigenvalue of the Hessian and its vector, without ever forming the Hessian. `lanczos`
needs the fewest products with it, `shifted_power` is the iteration of the published code, `neon2` uses gradients only.
`negative_curvature` runs a finder by itself; `negative_curvature_descent`, `gose` and `ancm` run one inside an update.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from optaxaccel.methods import contract
from optaxaccel.numerics import eigenpairs, hessians
from optaxaccel.numerics import lanczos as krylov
from optaxaccel.numerics.closures import reading
from optaxaccel.numerics.eigenpairs import EigenPair

__all__ = ["Finder", "lanczos", "negative_curvature", "neon2", "shifted_power"]


class Finder(NamedTuple):
    """A way to find negative curvature.

    Attributes:
      name: the call that makes it.
      find: `find(value_fn, params, key, *, host_driven=False, **data)` returns the eigenvalue estimate, the unit vector
        (in float32 or better, a tree like `params`) and the residual norm, as an `EigenPair`. `data` are further
        arguments of `value_fn`. It can be called inside a compiled program; `host_driven=True`, outside of one, runs
        the iteration as a Python loop over compiled products.
      cost: oracle calls of one search.
    """

    name: str
    find: Callable[..., EigenPair]
    cost: contract.Cost

    def __repr__(self) -> str:
        return self.name


def lanczos(num_steps: int = 16) -> Finder:
    r"""Find the lowest eigenvalue of the Hessian by the Lanczos iteration.

    Example:
      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> saddle = lambda p: 0.5 * p["x"]**2 - 0.5 * p["y"]**2
      >>> origin = {"x": jnp.zeros(()), "y": jnp.zeros(())}
      >>> lowest = optaxaccel.lanczos().find(saddle, origin, jax.random.key(0))
      >>> round(float(lowest.eigenvalue), 5), round(abs(float(lowest.vector["y"])), 5)
      (-1.0, 1.0)

    The best vector that combinations of :math:`v, Hv, H^2v, \ldots` from a random start v hold. Every vector is
    orthogonalised twice against all before it, so that rounding makes no copies of eigenvalues:

    .. math::

        \beta_j q_{j+1} = (I - Q_j Q_j^T)\, H q_j, \qquad T = Q^T H Q, \qquad
        T s = \theta s \text{ with the lowest } \theta, \qquad v = Q s

    with `num_steps` columns in Q. The residual :math:`\lVert Hv - \theta v \rVert = \beta_m |s_m|` costs nothing. Where
    the space ends early (:math:`\beta_j = 0`), T is continued above its spectrum, so that its empty rows are no
    eigenvalues.

    Args:
      num_steps: products with the Hessian, an integer >= 1; the dimension is enough for an exact answer. On spectra
        of 68,000 eigenvalues, the lowest -1 and the highest 5, 7 to 10 come within 10 %; the default leaves room.

    Returns:
      A `Finder`.

    References:
      Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950. Golub and Van Loan, "Matrix
      Computations", 4th edition, section 10.3.

    Costs:
      `num_steps` products with the Hessian, forward over reverse, each about two gradients. While it runs,
      `num_steps` vectors as large as the parameters; in a compiled program also the intermediate values of a gradient.

    Deviations:
      The papers on GOSE and ANCM ask for any approximate leading eigenvector; they use power iterations.
    """
    contract.check_count("num_steps", num_steps, "it is the number of products with the Hessian")

    def find(value_fn, params, key, *, host_driven=False, **data) -> EigenPair:
        product = hessians.hessian_product(value_fn, params, data, host_driven=host_driven)
        start = eigenpairs.random_unit(key, params)
        return krylov.lanczos(product, start, num_steps, host_driven=host_driven)

    return Finder(f"lanczos(num_steps={num_steps})", find, contract.Cost(hvps=num_steps))


def shifted_power(epochs: int = 2, *, inner: int = 8, shift: float = 5.0, rate: float = 0.5) -> Finder:
    r"""Find the lowest eigenvalue of the Hessian by power iterations on a shifted Hessian, as the published code does.

    Example:
      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> saddle = lambda p: 0.5 * p["x"]**2 - 0.5 * p["y"]**2
      >>> origin = {"x": jnp.zeros(()), "y": jnp.zeros(())}
      >>> lowest = optaxaccel.shifted_power(epochs=8, inner=16).find(saddle, origin, jax.random.key(0))
      >>> round(float(lowest.eigenvalue), 5), round(abs(float(lowest.vector["y"])), 5)
      (-1.0, 1.0)

    .. math::

        v \leftarrow \frac{(1 + r)\, v - (r/s)\, H v}{\lVert (1 + r)\, v - (r/s)\, H v \rVert}, \qquad
        \lambda = v^T H v

    with r = `rate` and s = `shift`, `epochs` times `inner` times. It needs 60 to 110 products where `lanczos` needs 7
    to 10; the 16 of the default find nothing in high dimension.

    Args:
      epochs: outer loops, an integer >= 1. The published code has 8.
      inner: iterations of each, an integer >= 1. The published code has 16.
      shift: an upper limit of the eigenvalues, > 0.
      rate: step of the iteration, > 0.

    Returns:
      A `Finder`.

    References:
      The code of Xiao, "Accelerated optimization methods on convolutional neural networks", 2019, which takes it from
      the code of Yu, Zou and Gu, "Saving gradient and negative curvature computations", 2017.

    Costs:
      `epochs` x `inner` + 1 products with the Hessian, each about two gradients. One vector as large as the parameters.

    Deviations:
      * The loss is one and the same in all iterations. The published code draws minibatches and corrects their noise
        with a reference product once an epoch; without noise that correction is zero and the epochs make one loop.
      * The estimate is the Rayleigh quotient of the final vector, where the code reports a mean over its last loop.
    """
    contract.check_count("epochs", epochs, "it multiplies the number of iterations")
    contract.check_count("inner", inner, "it multiplies the number of iterations")
    contract.check_number(
        "shift", shift, "it must exceed the highest eigenvalue", above=0.0, fixed="a finder knows no steps of training"
    )
    contract.check_number(
        "rate", rate, "it is the step of the iteration", above=0.0, fixed="a finder knows no steps of training"
    )
    step = rate / (shift * (1.0 + rate))  # normalising makes it v - step H v

    def find(value_fn, params, key, *, host_driven=False, **data) -> EigenPair:
        product = hessians.hessian_product(value_fn, params, data, host_driven=host_driven)
        start = eigenpairs.random_unit(key, params)
        return eigenpairs.power(product, start, epochs * inner, step, host_driven=host_driven)

    name = f"shifted_power(epochs={epochs}, inner={inner}, shift={shift}, rate={rate})"
    return Finder(name, find, contract.Cost(hvps=epochs * inner + 1))


def neon2(num_steps: int = 64, *, radius: float = 1e-3, rate: float = 0.1) -> Finder:
    r"""Find the lowest eigenvalue of the Hessian from gradients at a small distance (Neon2).

    Example:
      >>> import jax, jax.numpy as jnp, optaxaccel
      >>> saddle = lambda p: 0.5 * p["x"]**2 - 0.5 * p["y"]**2
      >>> origin = {"x": jnp.zeros(()), "y": jnp.zeros(())}
      >>> lowest = optaxaccel.neon2().find(saddle, origin, jax.random.key(0))
      >>> round(float(lowest.eigenvalue), 4), round(abs(float(lowest.vector["y"])), 4)
      (-1.0, 1.0)

    Gradient descent from a point near a saddle runs away along the lowest curvature. The displacement d is kept small,
    so that the difference of gradients stays a product with the Hessian:

    .. math::

        d \leftarrow d - \eta\, (\nabla f(x + d) - \nabla f(x)), \qquad
        d \leftarrow \rho\, d / \lVert d \rVert, \qquad v = d/\rho

    with :math:`\eta` = `rate` and :math:`\rho` = `radius`; the eigenvalue is
    :math:`v^T (\nabla f(x + \rho v) - \nabla f(x))/\rho`.

    Args:
      num_steps: iterations, an integer >= 1.
      radius: length of the displacement, > 0. The estimate is wrong by about radius times the change of the Hessian,
        and by the rounding of the gradients divided by the radius.
      rate: step, > 0; under 2/L for the highest curvature L, best near 1/L.

    Returns:
      A `Finder`.

    References:
      Allen-Zhu and Li, "Neon2: Finding local minima via first-order oracles", 2018, the online algorithm.

    Costs:
      `num_steps` + 2 gradients and no product with the Hessian: the choice where forward-mode derivatives are missing.
      Two vectors as large as the parameters.

    Deviations:
      * The displacement is rescaled to `radius` in each step; the paper starts far smaller and stops when it has grown
        to the radius.
      * All gradients are of the same loss, and the last iterate is taken, where the paper draws a sample for each pair
        of gradients and returns a random iterate, repeating for confidence.
    """
    contract.check_count("num_steps", num_steps, "it is the number of gradients")
    contract.check_number(
        "radius", radius, "it is the length of the displacement", above=0.0, fixed="a finder knows no steps of training"
    )
    contract.check_number(
        "rate", rate, "it is the step of the iteration", above=0.0, fixed="a finder knows no steps of training"
    )

    def find(value_fn, params, key, *, host_driven=False, **data) -> EigenPair:
        product = hessians.difference_product(value_fn, params, radius, data, host_driven=host_driven)
        start = eigenpairs.random_unit(key, params)
        return eigenpairs.power(product, start, num_steps, rate, host_driven=host_driven)

    name = f"neon2(num_steps={num_steps}, radius={radius}, rate={rate})"
    return Finder(name, find, contract.Cost(grads=num_steps + 2))


FINDERS: Mapping[str, Callable[[], Finder]] = {"lanczos": lanczos, "shifted_power": shifted_power, "neon2": neon2}


def as_finder(finder: Finder | str) -> Finder:
    """Return the finder of that name, with its defaults; a `Finder` is returned as it is."""
    if isinstance(finder, Finder):
        return finder
    if isinstance(finder, str):
        contract.check_choice("finder", finder, tuple(FINDERS))
        return FINDERS[finder]()
    raise ValueError(
        f"finder={finder!r} is not a Finder: it searches for directions of negative curvature. "
        "Pass finder=optaxaccel.lanczos() or a name: 'lanczos', 'shifted_power', 'neon2'."
    )


def negative_curvature(
    value_fn: contract.ValueFn,
    params: optax.Params,
    key: jax.Array | None = None,
    *,
    finder: Finder | str = lanczos(),
    host_driven: bool = False,
    **data: Any,
) -> EigenPair:
    r"""Return the lowest curvature of a loss that a finder finds, and its direction.

    Example:
      >>> import jax.numpy as jnp, optaxaccel
      >>> lowest = optaxaccel.negative_curvature(lambda p: p[0] * p[1], jnp.zeros(2))
      >>> round(float(lowest.eigenvalue), 5), [round(abs(float(v)), 3) for v in lowest.vector]
      (-1.0, [0.707, 0.707])

    Args:
      value_fn: the loss, `value_fn(params, **data)`. It is compiled once: give the same function again, with other
        data, to reuse the program.
      params: where to look.
      key: random key of the finder's start, `jax.random.key(0)` by default.
      finder: `lanczos()`, `shifted_power()` or `neon2()`, or a name.
      host_driven: run the finder's iterations as a Python loop over compiled products. On CPU this is the fast way for
        convolutions whose kernel gradient XLA derives (as in `flax.linen.Conv`): they are 30 times slower inside a
        compiled loop.
      **data: further arguments of `value_fn`, as arrays.

    Returns:
      `(eigenvalue, vector, residual)`: the curvature :math:`v^T H v`, the unit vector v as a tree like `params`, and
      :math:`\lVert H v - \lambda v \rVert`.

    Costs:
      One search of the finder: see its `cost`.
    """
    find = as_finder(finder).find
    key = jax.random.key(0) if key is None else key
    if host_driven:
        return find(reading(value_fn), params, key, host_driven=True, **data)
    return _find_on_device(find, reading(value_fn), params, key, data)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _find_on_device(find, value_fn, params, key, data) -> EigenPair:
    return find(value_fn, params, key, **data)
