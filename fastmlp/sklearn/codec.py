"""An estimator in a file: its parameters, its network, and the attributes of its last fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import validate_parameter_constraints

from fastmlp._engine.thread_count import of_jobs
from fastmlp._files.record import Record, Tensors, built, digits
from fastmlp._files.strict_json import ModelFormatError, shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import describe as described, is_object, value
from fastmlp._network import losses
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.spec import Spec
from fastmlp.sklearn.learning_rate import SCHEDULES, LearningRate
from fastmlp.sklearn.parameters import LEARNING_RATES
from fastmlp.sklearn.scaled_network import EstimatorProgress, ScaledNetwork
from fastmlp.sklearn.scaling import Scaling

# Attributes of a fit, with the kinds of value that they may have; what an estimator has not is not
# in its file either. History, labels and network have forms of their own.
ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("n_features_in_", "n_outputs_", "n_layers_", "n_iter_", "t_"), (int,)),
    **dict.fromkeys(("loss_", "best_loss_", "best_validation_score_"), (float, int, None)),
    "_no_improvement_count": (int,),
    "out_activation_": (str,),
    "feature_names_in_": (np.ndarray,),
}
LISTS = ("loss_curve_", "validation_loss_curve_", "validation_scores_")
MOMENTS = ("x_mean", "x_scale", "y_mean", "y_scale")  # of a scaling

# What a LabelBinarizer has found -> the loss, and how many classes the outputs can stand for.
TARGETS: dict[str, tuple[type[losses.Loss], Callable[[int], tuple[int, ...]]]] = {
    "multiclass": (losses.CrossEntropy, lambda width: (width,)),
    "multilabel-indicator": (losses.BinaryCrossEntropy, lambda width: (width,)),
    "binary": (losses.BinaryCrossEntropy, lambda width: (1, 2) if width == 1 else ()),
}


def describe(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    """Return an estimator as JSON and tensors."""
    parameters = describe_parameters(model, tensors)
    fitted = _describe_fit(model, tensors, training) if "_fitted" in vars(model) else None
    return {"parameters": parameters, "fit": fitted}


def describe_parameters(model: Any, tensors: Tensors) -> dict[str, Any]:
    """Return the constructor's parameters as JSON and tensors."""
    given = model.get_params(deep=False)
    check_parameters(type(model), given)
    # Not those of others; and no checkpoints: a file does not say where the next fit writes to.
    given["callbacks"] = [each for each in given["callbacks"] or () if is_object(each)] or None
    return {name: described(given[name], f"parameters.{name}", tensors) for name in given}


def check_parameters(cls: Any, given: dict[str, Any]) -> None:
    """Refuse those that a fit, or a prediction, would refuse."""
    validate_parameter_constraints(cls._parameter_constraints, given, cls.__name__)
    of_jobs(given["n_jobs"])


def unfitted(cls: Any, record: Record) -> Any:
    """Return an estimator of a file's parameters."""
    part = record.part("parameters")
    added = getattr(cls, "_added", ())  # which older files lack
    names = [n for n in cls._parameter_constraints if part.there(n) or n not in added]
    given = {name: value(part, name, object) for name in names}
    part.finish()
    built(part.where, check_parameters, cls, given)
    return cls(**given)


def rebuild(cls: Any, record: Record) -> Any:
    """Return the estimator that a file describes."""
    model = unfitted(cls, record)
    if record.has("fit"):
        part = record.part("fit")
        _rebuild_fit(model, part)
        part.finish()
    return model


# ---------------------------------------------------------------------------------- a fit


def _describe_fit(model: Any, tensors: Tensors, training: bool) -> dict[str, Any]:
    turn = model._turn()
    at_rest = turn.is_free() or turn.is_mine()  # else the optimizer's state is on the move
    known, network = vars(model), model._fitted
    state = network.__getstate__()
    parts.put(network.spec, state["parameters"], tensors)
    history = model.history_ if training else type(model.history_)()
    return {
        "network": parts.describe_spec(state["spec"], tensors),
        "scaling": _describe_scaling(state["scaling"], tensors),
        "labels": _describe_labels(state["decoder"], tensors),
        "given": state["given"],
        "run": _describe_run(network, tensors) if training and at_rest else None,
        "course": _describe_course(network, tensors) if training and at_rest else None,
        "history": parts.describe_history(history.whole(), "fit.history", tensors),
        "attributes": {
            name: described(known[name], f"fit.attributes.{name}", tensors)
            for name in ATTRIBUTES
            if name in known
        },
        "lists": {
            name: _describe_list(known[name], f"fit.lists.{name}", tensors, training)
            for name in LISTS
            if name in known
        },
    }


