"""The classifier for tables: calibrated probabilities of classes or labels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array

from fastmlp._core.keywords import explained
from fastmlp._core.user_warnings import warn
from fastmlp._export import layers as export
from fastmlp._network.names import PresetName
from fastmlp.sklearn.parameters import Classifier, documented, store
from fastmlp.sklearn.validation import refuse_labels, weights_of_classes
from fastmlp.tabular import inspection, temperature
from fastmlp.tabular.blend import BlendResult
from fastmlp.tabular.columns import Array, Columns, Table
from fastmlp.tabular.estimator import BaseTabMLP
from fastmlp.tabular.export.exported import ExportedTable, exported
from fastmlp.tabular.fitted import from_snapshot
from fastmlp.tabular.parameters import ATTRIBUTES, TEXT
from fastmlp.tabular.presets import LABEL_SMOOTHING
from fastmlp.tabular.scoring import FixedClasses, judges_labels, scorer_of
from fastmlp.tabular.targets import ClassTarget, MultiLabelTarget

Prior: TypeAlias = Literal["weighted", "true"]


@explained
@documented(TEXT, ATTRIBUTES)
class TabMLPClassifier(Classifier, BaseTabMLP):
    """Multi-layer perceptrons for classification of raw tables.

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
        Calibrated out-of-fold probabilities: each row is predicted by members not trained on it.
    temperature_ : float
        Calibration temperature, the divisor of logits.
    {attributes}

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

    def __init__(
        self,
        *,
        preset: PresetName = "default",
        recipes: Any = None,
        folds: int | None = None,
        members: int | None = None,
        epochs: int | None = None,
        width: int | None = None,
        class_weight: Any = None,
        prior: Prior | None = None,
        categorical_features: Any = "from_dtype",
        scoring: Any = None,
        time_limit: float | None = None,
        max_memory: float | str | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
        callbacks: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        store(self, locals())

    @from_snapshot
    def predict(self, X: Any, *, out: Any = None) -> Array:
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

        def finish(prediction: Array) -> Array:
            p = self._calibrated(prediction)
            return (p > 0.5).astype(int) if self._has_labels else self.classes_[p.argmax(axis=1)]

        return self._predicted(X, finish, out)

    @from_snapshot
    def predict_proba(self, X: Any, *, out: Any = None) -> Array:
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
        return self._predicted(X, self._finisher(), out)

    @from_snapshot
    def plot_calibration(self, y: Any, label: Any = None, ax: Any = None) -> Any:
        """Plot the observed frequency of a class against its out-of-fold probability.

        Parameters
        ----------
        y : array-like
            Labels of the rows of the fit, in their order: ``y[model.rows_]`` if it used a sample.
        label : object, optional
            The class, one of ``classes_``; by default the last.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes, with legend and labels.
        """
        p, target = self.oof_prediction_, self._with_rows(self._members.groups[0].target, y)
        self._check_rows_of_fit(len(target.y), len(p))
        places = np.flatnonzero(self.classes_ == (self.classes_[-1] if label is None else label))
        if not len(places):
            raise ValueError(f"label is {label!r} but one of {self.classes_} is expected")
        k = int(places[0])
        happened = target.y[:, k] > 0 if self._has_labels else target.y == k
        return inspection.reliability(p[:, k], happened, self._row_weights, ax)

    # ------------------------------------------------------------ used by fit

    def _read_target(self, y: Any) -> Array:
        checked = self._checked_labels(y)
        self._has_labels = checked.ndim > 1
        if self._has_labels:
            self.classes_ = np.arange(checked.shape[1])
            return checked
        self.classes_ = np.unique(checked)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]}, but at least two are expected")
        return checked

    def _encoded(self, y: Any) -> Array:
        labels = self._checked_labels(y)
        if labels.ndim > 1 and self._has_labels and labels.shape[1] == self.n_outputs_:
            return labels
        classes = self.classes_
        if labels.dtype.kind in "mM" and classes.dtype.kind == labels.dtype.kind:
            unit = np.result_type(classes, labels)  # days and seconds may be equal
            classes, labels = classes.astype(unit), labels.astype(unit)
        codes = {label: code for code, label in enumerate(classes.tolist())}
        known = labels.ndim == 1 and not self._has_labels
        other = [each for each in labels.tolist() if not known or each not in codes]
        if other:
            raise ValueError(
                f"y has {other[0]!r}, which is no class of the fit: pass labels like those in "
                "classes_"
            )
        return np.array([codes[label] for label in labels.tolist()])

    def _checked_labels(self, y: Any) -> Array:
        labels = np.asarray(y)
        if labels.dtype.kind == "f":
            assert_all_finite(labels, input_name="y")
        refuse_labels(labels)
        check_classification_targets(y)
        if type_of_target(y).startswith("multilabel"):
            checked = np.asarray(check_array(y, accept_sparse=False, input_name="y"))
            if not np.isin(checked, (0, 1)).all():
                raise ValueError(
                    f"y is a matrix of labels with {np.unique(checked)} but 0 and 1 are expected: "
                    "use 1 for a label that applies"
                )
            return checked
        return np.asarray(column_or_1d(y, warn=True))

    def _target(
        self, y: Array, weights: Array | None = None, in_scores: Array | None = None
    ) -> ClassTarget:
        smoothing = LABEL_SMOOTHING if judges_labels(self.scoring) else 0.0
        if self._has_labels:
            self.n_outputs_ = y.shape[1]
            return MultiLabelTarget(y, smoothing)
        self.n_outputs_ = len(self.classes_)
        codes, divided = np.searchsorted(self.classes_, y), None
        if self.class_weight is not None and self.prior == "true":
            divided = np.ones(self.n_outputs_)
            divided[codes] = 1.0 if weights is None else weights
            divided[codes] /= 1.0 if in_scores is None else in_scores
        return ClassTarget(codes, self.n_outputs_, smoothing, divided)

    def _weights(self, y: Array, given: Array | None) -> Array | None:
        if self.class_weight is None:
            return given
        of_classes = weights_of_classes(self.class_weight, y, self.classes_)
        if self.prior == "true" and (self._has_labels or not of_classes.all()):
            why = "rows have several labels" if self._has_labels else "a class has weight 0"
            raise ValueError(
                f"prior is 'true' but {why}, so that class_weight cannot be divided out "
                "of probabilities: pass prior='weighted', or leave out class_weight"
            )
        return of_classes if given is None else given * of_classes

    def _in_scores(self, given: Array | None, weights: Array | None) -> Array | None:
        return given if self.prior == "true" else weights

    def _weighting(self, in_scores: Array | None, given: Any) -> str:
        names = ["sample_weight"] * (given is not None)
        names += ["class_weight"] * (self.class_weight is not None and self.prior != "true")
        return "" if in_scores is None else f" (weighted by {' and '.join(names)})"

    def _data_notes(self, columns: Columns, table: Table) -> list[str]:
        if self.class_weight is not None and self.prior is None:
            warn(
                "with class_weight, probabilities and scores are those of classes which are as "
                "frequent as the weights make them: pass prior='true' for those of the rows as "
                "they are, from which p * weights / (p * weights).sum() makes the others, or "
                "prior='weighted' if these are meant"
            )
        return super()._data_notes(columns, table)

    def _scorer(self, y: Array, weights: Array | None) -> Any:
        if self.scoring is None:
            return None
        classes = None if self._has_labels else self.classes_
        return scorer_of(self.scoring, FixedClasses, classes, y, weights)

    def _finish(
        self, target: ClassTarget, fitted: BlendResult, weights: Array | None, groups: Array | None
    ) -> dict[str, str]:
        del groups
        p = fitted.out_of_fold
        self.temperature_ = temperature.fitted(p, target.y, weights)
        calibrated = temperature.applied(p, self.temperature_, self._has_labels)
        loss = float(np.average(target.costs(calibrated), weights=weights))
        return {"temperature": f"{self.temperature_:.3g}, with it {target.metric} {loss:.4g}"}

    def _calibrated(self, prediction: Array) -> Array:
        return self._finisher()(prediction)

    def _finisher(self) -> Callable[[Array], Array]:
        return functools.partial(
            temperature.applied, temperature=self.temperature_, labels=self._has_labels
        )

    def _exported(self) -> ExportedTable:
        kind = "each" if self._has_labels else "largest"
        return exported(
            self._columns,
            self._members,
            labels=export.Labels(kind, self.classes_),
            temperature=self.temperature_,
        )
