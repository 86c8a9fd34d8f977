"""An estimator in a file: its parameters, its network, and the attributes of its last fit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import validate_parameter_constraints

from fastmlp._core.history import History
from fastmlp._engine import optimizer_state
from fastmlp._engine.thread_count import of_jobs
from fastmlp._files.fields import Choice, Count, Field, Flag, Number, Numbers
from fastmlp._files.schema import Chosen, Codec, Computed, Counted, Maybe, Object
from fastmlp._files.strict_json import shown
from fastmlp._models.codecs import parts
from fastmlp._models.codecs.values import ANY, Value, is_object
from fastmlp._network import losses
from fastmlp._network.optimizers import Optimizer
from fastmlp._network.spec import Spec
from fastmlp.sklearn.fitted import CURVES, FittedNetwork, Targets
from fastmlp.sklearn.parameters import Validated
from fastmlp.sklearn.scaled_network import ScaledNetwork
from fastmlp.sklearn.served import NETWORK
from fastmlp.sklearn.stopping import LearningRate

# A LabelBinarizer's type of target -> the loss, and the possible numbers of classes by outputs.
TARGETS: dict[str, tuple[type[losses.Loss], Callable[[int], tuple[int, ...]]]] = {
    "multiclass": (losses.CrossEntropy, lambda width: (width,)),
    "multilabel-indicator": (losses.BinaryCrossEntropy, lambda width: (width,)),
    "binary": (losses.BinaryCrossEntropy, lambda width: (1, 2) if width == 1 else ()),
}


@functools.cache
def parameters_of(cls: type[Any]) -> Object:
    """Return the schema of the constructor's parameters."""
    fields = dict.fromkeys(sorted(cls._parameter_constraints), ANY)
    return Object(fields, functools.partial(_checked, cls), functools.partial(_parameters, cls))


def _checked(cls: type[Any], **values: Any) -> dict[str, Any]:
    """Refuse parameters that a fit or a prediction would refuse."""
    validate_parameter_constraints(cls._parameter_constraints, values, cls.__name__)
    of_jobs(values["n_jobs"])
    return values


def _parameters(cls: type[Any], model: Validated) -> dict[str, Any]:
    values = _checked(cls, **model.get_params(deep=False))
    # Only callbacks of fastmlp, and no checkpoints, which contain a path of this machine.
    callbacks = [callback for callback in values["callbacks"] or () if is_object(callback)]
    splitter = {"folds": None} if hasattr(values.get("folds"), "split") else {}
    return {**values, **splitter, "callbacks": callbacks or None}


PARAMETERS = Chosen(lambda fields: parameters_of(fields["cls"]))


def _labels(**fields: Any) -> LabelBinarizer:
    binarizer, classes = LabelBinarizer(), fields["classes"]
    binarizer.y_type_, binarizer.sparse_input_ = fields["type"], fields["sparse"]
    binarizer.classes_ = classes
    if classes.ndim == 1 and not (classes[:-1] < classes[1:]).all():
        raise ValueError("the classes are not in order, each once")
    return binarizer


LABELS = Object(
    {"type": Choice(TARGETS), "sparse": Flag(), "classes": Value(np.ndarray)},
    _labels,
    lambda binarizer: {
        "type": binarizer.y_type_,
        "sparse": bool(binarizer.sparse_input_),
        "classes": binarizer.classes_,
    },
)


RATES = Object(
    {
        "rule": ANY,
        "n_steps": Count(1),
        **dict.fromkeys(("current", "initial", "power_t", "scale"), Number()),
        **dict.fromkeys(("step", "samples_seen"), Count()),
    },
    LearningRate,
)
RUN = Object(  # the state with which ``partial_fit`` continues
    {"rates": RATES, "optimizer": Value(Optimizer), "memory": parts.OPTIMIZER},
    lambda rates, optimizer, memory: ((rates, optimizer), memory),
    lambda run: {"rates": run[0][0], "optimizer": run[0][1], "memory": run[1]},
)


def _fit_values(model: Validated, training: bool) -> dict[str, Any]:
    fitted = model.__getstate__()["_fitted"]
    state, attributes = fitted.network.__getstate__(), fitted.attributes
    parameters, memory = optimizer_state.from_arrays(state["engine"], state["spec"])
    lists = {name: attributes[name] for name in CURVES if name in attributes}
    if not training:
        lists = {name: values and [] for name, values in lists.items()}
    return {
        "scaling": state["scaling"],
        "assigned": state["assigned"],
        "parameters": state["parameters"] or parameters,
        "network": state["spec"],
        "labels": fitted.targets.labels,
        # Without it, the next fit makes a new optimizer.
        "run": (state["run"], memory) if training and state["run"] is not None else None,
        "history": fitted.history if training else History(),
        "attributes": attributes,
        "lists": lists,
    }