def _rebuild_fit(model: Any, record: Record) -> None:
    """Give an estimator what a fit has left, all at once."""
    spec = parts.rebuild_spec(record.part("network"))
    scaling, labels = _rebuild_scaling(record, spec), _rebuild_labels(record, spec)
    kind = spec.loss.target_kind
    if (labels is not None) != hasattr(type(model), "predict_proba") or (
        labels is None and kind not in ("real", "count")
    ):
        raise ModelFormatError(f"the loss {spec.loss.name} or the labels are of another estimator")
    state = {
        "spec": spec,
        "scaling": scaling,
        "decoder": labels,
        "given": record.flag("given"),
    }
    network = ScaledNetwork.__new__(ScaledNetwork)
    network.__setstate__({**state, "parameters": parts.take(spec, record.store)})
    if not (network.engine.finite() and network.foldable()):
        raise ModelFormatError("with its scaling, a parameter is no longer finite")
    network.run = _rebuild_run(record, network)
    network.course = _rebuild_course(record, spec)
    fitted: dict[str, Any] = {
        "_fitted": network,
        "history_": parts.rebuild_history(record, "history"),
    }
    if labels is not None:
        fitted.update(_label_binarizer=labels, classes_=labels.classes_)
    attributes = record.part("attributes")
    for name, kinds in ATTRIBUTES.items():
        if attributes.there(name):
            fitted[name] = value(attributes, name, *kinds)
    attributes.finish()
    lists = record.part("lists")
    for name in LISTS:
        if lists.there(name):
            fitted[name] = _rebuild_list(lists, name)
    lists.finish()
    _check_sizes(fitted, spec)
    vars(model).update(fitted)


def _check_sizes(fitted: dict[str, Any], spec: Spec) -> None:
    """Refuse attributes that say something else than the network."""
    sizes = spec.layer_sizes
    right = {"n_features_in_": sizes[0], "n_outputs_": sizes[-1], "n_layers_": len(sizes)}
    for name, size in right.items():
        if fitted.get(name) != size:
            raise ModelFormatError(
                f"{name} is {shown(fitted.get(name))} but the network has {size}"
            )
    names = fitted.get("feature_names_in_", np.empty(sizes[0], object))
    if names.shape != (sizes[0],) or names.dtype != object:
        raise ModelFormatError(f"there are names for {names.shape} of {sizes[0]} features")
    if fitted["history_"] is None:
        raise ModelFormatError("there is no history")


def _describe_list(values: Any, name: str, tensors: Tensors, training: bool) -> Any:
    if values is None:
        return None
    tensors.put_list(name, values if training else [])
    return len(tensors[name])


def _rebuild_list(record: Record, name: str) -> list[float] | None:
    if not record.has(name):
        return None
    n, values = record.count(name), record.store.numbers(f"fit.lists.{name}")
    if len(values) != n:
        raise ModelFormatError(f"{name} has {len(values)} entries and not {n}")
    return values


def _describe_scaling(scaling: Scaling | None, tensors: Tensors) -> Any:
    if scaling is None:
        return None
    for name in MOMENTS:
        tensors[f"scaling.{name}"] = getattr(scaling, name)
    return {"heads": scaling.heads}


def _rebuild_scaling(record: Record, spec: Spec) -> Scaling | None:
    if not record.has("scaling"):
        return None
    part = record.part("scaling")
    heads = part.count("heads", spec.loss.heads, spec.loss.heads)
    part.finish()
    moments = {}
    for name in MOMENTS:
        size = spec.layer_sizes[0 if name[0] == "x" else -1]
        moments[name] = record.store.parameter(f"scaling.{name}", (size,), np.dtype(float)).copy()
        if name.endswith("scale") and moments[name].min() <= 0:
            raise ModelFormatError(
                f"tensor scaling.{name} has {moments[name].min()}, which is no scale"
            )
    return Scaling(**moments, heads=heads)


