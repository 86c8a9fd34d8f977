"""Derivatives of a network: the methods `jacobian`, `jvp`, `vjp`, `hvp`, `hessian`, `gradients`.

Arguments are checked here; `_engine/linked.py` and the engines compute.
docs/derivatives.md explains the conventions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._core.intervals import NON_NEGATIVE, check_count, check_flag
from fastmlp._engine import linked
from fastmlp._engine.thread_count import fit_team
from fastmlp._network.data import Data
from fastmlp._validation import check
from fastmlp._validation.compatibility import refusal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastmlp._models.network import Model, Network


def _points(network: Network, X: ArrayLike, empty: bool = True) -> tuple[NDArray[Any], bool]:
    """Return X as rows (n, fan-in), and whether it is a single sample (fan-in,)."""
    x = check.numeric(X, "X")
    rows = check.inputs(x[np.newaxis] if x.ndim == 1 else x, network.spec, empty=empty)
    return rows, x.ndim == 1


def _outputs_like(network: Network, x: NDArray[Any], value: ArrayLike, name: str) -> NDArray[Any]:
    """Return finite numbers of the shape of the outputs: one row for each row of x."""
    return check.like(value, (x.shape[0], network.spec.shapes[-1][1]), network.spec.dtype, name)


def _first_if(is_one: bool, result: NDArray[Any]) -> NDArray[Any]:
    """Return the result for all rows, or for the only one."""
    return result[0] if is_one else result


def jacobian(self: Model[Network], X: ArrayLike) -> NDArray[Any]:
    """Return the derivatives of the predictions with respect to the inputs.

    Parameters
    ----------
    X : array-like, shape (fan-in,) for one sample or (n, fan-in)
        Where to differentiate.

    Returns
    -------
    array of the model's dtype, shape (outputs, fan-in) or (n, outputs, fan-in)
        The link is included. With predicted variances the outputs are all means, then all
        variances. Repacks the weights in every call: for many calls use
        ``net.predictor().jacobian``.

    Raises
    ------
    TypeError, ValueError
        If X is invalid.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([3, 8, 2], rng=0)
    >>> net.jacobian(np.ones(3)).shape, net.jacobian(np.ones((5, 3))).shape
    ((2, 3), (5, 2, 3))
    """
    x, is_one = _points(self._network, X)
    return _first_if(is_one, self._network.engine.frozen().jacobian(x))


def jvp(self: Model[Network], X: ArrayLike, V: ArrayLike) -> NDArray[Any]:
    """Return the derivatives of the predictions in a direction of the inputs, jacobian times V.

    Parameters
    ----------
    X : array-like, shape (fan-in,) for one sample or (n, fan-in)
        Where to differentiate.
    V : array-like, shape of X
        The direction of each sample.

    Returns
    -------
    array of the model's dtype, shape (outputs,) or (n, outputs)
        As for :meth:`jacobian`, in the time of two predictions.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([3, 8, 2], activation="tanh", rng=0)
    >>> x, v = np.ones((5, 3)), np.full((5, 3), 0.1)
    >>> np.allclose(net.jvp(x, v), net.jacobian(x) @ v[0], atol=1e-6)
    True
    """
    x, is_one = _points(self._network, X)
    v = check.like(V, x.shape, self._network.spec.dtype, "V")
    engine = self._network.engine.frozen()
    s = linked.product(engine, x, linked.differentiate(engine, x, v), is_tangent=True)
    return _first_if(is_one, s)


def vjp(self: Model[Network], X: ArrayLike, dY: ArrayLike) -> tuple[Any, ...]:
    """Return the derivatives of ``sum(dY * predictions)`` by the inputs and by the parameters.

    With it, a network is a layer of another program that computes gradients; dY is what that
    program passes back.

    Parameters
    ----------
    X : array-like, shape (fan-in,) for one sample or (n, fan-in)
        Where to differentiate; at least one row.
    dY : array-like, shape of the predictions, (outputs,) or (n, outputs)
        Factors of the predictions. With predicted variances (n, 2 outputs): those of all means,
        then those of all variances.

    Returns
    -------
    dX : array of the model's dtype, shape of X
        The gradient of each sample by its inputs.
    weight_gradients, bias_gradients, ... : lists of arrays
        Gradients by the parameters, as in :meth:`gradients`, summed over the samples and not
        divided by their number; never rounded to bfloat16.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([3, 8, 2], activation="tanh", rng=0)
    >>> dX, weights, biases = net.vjp(np.ones((5, 3)), np.ones((5, 2)))
    >>> dX.shape, biases[1]
    ((5, 3), array([5., 5.], dtype=float32))
    """
    x, is_one = _points(self._network, X, empty=False)  # gradients of no rows have no meaning
    engine = self._network.engine.frozen()
    dz = linked.product(engine, x, _outputs_like(self._network, x, dY, "dY"))
    with fit_team(None, self._network.n_weights, len(x)) as team:
        _, *gradients = engine.gradients(Data(x, dz, is_gradient=True), team=team)
    dx = linked.differentiate(engine, x, None, None, dz)
    return _first_if(is_one, dx), *gradients


def hvp(self: Model[Network], X: ArrayLike, V: ArrayLike, dY: ArrayLike) -> NDArray[Any]:
    """Return second derivatives by the inputs times V: ``sum_o dY[o] H[o] V``, H the hessians.

    Parameters
    ----------
    X, V, dY
        As for :meth:`jvp` and :meth:`vjp`.

    Returns
    -------
    array of the model's dtype, shape of X
        The derivative of ``vjp(X, dY)[0]`` in the direction V, in the time of about four
        predictions, whatever the number of inputs.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or a custom activation has no ``curvature``.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([3, 8, 1], activation="tanh", dtype="float64", rng=0)
    >>> x, v = np.ones(3), np.array([1.0, 0.0, 0.0])
    >>> np.allclose(net.hvp(x, v, [1.0]), net.hessian(x)[0, :, 0])
    True
    """
    x, is_one = _points(self._network, X)
    v = check.like(V, x.shape, self._network.spec.dtype, "V")
    dy = _outputs_like(self._network, x, dY, "dY")
    return _first_if(is_one, linked.hessian_product(self._network.engine.frozen(), x, v, dy))


def hessian(self: Model[Network], X: ArrayLike) -> NDArray[Any]:
    """Return the second derivatives of the predictions with respect to the inputs.

    Parameters
    ----------
    X : array-like, shape (fan-in,) for one sample or (n, fan-in)
        Where to differentiate.

    Returns
    -------
    array of the model's dtype, shape (outputs, fan-in, fan-in) or (n, outputs, fan-in, fan-in)
        The link is included. Exactly symmetric in the last two axes. Takes the time of about
        ``2 * outputs * fan-in`` predictions: use :meth:`hvp` where products suffice, and for many
        calls ``net.predictor().derivatives``, which returns all of value, jacobian and hessian.

    Raises
    ------
    TypeError, ValueError
        If X is invalid, or a custom activation has no ``curvature``.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([3, 8, 2], activation="tanh", rng=0)
    >>> net.hessian(np.ones((5, 3))).shape
    (5, 2, 3, 3)
    """
    x, is_one = _points(self._network, X)
    return _first_if(is_one, linked.derivatives(self._network.engine.frozen(), x)[2])


def gradients(
    self: Model[Network],
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    l1: float = 0.0,
    per_sample: bool = False,
    batch_size: int | None = None,
    dy: ArrayLike | None = None,
    dy_weight: float = 1.0,
) -> Any:
    """Return objective and gradient of one batch, without dropout; the model is not changed.

    Parameters
    ----------
    X, y, sample_weight, l2, l1, dy, dy_weight
        As for :meth:`fit`; all rows are one batch.
    per_sample : bool
        Whether to return the loss of each sample and its gradient, in arrays whose first axis are
        the samples: n times the memory of the parameters. Computed by NumPy, without rounding to
        bfloat16; neither sample weights nor penalties nor ``dy`` are possible.
    batch_size : int, optional
        With ``per_sample``, return an iterator over the results of batches of so many samples, in
        order, all by the present parameters.

    Returns
    -------
    objective : float, or array of shape (n,)
        Loss and penalties.
    weight_gradients, bias_gradients, gain_gradients, shift_gradients : lists of arrays
        Derivatives of the objective, one array a layer, of the shapes of ``weights``,
        ``biases`` and so on; those of gains and shifts only with ``layer_norm``, then a list
        of scale gradients with ``scale``, one of alpha gradients with ``parametric``, and one
        of linear weights with ``linear_path``.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np, fastmlp
    >>> net = fastmlp.MLP([3, 8, 1], rng=0)
    >>> x, y = np.ones((5, 3)), np.arange(5.0)
    >>> losses, weights, biases = net.gradients(x, y, per_sample=True)
    >>> losses.shape, weights[0].shape
    ((5,), (5, 3, 8))
    >>> np.allclose(weights[0].mean(axis=0), net.gradients(x, y)[1][0])
    True
    """
    data = check.data(X, y, sample_weight, self._network.spec, dy, dy_weight)
    l2 = NON_NEGATIVE.check("l2", l2, example=1e-4)
    l1 = NON_NEGATIVE.check("l1", l1, example=1e-5)
    size = None if batch_size is None else check_count("batch_size", batch_size, example=64)
    if check_flag("per_sample", per_sample):
        if sample_weight is not None or l1 or l2 or dy is not None:
            raise refusal("per_sample", "sample_weight, l1, l2, dy")
        from fastmlp._engine.numpy import numpy_engine

        parameters = self._network.engine.parameters()

        def of_samples(samples: slice) -> tuple[Any, ...]:
            spec = self._network.spec
            return numpy_engine.sample_gradients(spec, parameters, data.part(samples))

        if size is None:
            return of_samples(slice(None))
        return map(of_samples, [slice(at, at + size) for at in range(0, data.rows, size)])
    if size is not None:
        raise ValueError(
            f"batch_size is {batch_size!r} but gradients of one batch are one result: pass "
            "per_sample=True, or leave batch_size out"
        )
    with fit_team(None, self._network.n_weights, data.x.shape[0]) as team:
        objective, *result = self._network.engine.gradients(data, l2, team, l1)
    return float(objective), *result


def gradient_data(
    network: Network,
    X: Any,
    y: Any,
    sample_weight: ArrayLike | None,
    dy: Any,
    gradient: Any,
    through_link: Any,
) -> Data:
    """Return the checked data of a pass with a gradient by the outputs in place of targets."""
    if gradient is None:
        raise ValueError(
            f"through_link is {through_link!r} but output_gradient is not given: pass the "
            "gradient by the predictions, or leave through_link out"
        )
    for name, value in {"y": y, "sample_weight": sample_weight, "dy": dy}.items():
        if value is not None:
            raise refusal("output_gradient", "y, sample_weight, dy", name=name)
    x = check.inputs(X, network.spec)
    dz = _outputs_like(network, x, gradient, "output_gradient")
    if check_flag("through_link", through_link):
        dz = linked.product(network.engine, x, dz)
    return Data(x, dz, is_gradient=True, flat_y=network.flat_y)