def _fitted(cls: type[Any], network: Spec, labels: Any, **fields: Any) -> FittedNetwork:
    """Return the value of a fit."""
    kind, n_outputs = network.loss.target_kind, network.n_outputs
    if (labels is not None) != hasattr(cls, "predict_proba") or (
        labels is None and kind in ("class", "unit_interval")
    ):
        raise ValueError(f"the loss {network.loss.name} or the labels are of another estimator")
    if labels is not None:
        shape, (loss, sizes) = labels.classes_.shape, TARGETS[labels.y_type_]
        if shape not in [(size,) for size in sizes(n_outputs)] or type(network.loss) is not loss:
            raise ValueError(
                f"there are {shape} classes, {labels.y_type_}, for {n_outputs} outputs "
                f"and {network.loss.name}"
            )
    run, memory = fields["run"] or (None, None)
    engine = optimizer_state.to_arrays(network, fields["parameters"], memory)
    scaled = ScaledNetwork.__new__(ScaledNetwork)
    scaled.__setstate__({**fields, "spec": network, "engine": engine, "run": run})
    if not (scaled.engine.finite() and scaled.foldable()):
        raise ValueError("with its scaling, a parameter is no longer finite")
    _check_sizes(fields["attributes"], network.layer_sizes)
    classes = {} if labels is None else {"classes_": labels.classes_}
    targets = Targets(n_outputs, labels, classes.get("classes_"))
    attributes = {"history_": fields["history"], **classes, **fields["attributes"]}
    return FittedNetwork(scaled, targets, {**attributes, **fields["lists"]})


def _check_sizes(attributes: dict[str, Any], sizes: tuple[int, ...]) -> None:
    """Refuse attributes that contradict the network."""
    right = {"n_features_in_": sizes[0], "n_outputs_": sizes[-1], "n_layers_": len(sizes)}
    for name, size in right.items():
        if attributes.get(name) != size:
            raise ValueError(f"{name} is {shown(attributes.get(name))} but the network has {size}")
    names = attributes.get("feature_names_in_", np.empty(sizes[0], object))
    if names.shape != (sizes[0],) or names.dtype != object:
        raise ValueError(f"there are names for {names.shape} of {sizes[0]} features")


COUNTS = ("n_features_in_", "n_outputs_", "n_layers_", "n_iter_", "t_", "_no_improvement_count")
LOSSES = ("loss_", "best_loss_", "best_validation_score_")
# Attributes of a fit, of which an estimator has some.
ATTRIBUTES: dict[str, Field[Any]] = {
    **dict.fromkeys(COUNTS, Value(int)),
    **dict.fromkeys(LOSSES, Value(float, int, None)),
    "out_activation_": Value(str),
    "feature_names_in_": Value(np.ndarray),
}
FIT = Object(
    {
        "cls": Computed(lambda context: context["cls"]),
        **{key: NETWORK.fields[key] for key in ("network", "parameters", "scaling")},
        "labels": Maybe(LABELS),
        "assigned": NETWORK.fields["assigned"],
        "run": Maybe(RUN),
        "history": parts.HISTORY,
        "attributes": Object(ATTRIBUTES, partial=True),
        "lists": Object(dict.fromkeys(CURVES, Maybe(Counted(Numbers()))), partial=True),
    },
    _fitted,
)


def codec_of(fit: Field[Any], values: Callable[[Any, bool], Any]) -> Codec:
    """Return the codec of estimators, which have the value of a fit in ``_fitted``."""

    def written(model: Any, training: bool) -> dict[str, Any]:
        is_fitted = "_fitted" in vars(model)
        return {"parameters": model, "fit": values(model, training) if is_fitted else None}

    def build(cls: type[Any], fields: dict[str, Any]) -> Any:
        model = cls(**fields["parameters"])
        if fields["fit"] is not None:
            model._fitted = fields["fit"]
        return model

    return Codec(Object({"parameters": PARAMETERS, "fit": Maybe(fit)}), written, build)


CODECS = dict.fromkeys(("MLPClassifier", "MLPRegressor"), codec_of(FIT, _fit_values))
