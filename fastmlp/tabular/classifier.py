"""The classifier for tables: calibrated probabilities of classes or labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from sklearn.utils._param_validation import StrOptions

from fastmlp._core.keywords import with_argument_hints
from fastmlp._core.optional import axes
from fastmlp._network.names import PresetName
from fastmlp._training.callback_list import Callback
from fastmlp.sklearn.parameters import Classifier, ClassWeight, Scoring, Splitter, documented, store
from fastmlp.tabular.estimator import BaseTabMLP
from fastmlp.tabular.fit.reading import with_target
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.outcome.calibration import LabelCalibration
from fastmlp.tabular.outcome.targets import ClassTarget
from fastmlp.tabular.pictures import evidence_for, targets_of_fit
from fastmlp.tabular.table.columns import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from fastmlp._validation.arrays import TableLike

Prior: TypeAlias = Literal["weighted", "true"]


@with_argument_hints
@documented(BaseTabMLP)
class TabMLPClassifier(Classifier, BaseTabMLP):
    """Predict a class, such as yes or no, from a table as it is: words, dates, gaps, any scale.

    Take it for a data frame whose target is a class: nothing must be scaled, encoded or tuned, and
    probabilities are honest. It is a blend of multi-layer perceptrons.

    Columns may be numbers, booleans, text or categories, of any scale, with missing values. Members
    are trained together on folds; the epoch with the best out-of-fold score of their mean is kept.
    Out-of-fold probabilities determine the calibration temperature.

    Parameters
    ----------
    class_weight : dict, "balanced" or None, default=None
        Factor on the weights of the rows of each class. With several labels per row, "balanced"
        multiplies the factors of all labels.
    prior : {"weighted", "true"} or None, default=None
        The frequencies of classes that probabilities suppose, with ``class_weight``: the weighted
        ones, or the true ones: then the factors are divided out of the probabilities of every
        network by Bayes' rule, and all scores count rows without them. None is "weighted", with a
        warning. Weighted probabilities are in proportion to the true ones times the factors.
    {parameters}

    Attributes
    ----------
    classes_ : array
        Classes, in the order of the columns of ``predict_proba``.
    oof_prediction_ : array, shape (n_samples, n_classes)
        Calibrated out-of-fold probabilities: each row is predicted by members not trained on it,
        and is NaN if no fold holds it out.
    temperature_ : float
        Calibration temperature, the divisor of logits.
    {attributes}

    Notes
    -----
    {notes}

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import TabMLPClassifier
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same", "different")
    >>> model = TabMLPClassifier(preset="fast", random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseTabMLP._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "prior": [StrOptions({"weighted", "true"}), None],
    }

    target_class = ClassTarget

    def __init__(
        self,
        *,
        preset: PresetName = "default",
        recipes: Sequence[Mapping[str, Any]] | None = None,
        folds: int | Splitter | None = None,
        members: int | None = None,
        epochs: int | None = None,
        width: int | None = None,
        class_weight: ClassWeight = None,
        prior: Prior | None = None,
        validation: Literal["choose"] | None = None,
        categorical_features: ArrayLike | None = "from_dtype",
        monotone: Mapping[str | int, int] | None = None,
        select: bool = True,
        scoring: Scoring = None,
        time_limit: float | None = None,
        max_memory: float | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | int = False,
        callbacks: Iterable[Callback] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        store(self, locals())

    def predict(self, X: TableLike, *, out: Array | None = None) -> Array:
        """Predict labels.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, with the columns of the fit. A `fastmlp.ArrowBlocks` is read by their names, one
            block in memory at a time; it needs no target.
        out : array of labels, shape of the result, optional
            Where to write the result, block by block of a source: an array, a memory map, or
            another object with a shape and assignment to slices of rows. It is returned. If an
            error comes in the middle, its first rows are written.

        Returns
        -------
        array, shape (n_samples,) or (n_samples, n_labels)
            Classes from ``classes_``, or 0 or 1 for each label.
        """
        fitted, calibration = self._calibrated()
        return self._predicted(fitted, X, calibration.labels, out)

    def predict_proba(self, X: TableLike, *, out: Array | None = None) -> Array:
        """Predict calibrated probabilities.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features), or ArrowBlocks
            Rows, as for :meth:`predict`.
        out : array of floats, shape of the result, optional
            As for :meth:`predict`.

        Returns
        -------
        array of float64, shape (n_samples, n_classes)
            Probabilities in the order of ``classes_``; for several labels per row, one independent
            probability per label.
        """
        fitted, calibration = self._calibrated()
        return self._predicted(fitted, X, calibration.result, out)

    __call__ = predict_proba  # predictors have it, too; shap.Explainer(model, X) needs it

    def score(self, X: TableLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of rows whose labels :meth:`predict` finds, all of a row.

        Parameters
        ----------
        X : frame or array-like, shape (n_samples, n_features)
            Rows, as for :meth:`predict`.
        y : array-like, shape (n_samples,) or (n_samples, n_labels), or str
            Labels of the rows, or the name of the column of X that holds them.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        float
            From 0 to 1.
        """
        X, y = with_target(X, y, sample_weight=sample_weight)
        labels = self._state().target.labels_of(y)
        return float(super().score(X, labels, sample_weight))

    def plot_calibration(
        self, y: ArrayLike | None = None, label: Any | None = None, ax: Axes | None = None
    ) -> Axes:
        """Plot the observed frequency of a class against its out-of-fold probability.

        Parameters
        ----------
        y : array-like, optional
            Labels of the rows of the fit, in their order: ``y[model.rows_]`` if it used a sample.
            By default those that the fit got, which copies, pickles and files of an estimator lack.
        label : object, optional
            The class, one of ``classes_``; by default the last.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with legend and labels.
        """
        from fastmlp.tabular.fitted import inspection

        fitted, calibration = self._calibrated()
        labels = fitted.target.read(targets_of_fit(fitted, y)).y
        classes, held_out = calibration.classes, fitted.out_of_fold
        places = np.flatnonzero(classes == (classes[-1] if label is None else label))
        if not len(places):
            raise ValueError(f"label is {label!r} but one of {classes} is expected")
        k = int(places[0])
        happened = labels[:, k] > 0 if calibration.has_labels else labels == k
        p = calibration.result(held_out.predictions)[:, k]
        return inspection.reliability(p, happened, held_out.weights, ax)

    def plot_confusion_matrix(self, ax: Axes | None = None) -> Axes:
        """Plot how many rows of each class were predicted as which class, out of fold.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes. A row of the picture is a true class, a column a predicted one; the colour is
            the share of the row, and the number the rows, or the sum of their weights.

        Raises
        ------
        ValueError
            If a row has several labels, or if this estimator is a copy without the rows of the fit.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import TabMLPClassifier
        >>> X = np.random.default_rng(0).normal(size=(99, 2))
        >>> model = TabMLPClassifier(preset="fast", random_state=0).fit(X, X[:, 0] > 0)
        >>> ax = model.plot_confusion_matrix()
        >>> ax.get_xlabel(), [text.get_text() for text in ax.get_yticklabels()]
        ('predicted class, out of fold', ['False', 'True'])
        """
        from fastmlp.tabular.fitted import inspection

        evidence = evidence_for(self, "plot_confusion_matrix")
        ax = axes(ax, "plot_confusion_matrix")
        inspection.confusion(evidence.confusion, evidence.class_names.tolist(), ax)
        return ax

    @property
    def classes_(self) -> Array:
        """Classes, in the order of the columns of probabilities."""
        return self._calibrated()[1].classes

    @property
    def temperature_(self) -> float:
        """Divisor of the logits, which calibrates the probabilities."""
        return self._calibrated()[1].temperature

    def _calibrated(self) -> tuple[FittedTable, LabelCalibration]:
        """Return the value of the last fit, and its calibration."""
        fitted = self._state()
        assert isinstance(fitted.calibration, LabelCalibration)
        return fitted, fitted.calibration
