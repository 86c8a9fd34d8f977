"""Estimators of tables for Dask: frames and arrays whose rows lie on many machines.

The rows are divided at random into parts, by their bytes and the memory of workers, and a task
trains each part. Tasks are not bound to a worker: Dask repeats those of a worker that dies on
another one. The result is an ordinary estimator of tables.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from fastmlp._core.optional import require
from fastmlp.dask import tasks
from fastmlp.sklearn.bases import BaseEstimator, ClassifierMixin, RegressorMixin
from fastmlp.sklearn.parameters import store
from fastmlp.tabular import TabMLPClassifier, TabMLPRegressor, parts
from fastmlp.tabular.fit.reading import column_of
from fastmlp.tabular.table.columns import Array
from fastmlp.tabular.table.frames import is_frame

if TYPE_CHECKING:
    from distributed import Client


class _DaskTable(BaseEstimator):
    """The common part of both estimators."""

    _kind: ClassVar[Any]
    _local: Any  # the fitted estimator
    _example: Any  # a row of the fit

    def __init__(
        self, *, client: Client | None = None, parts: int | None = None, **parameters: Any
    ) -> None:
        of_local = self._kind(**parameters).get_params(deep=False)
        store(self, {**of_local, "client": client, "parts": parts})

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return sorted({*cls._kind._get_param_names(), "client", "parts"})

    @property
    def client_(self) -> Any:
        """The client of Dask: the parameter ``client``, else the current one."""
        return tasks.client_of(self.client)

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None, time: Any = None
    ) -> Self:
        """Train on a table that is divided into partitions.

        The rows are held in the memory of the workers during the fit. Empty partitions, and
        categories that only some of them have, are allowed. The report says how many parts there
        were; the result does not depend on the number of workers.

        Parameters
        ----------
        X : dask.dataframe.DataFrame or dask.array.Array, shape (n_samples, n_features)
            Columns as for ``fit`` of the estimator for one machine.
        y : dask.dataframe.Series or DataFrame, or dask.array.Array
            Targets, with as many rows in each partition as X.
        sample_weight : dask.dataframe.Series or dask.array.Array, shape (n_samples,), optional
            Weights of the rows.
        groups : str, dask.dataframe.Series or dask.array.Array, shape (n_samples,), optional
            Group of each row, for example a patient, or the name of the column of X that has them,
            which stays an input. Rows of a group, of all partitions, are in one
            part, and are held out together there; prediction intervals hold for new groups.
        time : str, dask.dataframe.Series or dask.array.Array, shape (n_samples,), optional
            Time of each row, or the name of the column of X that has it: in each part, folds go
            forward in time as on one machine.

        Returns
        -------
        estimator
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid; the estimator is unchanged then.
        distributed.scheduler.KilledWorker
            If workers died more often than Dask's option ``distributed.scheduler.allowed-failures``
            allows: for example because a part does not fit into the memory of a worker; a note
            names the number of parts.
        """
        parameters = self.get_params(deep=False)
        parameters.pop("client"), parameters.pop("parts")
        local = self._kind(**parameters)
        local._validate_params()
        if hasattr(self.folds, "split"):
            raise ValueError(
                "folds is a splitter but a fit by Dask divides the rows at random: pass a number, "
                "or groups or time to fit"
            )
        of_rows = {"X": X, "y": y, "sample_weight": sample_weight}
        of_rows["groups"] = column_of(X, groups, "groups")
        of_rows["time"] = column_of(X, time, "time")
        with tasks.aside():
            self._local, self._example = self._trained(local, of_rows)
        return self

    def _trained(self, local: Any, of_rows: dict[str, Any]) -> tuple[Any, Any]:
        """Return the fitted estimator, and one row of the user's."""
        began, client = time.perf_counter(), self.client_
        delayed = require("fastmlp.dask", "dask").delayed
        partitions = tasks.blocks(of_rows)
        random = check_random_state(local.random_state)
        seeds = random.randint(2**31 - 1, size=len(partitions)).tolist()
        with tasks.computing(client) as compute:
            blocks = compute(
                [delayed(tasks.rows_of)(k, **block) for k, block in enumerate(partitions)]
            )
            max_rows = max(1, parts.MAX_SAMPLED_ROWS // len(blocks))
            counted = [
                delayed(parts.summary)(local, block, seed, max_rows)
                for block, seed in zip(blocks, seeds, strict=True)
            ]
            with tasks.explained("divide X into more partitions"):
                summaries = client.gather(compute(counted))
            plan, memory = parts.Plan.of(local, summaries, _joined), tasks.least_memory(client)
            count = plan.n_parts(self.parts, memory)
            numbers = parts.part_of_group(plan.groups, plan.common, count, seeds[0])
            of_group, of_all = (delayed(value, traverse=False) for value in (numbers, plan))
            pieces = [
                delayed(parts.divided, nout=count)(
                    block,
                    [place for at, place in plan.shared if at == k],
                    seeds[k],
                    count,
                    of_group,
                )
                for k, block in enumerate(blocks)
            ]
            max_rows = max(1, parts.MAX_SAMPLED_ROWS // count)
            seeds = random.randint(2**31 - 1, size=count).tolist()
            fits = [
                delayed(parts.trained)(local, of_all, piece, seed, max_rows, _joined)
                for piece, seed in zip(zip(*pieces, strict=True), seeds, strict=True)
            ]
            predictions = [delayed(parts.predicted)(fits, k) for k in range(count)]
            futures = compute(fits + predictions)
            for block in blocks:  # free it once it is divided
                block.release()
            with tasks.explained(f"pass parts={2 * count}, for there were {count} parts"):
                results = client.gather(futures)
        seconds = time.perf_counter() - began
        why = ", as parts= says"
        if self.parts is None:
            why = f", by the memory of the smallest worker, {memory / 1e6:,.0f} MB"
        fitted = parts.merged(local, plan, results[:count], results[count:], seconds, why)
        return fitted, plan.example

    def to_local(self) -> Any:
        """Return the fitted estimator for one machine, with all its methods and files.

        Its ``oof_prediction_``, ``importance()`` and calibration are of a random sample of at most
        50,000 rows.

        Returns
        -------
        TabMLPClassifier or TabMLPRegressor
            Shares the networks with this estimator.
        """
        if "_local" not in vars(self):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet: call fit first")
        return self._local.with_fitted()

    def _by_blocks(self, method: str, X: Any, *arguments: Any) -> Any:
        """Return a Dask array of a method's results, or the result for a table in memory."""
        local = self.to_local()
        if not hasattr(X, "to_delayed"):
            return getattr(local, method)(X, *arguments)
        dask = require("fastmlp.dask", "dask")
        da = require("fastmlp.dask", "dask.array")
        meta = getattr(local, method)(self._example, *arguments)[:0]
        model = dask.delayed(local)
        rows = [np.nan] * X.npartitions if is_frame(X) else X.chunks[0]
        return da.concatenate(
            [
                da.from_delayed(
                    dask.delayed(_called)(model, method, meta, block["X"], *arguments),
                    (n, *meta.shape[1:]),
                    meta.dtype,
                )
                for n, block in zip(rows, tasks.blocks({"X": X}), strict=True)
            ],
            allow_unknown_chunksizes=True,
        )

    def predict(self, X: Any) -> Any:
        """Predict labels or numbers.

        Parameters
        ----------
        X : Dask frame or array, or table in memory, shape (n_samples, n_features)
            Rows, with the columns of the fit.

        Returns
        -------
        dask.array.Array or array, shape (n_samples,) or (n_samples, n_outputs)
            Predictions as of the estimator for one machine; a Dask array, computed partition by
            partition when it is needed, if X is of Dask.
        """
        return self._by_blocks("predict", X)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_") and not name.startswith("_") and "_local" in vars(self):
            return getattr(self._local, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "client": None}  # which belongs to this process

    def __sklearn_is_fitted__(self) -> bool:
        return "_local" in vars(self)


class DaskTabMLPClassifier(ClassifierMixin, _DaskTable):
    """`TabMLPClassifier` for a table that lies on a cluster of Dask, in parts on many machines.

    Parameters
    ----------
    client : dask.distributed.Client, optional
        By default the current client. Copies and pickles do not have it.
    parts : int, optional
        Number of random parts of the rows, at least 1; each is trained by a task, and all predict
        together. By default parts have at most 256 MiB, and at most an eighth of the memory limit
        of the smallest worker, rounded down to a power of two, and at least 1,000 rows. Memory and
        time of a prediction grow with the number of parts, and more workers than that are idle.
    **parameters
        Parameters of ``fastmlp.TabMLPClassifier``; ``time_limit`` and ``max_memory`` hold for
        each part.

    Attributes
    ----------
    client_ : dask.distributed.Client
        The client that is used.
    classes_, temperature_, n_features_in_, n_outputs_
        As of ``fastmlp.TabMLPClassifier``.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from dask.distributed import Client  # doctest: +SKIP
    >>> from fastmlp.dask import DaskTabMLPClassifier
    >>> client = Client(n_workers=2, threads_per_worker=1)  # doctest: +SKIP
    >>> X = da.random.default_rng(0).normal(size=(4000, 2), chunks=(1000, 2))  # doctest: +SKIP
    >>> model = DaskTabMLPClassifier(preset="fast", random_state=0)
    >>> model = model.fit(X, X[:, 0] * X[:, 1] > 0)  # doctest: +SKIP
    >>> model.predict_proba(X).compute().shape  # doctest: +SKIP
    (4000, 2)
    """

    _kind = TabMLPClassifier

    def predict_proba(self, X: Any) -> Any:
        """Predict calibrated probabilities.

        Parameters
        ----------
        X : Dask frame or array, or table in memory, shape (n_samples, n_features)
            Rows, with the columns of the fit.

        Returns
        -------
        dask.array.Array or array of float64, shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``.
        """
        return self._by_blocks("predict_proba", X)


class DaskTabMLPRegressor(RegressorMixin, _DaskTable):
    """`TabMLPRegressor` for a table that lies on a cluster of Dask, in parts on many machines.

    Parameters
    ----------
    client : dask.distributed.Client, optional
        By default the current client. Copies and pickles do not have it.
    parts : int, optional
        As for :class:`DaskTabMLPClassifier`.
    **parameters
        Parameters of ``fastmlp.TabMLPRegressor``; ``time_limit`` and ``max_memory`` hold for
        each part.

    Attributes
    ----------
    client_ : dask.distributed.Client
        The client that is used.
    n_features_in_, n_outputs_
        As of ``fastmlp.TabMLPRegressor``.

    Examples
    --------
    See :class:`DaskTabMLPClassifier`.
    """

    _kind = TabMLPRegressor

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Any:
        """Predict intervals that contain the target with a given probability.

        Parameters
        ----------
        X : Dask frame or array, or table in memory, shape (n_samples, n_features)
            Rows, with the columns of the fit.
        coverage : float in (0, 1)
            As for ``TabMLPRegressor.predict_interval``.

        Returns
        -------
        dask.array.Array or array of float64, shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper ends.
        """
        return self._by_blocks("predict_interval", X, coverage)


def _joined(frames: Sequence[Any]) -> Any:
    """Concatenate frames, whose categories may differ."""
    return require("fastmlp.dask", "dask.dataframe.dispatch").concat(frames)


def _called(local: Any, method: str, empty: Array, X: Any, *arguments: Any) -> Array:
    return np.asarray(getattr(local, method)(X, *arguments)) if len(X) else empty