def _describe_labels(binarizer: Any, tensors: Tensors) -> Any:
    if binarizer is None:
        return None
    return {
        "type": binarizer.y_type_,
        "sparse": bool(binarizer.sparse_input_),
        "classes": described(binarizer.classes_, "fit.labels.classes", tensors),
    }


def _rebuild_labels(record: Record, spec: Spec) -> Any:
    if not record.has("labels"):
        return None
    part, binarizer = record.part("labels"), LabelBinarizer()
    binarizer.y_type_ = part.choice("type", TARGETS)
    binarizer.sparse_input_ = part.flag("sparse")
    binarizer.classes_ = classes = value(part, "classes", np.ndarray)
    part.finish()
    loss, sizes = TARGETS[binarizer.y_type_]
    if (
        classes.ndim != 1
        or len(classes) not in sizes(spec.n_outputs)
        or type(spec.loss) is not loss
    ):
        raise ModelFormatError(
            f"there are {classes.shape} classes, {binarizer.y_type_}, for {spec.n_outputs} outputs "
            f"and {spec.loss.name}"
        )
    if not (classes[:-1] < classes[1:]).all():
        raise ModelFormatError("the classes are not in order, each once")
    return binarizer


# ---------------------------------------------------------------------------------- partial_fit


def _describe_run(network: ScaledNetwork, tensors: Tensors) -> Any:
    """Return with what ``partial_fit`` goes on."""
    memory = parts.describe_memory(network.engine.state(), tensors)
    if network.run is None or memory is None:
        return None
    rates, optimizer = network.run
    schedule = rates.learning_rate if rates.rule in SCHEDULES else None
    return {
        "rule": described(rates.rule, "fit.run.rule", tensors),
        "n_steps": getattr(schedule, "n_steps", 1),
        "current": rates.learning_rate if isinstance(rates.learning_rate, float) else 0.0,
        **{name: float(getattr(rates, name)) for name in ("initial", "power_t", "scale")},
        **{name: getattr(rates, name) for name in ("step", "samples_seen")},
        "optimizer": described(optimizer, "fit.run.optimizer", tensors),
        "memory": memory,
    }


def _rebuild_run(record: Record, network: ScaledNetwork) -> Any:
    if not record.has("run"):
        return None
    part = record.part("run")
    rule = value(part, "rule", object)
    if not (callable(rule) or (isinstance(rule, str) and rule in LEARNING_RATES)):
        raise ModelFormatError(f"the learning rate has the rule {shown(rule)}")
    initial, power_t = (part.number(name) for name in ("initial", "power_t"))
    rates = built(part.where, LearningRate, rule, initial, power_t, part.count("n_steps", 1))
    current, rates.scale = part.number("current"), part.number("scale")
    if isinstance(rates.learning_rate, float):
        rates.learning_rate = current
    rates.step, rates.samples_seen = part.count("step"), part.count("samples_seen")
    optimizer = value(part, "optimizer", Optimizer)
    memory = parts.rebuild_memory(part.part("memory"), network.spec)
    part.finish()
    network.engine.set_state({**network.engine.state(), **memory})
    return rates, optimizer


def _describe_course(network: ScaledNetwork, tensors: Tensors) -> Any:
    """Return with what a fit goes on, besides."""
    course = network.course
    if course is None:
        return None
    if course.best is not None:
        parts.put(network.spec, course.best, tensors, "fit.course.")
    callbacks = course.memories, "fit.course.callbacks", tensors
    return {
        "lowest": described(float(course.lowest), "fit.course.lowest", tensors),
        "best": course.best is not None,
        "scale": float(course.scale),
        "callbacks": parts.describe_callbacks(network.spec, *callbacks),
        **({"data": digits(course.data)} if course.data else {}),
    }


def _rebuild_course(record: Record, spec: Spec) -> EstimatorProgress | None:
    if not record.has("course"):
        return None
    part = record.part("course")
    course = EstimatorProgress(
        lowest=value(part, "lowest", float),
        best=parts.copied(part, spec) if part.flag("best") else None,
        scale=part.number("scale"),
        memories=parts.rebuild_callbacks(part, spec),
        data=part.count("data", 1, 2**64 - 1) if part.there("data") else 0,
    )
    part.finish()
    return course
