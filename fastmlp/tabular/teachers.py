"""Distillation of any model into one network, which has the intervals and files of fastmlp.

The teacher is fitted without each fold in turn, so that labels of rows come from models that have
not learned them (Todorov and others 2026, arXiv 2605.18654). The weight of its labels beside those
of networks that learned the true targets is the one with the best predictions out of fold.
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from fastmlp._core.intervals import POSITIVE, check_count
from fastmlp._core.user_warnings import warn
from fastmlp._engine.thread_count import of_jobs
from fastmlp.sklearn.validation import refuse_text
from fastmlp.tabular.classifier import TabMLPClassifier
from fastmlp.tabular.estimator import BaseTabMLP
from fastmlp.tabular.fit.reading import TableChunk, checked, target_names, with_target
from fastmlp.tabular.fit.training import fitted_table, train
from fastmlp.tabular.fitted.distilled import OF_OTHERS, Lesson, Limits, mixtures, taught
from fastmlp.tabular.fitted.results import timed
from fastmlp.tabular.outcome.loss_rows import MEANS
from fastmlp.tabular.outcome.targets import ClassTarget, Target
from fastmlp.tabular.plan.folds import Splits
from fastmlp.tabular.recipe.blend import Blend, BlendResult, blended, greedy
from fastmlp.tabular.recipe.epoch_selection import OutOfFold, mean_cost
from fastmlp.tabular.recipe.members import ROWS_AT_A_TIME, Members, TrainingResult
from fastmlp.tabular.regressor import TabMLPRegressor
from fastmlp.tabular.table.columns import Array, RowIndex, Table
from fastmlp.tabular.table.frames import mixed_rows, take_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastmlp._validation.arrays import TableLike

Predict = Callable[[Any], Any]

# Mixtures of n rows: ROOT_LESSON sqrt(n), at most LESSON; more of few rows only repeat values.
ROOT_LESSON, LESSON = 800, 600_000
# Inputs that a network reads in training, for each row of the fit, unless mixtures are asked for:
# 10,000 rows of 20 columns then take half a minute of CPU time beside the fits of the teacher.
WORK_OF_ROW = 200_000
NETWORKS_SHARE = 0.25  # networks that learn the true targets get it of a limit
LABELS_SHARE = 0.5  # labels of a student's lesson get it of the student's time
LESSON_CELLS = 40_000_000  # fewer mixtures of wide tables, which limits the memory
SUM_OF_ONE = 1e-3  # largest distance of the sum of probabilities from 1, by rounding


def distill(
    teacher: Any,
    X: TableLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    student: Any = None,
    mixtures: int | None = None,
    time_limit: float | None = None,
    random_state: int = 0,
) -> TabMLPRegressor | TabMLPClassifier:
    """Make one small network that answers like a large model, such as a forest of trees.

    Take it when the large model is too slow, or cannot run where the answers are needed. The
    teacher may be any model with ``predict``.

    The teacher labels mixtures of the rows, from which the network learns. An estimator is fitted
    anew on the rows of each fold and on all rows; ``teacher`` itself is unchanged. Networks that
    learn the true targets are a second teacher: the weight between the two is chosen by predictions
    out of fold. Intervals, the temperature and ``oof_prediction_`` come from further networks, one
    for each fold, which have learned neither the targets of its rows nor from a teacher that has.

    Parameters
    ----------
    teacher : estimator or callable
        An estimator with ``fit``, and ``predict_proba`` for classes, ``predict`` for numbers:
        CatBoost, a forest, a pipeline. Anything without ``fit`` is used as it is: a function of a
        table, whose columns for classes are probabilities in the order of the sorted classes, an
        object with these methods, or scikit-learn's ``FrozenEstimator``. It must not have learned
        from these rows, which cannot be tested, so there is a warning unless it is a function.
    X : frame or array-like, shape (n_samples, n_features)
        Rows, as for ``TabMLPRegressor.fit``. The teacher gets its rows and mixtures in the same
        form.
    y : array-like, shape (n_samples,) or (n_samples, n_outputs), or str
        True labels or numbers, or the name of the column of X that holds them.
    sample_weight : array-like, shape (n_samples,), optional
        Weights of rows; ``teacher.fit`` gets them, too, and of a pipeline its last step.
    groups : array-like, shape (n_samples,), optional
        Group of each row; rows of a group are held out together.
    student : TabMLPRegressor or TabMLPClassifier, optional
        Unfitted: its parameters are those of the result, and of the networks that learn the true
        targets. By default the preset ``"fast"`` of the classifier if the teacher has
        ``predict_proba``, else of the regressor; pass a classifier for a function of classes.
    mixtures : int, optional
        Number of mixtures in each lesson, by default 800 times the square root of the number of
        rows, at most 600,000; the teacher labels them once more than there are folds. If given, a
        network takes up to 24,000 steps instead of as many as suit the number of rows, which may
        take ten times as long for a slightly smaller error.
    time_limit : float, optional
        Seconds, above 0, that the distillation takes about: networks take as many steps as it
        allows, and lessons are cut where it is short. Fits of the teacher cannot be ended early;
        what takes longer than the limit is a note of ``report()``.
    random_state : int
        Seed of the mixtures and of the network.

    Returns
    -------
    TabMLPRegressor or TabMLPClassifier
        A fitted estimator of one network, with ``predictor``, exports and files like any other.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the teacher's labels are: missing or infinite ones, other
        classes than those of y, or another number of rows.

    Warns
    -----
    UserWarning
        If the teacher cannot be fitted anew and is not a function.

    Examples
    --------
    >>> import fastmlp, numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> y = np.where(X[:, 0] > 0.2, 3.0, X[:, 1])
    >>> model = fastmlp.distill(DecisionTreeRegressor(max_depth=5), X, y, mixtures=2000)
    >>> bool(np.std(model.predict(X) - y) < 0.3)
    True
    """
    seed = check_count("random_state", random_state, example=1, least=0)
    deadline = math.inf
    if time_limit is not None:
        time_limit = POSITIVE.check("time_limit", time_limit, 60.0)
        deadline = time.monotonic() + time_limit
    count = None if mixtures is None else check_count("mixtures", mixtures, example=LESSON)
    if isinstance(teacher, type):
        raise TypeError(
            f"the teacher is the class {teacher.__name__} but an object is expected: pass "
            f"{teacher.__name__}() with its parameters"
        )
    names = target_names(y)
    X, y = with_target(X, y)
    model = _student(teacher, student)
    if student is None and model.target_class.kind != "classes":
        refuse_text(y, "student=TabMLPClassifier()")
    if is_fixed(teacher):
        if not isinstance(teacher, FunctionType):
            warn(
                f"the teacher, a {type(teacher).__name__}, is used as it is: if it has learned "
                "from these rows, its weight is too large and intervals are too narrow; pass an "
                "estimator that can be fitted, or rows that it has not seen"
            )
    elif sample_weight is not None and not _argument_of_weights(teacher):
        raise ValueError(
            f"sample_weight is passed but the teacher, a {type(teacher).__name__}, has a fit "
            "without it: leave sample_weight out, or pass a teacher whose weights are set"
        )
    X = checked(X, model.target_class.estimator)
    chunk = TableChunk(X, y, sample_weight, groups)
    parameters = model.get_params(deep=False)
    limits = parameters["time_limit"], time_limit and NETWORKS_SHARE * time_limit
    limit = min((limit for limit in limits if limit), default=None)
    trained = train(model.target_class, {**parameters, "time_limit": limit}, chunk)
    read, seconds = trained.reading, trained.seconds
    with timed(seconds, "distillation"):
        places = read.used if read.rows.sampled is None else read.rows.sampled[read.used]
        weights = None if sample_weight is None else np.asarray(sample_weight)[places]
        truth = read.rows.target.original_y[read.used]
        rows = TableChunk(take_rows(X, places), truth, weights)
        is_asked = count is not None or time_limit is not None
        work = math.inf if is_asked else WORK_OF_ROW * len(places)
        count = count or min(LESSON, int(ROOT_LESSON * math.sqrt(len(places))))
        rng = np.random.default_rng(seed)
        lessons = Lessons(teacher, rows, trained, count, work, deadline, rng)
        result = lessons.result(of_jobs(parameters["n_jobs"]))
    if time_limit is not None:
        result.notes.extend(replace(trained.budget, deadline=deadline).overrun(seconds))
    fitted = fitted_table(parameters, replace(trained, result=result), True)
    return model.with_fitted(replace(fitted, target_names=names))  # type: ignore[no-any-return]


def _student(teacher: Any, student: Any) -> Any:
    """Return a new estimator of the student's class and parameters."""
    if student is None:
        kind = TabMLPClassifier if hasattr(teacher, "predict_proba") else TabMLPRegressor
        return kind(preset="fast", random_state=0)
    if not isinstance(student, BaseTabMLP):
        raise TypeError(
            f"student is a {type(student).__name__} but a TabMLPRegressor or a TabMLPClassifier is "
            "expected: pass one with its parameters, or leave it out"
        )
    loss = getattr(student, "loss", MEANS)
    if loss != MEANS:
        raise ValueError(
            f"student.loss is {loss!r} but a teacher's labels are means: pass loss={MEANS!r}"
        )
    student = clone(student)
    student._validate_params()
    return student


