"""Derivatives of predictions: an engine differentiates outputs before the link, here it is added.

The engines are frozen (`protocol.Engine.frozen`); x are checked rows. An identity costs nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp._engine.thread_count import call_team
from fastmlp._network.activations import Array

if TYPE_CHECKING:
    from fastmlp._engine.protocol import Engine
    from fastmlp._network.exported import Exported, Labels


def differentiate(
    engine: Engine, x: Array, v: Array | None, p: Array | None = None, q: Array | None = None
) -> Array:
    """Call `Engine.differentiate` with as many threads as pay."""
    with call_team(engine.spec.n_weights, len(x)) as team:
        return engine.differentiate(x, v, p, q, team)


def product(engine: Engine, x: Array, a: Array, is_tangent: bool = False) -> Array:
    """Return the derivatives of the link at x times a: tangents forward, or gradients back."""
    loss = engine.spec.loss
    if not loss.is_linked:
        return a
    times = loss.link_row.tangent if is_tangent else loss.link_row.product
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(times(engine.predict(x), a))


def hessian_product(engine: Engine, x: Array, v: Array, dy: Array) -> Array:
    """Return the second derivatives of sum(dy * predictions) times v."""
    loss, q = engine.spec.loss, None
    if loss.is_linked:
        prediction, s = engine.predict(x), differentiate(engine, x, v)
        with np.errstate(all="ignore"):
            q = np.ascontiguousarray(loss.link_row.bend(prediction, dy, s))
            dy = np.ascontiguousarray(loss.link_row.product(prediction, dy))
    return differentiate(engine, x, v, dy, q)


def derivatives(engine: Engine, x: Array) -> tuple[Array, Array, Array]:
    """Return predictions (n, C), jacobians (n, C, I) and hessians (n, C, I, I)."""
    with call_team(engine.spec.n_weights, x.shape[1] * len(x)) as team:
        z, slopes, curvatures = engine.derivatives(x, team)
    if not engine.spec.loss.is_linked:
        return z, slopes, curvatures
    with np.errstate(all="ignore"):
        return _linked(engine.spec.loss, engine.predict(x), slopes, curvatures)


def exported(engine: Engine, labels: Labels | None = None) -> Exported:
    """Return the engine's network for exporters; without labels, classes are numbered from 0."""
    from fastmlp._export import layers  # few programs need it

    def differentiated(rows: Array, order: int) -> tuple[Array, ...]:
        frozen = engine.frozen()
        return derivatives(frozen, rows)[1:] if order == 2 else (frozen.jacobian(rows),)

    model = layers.exported(engine.spec, *engine.parameters(), labels=labels)
    return replace(model, derivatives=(differentiated,))


def _linked(loss: Any, y: Array, slopes: Array, curvatures: Array) -> tuple[Array, Array, Array]:
    """Add the link, given predictions y and the derivatives of the outputs before it."""
    jacobian, hessian = np.empty_like(slopes), np.empty_like(curvatures)
    for o in range(y.shape[1]):
        a = np.zeros_like(y)
        a[:, o] = 1
        p = loss.link_row.product(y, a)
        jacobian[:, o] = np.einsum("nc,nci->ni", p, slopes)
        hessian[:, o] = np.einsum("nc,ncij->nij", p, curvatures)
        for i in range(slopes.shape[2]):
            q = loss.link_row.bend(y, a, slopes[:, :, i])
            row = hessian[:, o, i, : i + 1]
            row += np.einsum("nc,ncj->nj", q, slopes[:, :, : i + 1])
            hessian[:, o, : i + 1, i] = row
    return y, jacobian, hessian