def is_fixed(teacher: Any) -> bool:
    """Whether a teacher cannot be fitted anew."""
    return isinstance(teacher, FrozenEstimator) or not hasattr(teacher, "fit")


@dataclass(eq=False)
class Lessons:
    """A teacher's labels of the rows of a fit, and of mixtures of these rows."""

    teacher: Any
    rows: TableChunk  # their weights are above 0
    trained: Any  # `Trained`, of networks that have learned the true targets
    mixtures: int
    work: float  # the work of each network, see `distilled.Limits`
    deadline: float  # ``time.monotonic`` counts to it
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.fit_of_teacher = 0.0  # seconds of the longest one
        self.data = self.trained.reading.data
        self.weight = 1.0  # the teacher's labels have it
        self.tied = self.data.columns.first_tied(self.data.table.numbers)
        self.mixtures = min(self.mixtures, LESSON_CELLS // len(self.tied))

    def result(self, n_threads: int | None) -> BlendResult:
        """Train a network for each fold and one for all rows; return the latter."""
        networks, table, m = self.trained.result, self.data.table, self.data.target.outputs
        scored, everyone, X = self.data.scored, np.arange(len(table)), self.rows.X
        folds = _first_repeat(networks.division, len(table))
        teachers = [self.fitted(learn) for _, learn, _ in folds]
        students = len(folds) + 1
        labels, out_of_fold = np.empty((2, len(scored.rows), m))
        for teacher, (_, _, out) in zip(teachers, folds, strict=True):
            labels[scored.places(out)] = self.labels(teacher, take_rows(X, out))

        def cost(predictions: Array) -> float:
            return mean_cost(scored.target, predictions, scored.cost_weights)

        both = [labels, networks.out_of_fold[:, :m]]
        self.weight = float(greedy(both, cost)[0])
        for done, (teacher, (member, learn, out)) in enumerate(zip(teachers, folds, strict=True)):
            end = self.end_of(students - done, self.fit_of_teacher)
            lesson = self.lesson(teacher, partial(networks.blend.of_division, member), learn, end)
            judge, _ = self.taught(learn, *lesson, n_threads, end)
            out_of_fold[scored.places(out)] = judge.predict(table.take(out))
        teacher, end = self.fitted(everyone), self.deadline
        lesson_of_all, answers = self.lesson(teacher, networks.blend.predict, everyone, end)
        whole = lesson_of_all.joined(table.take(scored.rows))
        answers = np.concatenate([answers, self.mean(both)])
        student, history = self.taught(everyone, whole, answers, n_threads, end)
        epochs, held_out = len(history.loss), OutOfFold(out_of_fold[np.newaxis])
        trained = TrainingResult(
            OF_OTHERS.recipe, student, held_out, history, epoch=epochs, planned=epochs
        )
        score = cost(out_of_fold)
        return BlendResult(
            Blend([student], np.ones(1)),
            out_of_fold,
            alone=score,
            together=score,
            all=score,
            trained=[trained],
            division=Splits([everyone], [scored.rows]),
            notes=[self._note(len(folds)), *networks.notes],
        )

    def _note(self, judges: int) -> str:
        """Return a line for the report, with the number of networks that give scores."""
        return (
            f"distilled: {self.weight:.0%} of each label is by {type(self.teacher).__name__}, the "
            f"rest by networks; {judges} further networks give scores and calibration"
        )

    def end_of(self, students: int, reserved: float) -> float:
        """Return when the first of some students has to end, with some seconds for the rest."""
        now = time.monotonic()
        return now + (self.deadline - now - reserved) / students

    def taught(
        self, learn: RowIndex, lesson: Table, labels: Array, n_threads: int | None, end: float
    ) -> tuple[Members, Any]:
        """Return a network that has learned a lesson about some rows, at an end about."""
        rows = self.data.table.take(learn)
        return taught(
            OF_OTHERS,
            self.data.columns,
            self.data.target,
            self.data.signs,
            Lesson(rows, lesson, labels),
            self.rng,
            Limits(self.work, end - time.monotonic(), n_threads),
        )

    def lesson(
        self, predict: Predict, networks: Callable[[Table], Array], learn: RowIndex, end: float
    ) -> tuple[Table, Array]:
        """Return mixtures of some rows, and their labels by both teachers.

        There are fewer of them if labels take too much of the time until the student's end.
        """
        now = time.monotonic()
        end = now + LABELS_SHARE * (end - now)
        weights, shares = self.data.weights.training, None
        if weights is not None:
            shares = weights[learn] / weights[learn].sum()
        chosen = mixtures(learn, self.mixtures, self.tied, OF_OTHERS.changed, self.rng, shares)
        tables, labels = [], []
        for at in range(0, len(chosen), ROWS_AT_A_TIME):
            X = mixed_rows(self.rows.X, chosen[at : at + ROWS_AT_A_TIME])
            tables.append(table := self.data.columns.read(X))
            labels.append(self.mean([self.labels(predict, X), networks(table)]))
            if time.monotonic() > end:
                break
        return tables[0].joined(*tables[1:]), np.concatenate(labels)

    def mean(self, labels: list[Array]) -> Array:
        """Return the weighted mean of the labels by both teachers."""
        m = self.data.target.outputs
        return blended([self.weight, 1 - self.weight], [part[:, :m] for part in labels])

    def fitted(self, learn: RowIndex) -> Any:
        """Return the teacher, fitted on some rows unless it is used as it is."""
        if is_fixed(self.teacher):
            return self.teacher
        rows = self.rows.take(learn)
        options = {}
        if rows.sample_weight is not None:
            options[_argument_of_weights(self.teacher)] = rows.sample_weight
        try:
            unfitted = clone(self.teacher, safe=False)
        except RuntimeError:  # CatBoost copies lists of columns
            unfitted = copy.deepcopy(self.teacher)
        began = time.monotonic()
        fitted = unfitted.fit(rows.X, rows.y, **options)
        self.fit_of_teacher = max(self.fit_of_teacher, time.monotonic() - began)
        return fitted

    def labels(self, model: Any, X: Any) -> Array:
        """Return a model's labels of rows, (n, outputs), checked."""
        target: Target = self.data.target
        name = "predict_proba" if isinstance(target, ClassTarget) else "predict"
        predict = getattr(model, name, model)
        if not callable(predict):
            raise TypeError(
                f"the teacher, a {type(model).__name__}, has no {name} but its labels are "
                "expected: pass an estimator with this method, or a function"
            )
        values = np.asarray(predict(X))
        if values.dtype.kind not in "iufb" or not np.isfinite(values).all():
            raise ValueError(
                f"the teacher gives labels of dtype {values.dtype} that are text, NaN or infinite "
                "but finite numbers are expected: fill missing values, or pass another teacher"
            )
        values = values[:, np.newaxis] if values.ndim == 1 else values
        classes = getattr(model, "classes_", None)
        if isinstance(target, ClassTarget) and not target.has_labels and classes is not None:
            others = np.setdiff1d(classes, target.classes).tolist()
            if others:
                raise ValueError(
                    f"the teacher has the class {others[0]!r} but those of y are expected: fit it "
                    "to the same labels"
                )
            of_classes = np.zeros((len(values), len(target.classes)))
            of_classes[:, np.searchsorted(target.classes, classes)] = values
            values = of_classes
        shape = len(X), self.data.target.outputs
        if values.shape != shape:
            raise ValueError(
                f"the teacher gives labels of shape {values.shape} but {shape} is expected: one "
                "row for each row, and one column for each class or target"
            )
        if not isinstance(target, ClassTarget):
            return values
        total = np.ones(1) if target.has_labels else values.sum(axis=1, keepdims=True)
        if (
            values.min() < 0
            or values.max() > 1 + SUM_OF_ONE
            or np.ptp([*total.flat, 1]) > SUM_OF_ONE
        ):
            raise ValueError(
                f"the teacher gives labels from {values.min():.3g} to {values.max():.3g} but "
                "probabilities are expected, whose sum is 1: pass one with predict_proba"
            )
        return np.asarray(values / total)


def _argument_of_weights(teacher: Any) -> str:
    """Return the argument of ``teacher.fit`` that weights are passed by; empty without one."""
    if isinstance(teacher, Pipeline):
        name, last = teacher.steps[-1]
        argument = _argument_of_weights(last)
        return argument and f"{name}__{argument}"
    parameters = inspect.signature(teacher.fit).parameters
    kinds = {name: parameter.kind for name, parameter in parameters.items()}
    takes = "sample_weight" in kinds or inspect.Parameter.VAR_KEYWORD in kinds.values()
    return "sample_weight" * takes


def _first_repeat(division: Splits, n: int) -> list[tuple[int, RowIndex, RowIndex]]:
    """Return the first members that hold out each row, with the rows that they learn and hold."""
    held, first = np.zeros(n, bool), []
    for member, (learn, out) in enumerate(zip(division.learn, division.out, strict=True)):
        fresh = out[~held[out]]
        if len(fresh):
            held[fresh] = True
            first.append((member, learn, fresh))
    return first
