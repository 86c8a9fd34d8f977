"""Explain wrong arguments and attributes by equivalent names, which docs/coming-from.md prints."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Collection
from typing import Any, TypeAlias, TypeVar

Synonyms: TypeAlias = tuple[tuple[tuple[str, ...], str], ...]
Class = TypeVar("Class", bound=type)
MISSING = object()
NEAR = 0.75  # similarity of two names from which one may be a typing error of the other
EVERYWHERE = ("fastmlp",)  # advice that begins so suits any class

# Equivalent names: fastmlp's, with a value where an example helps, then other libraries'.
SYNONYMS: Synonyms = (
    (("rng", "random_state"), "seed random_seed"),
    (("members",), "n_estimators num_boost_round n_members"),
    (("epochs", "max_iter"), "n_epochs num_epochs max_epochs nb_epoch iterations n_iter"),
    (
        (
            "learning_rate_init",
            "optimizer=fastmlp.Adam(learning_rate=...)",
            "preset=..., which has its own learning rates",
        ),
        "learning_rate lr eta",
    ),
    (("validation_data=(X, y)", "X_val=..., y_val=..."), "y_val eval_set validation valid_sets"),
    (("validation_fraction", "validation_data=(X, y)"), "validation_split test_size"),
    (("folds",), "cv n_splits n_folds"),
    (("n_threads", "n_jobs"), "num_threads thread_count nthread workers"),
    (("n_threads=... of CPUs", "n_jobs=... of CPUs"), "device gpu gpu_id task_type"),
    (("l2", "alpha"), "weight_decay reg_lambda"),
    (("batch_size",), "accumulate accumulate_grad_batches gradient_accumulation_steps"),
    (("layer_sizes=[inputs, ..., outputs]", "hidden_layer_sizes"), "hidden_sizes units layers"),
    (("sample_weight",), "sample_weights weight weights"),
    (
        ("class_weight", "sample_weight=weights_of_classes[y]"),
        "scale_pos_weight is_unbalance auto_class_weights",
    ),
    (("sample_weight=weights of shape (n, outputs)",), "loss_weights output_weights"),
    (("rows=[indices of each member]",), "bootstrap subsample max_samples"),
    (
        ("resume=True", "warm_start", "fastmlp.MLP.partial_fit, which continues a training"),
        "continue_training init_model",
    ),
    (("clip_norm",), "max_norm clipnorm max_grad_norm gradient_clip_val"),
    (
        (
            "time_limit=..., or nothing: a fit keeps the best epoch",
            "callbacks=[fastmlp.EarlyStopping(...)]",
            "n_iter_no_change",
        ),
        "early_stopping patience early_stopping_rounds",
    ),
    (("callbacks=[a function that assigns state.model.weights]",), "constraints constraint"),
    (("verbose",), "verbosity"),
    (("optimizer", "solver"), "algorithm"),
    (("metrics", "scoring"), "eval_metric metric"),
    (("loss",), "criterion objective loss_function"),
    (("dropout",), "dropout_rate"),
    (("initializer",), "kernel_initializer init"),
    (
        ("categorical_features", "fastmlp.TabMLPRegressor(categorical_features=...)"),
        "cat_features categorical_feature cat_cols embeddings embedding_dims",
    ),
    (("fastmlp.Ensemble.member_predictions(X).std(axis=0)",), "return_std"),
    (("monotone",), "monotone_constraints monotonic_cst monotonic"),
    (("time_limit",), "time_budget timeout max_time"),
    # Values of arguments.
    (("squared_error",), "mse mean_squared_error"),
    (("absolute_error",), "mae mean_absolute_error"),
    (("poisson_nll", "poisson"), "poisson_deviance"),
    (("gaussian_nll", "gaussian"), "normal"),
    (("cross_entropy",), "log_loss categorical_crossentropy sparse_categorical_crossentropy"),
    (("binary_cross_entropy",), "bce binary_crossentropy"),
    (("sigmoid",), "logistic"),
    (("silu",), "swish"),
    (("identity",), "linear"),
    (("fastmlp.CustomActivation(...)",), "sin sine cos snake"),
    (("fastmlp.LBFGS()",), "lbfgs l-bfgs"),
)
# Options of optimizers, where alpha and weight_decay have a different meaning.
OPTIONS: Synonyms = (
    (("learning_rate",), "lr eta learning_rate_init"),
    (("beta_1=..., beta_2=...",), "betas beta1 beta2"),
    (("epsilon",), "eps"),
    (("alpha",), "rho"),
)
# Attributes of models: what to write instead, and names of other libraries.
ATTRIBUTES: Synonyms = (
    (("weights", "coefs_"), "kernel kernels weights_"),
    (("biases", "intercepts_"), "bias biases_"),
    (
        ("state_dict()", "coefs_"),
        "get_weights get_parameters parameters named_parameters flat_parameters params variables",
    ),
    (("load_state_dict(state)",), "set_weights set_parameters load_parameters"),
    (("predict(X, link=False)",), "predict_logits predict_raw decision_function"),
    (("predict(X)",), "predict_proba predict_classes predict_on_batch forward infer"),
    (("partial_fit(X, y)",), "train_on_batch train_step training_step learn_one update"),
    (("fit(X, y)",), "train train_model compile fit_generator"),
    (("evaluate(X, y)", "score(X, y)"), "score eval test compute_loss loss_value"),
    (("gradients(X, y)", "to_mlp().gradients(X, y)"), "backward gradient grad compute_gradients"),
    (("gradients(X, y, per_sample=True)",), "parameter_jacobian per_sample_gradients"),
    (("jacobian(X)", "predictor().jacobian(x)"), "input_gradient input_gradients"),
    (("save(path)",), "save_model save_weights save_pretrained dump to_file"),
    (("fastmlp.load(path)",), "load load_model load_weights from_file from_pretrained"),
    (("to_onnx(path)",), "to_torch export export_onnx save_onnx"),
    (("fit(X, y, epochs=20, groups=fastmlp.Groups(layer_rates=[0, 1]))",), "freeze requires_grad_"),
    (("n_parameters",), "num_parameters count_params n_params num_params"),
    (("summary()", "report()"), "describe info plot_model"),
    (("layer_sizes", "hidden_layer_sizes"), "layers n_layers units"),
    (("history", "history_"), "history history_ loss_curve_ train_history evals_result_"),
    (("history.loss", "history_.loss"), "losses train_loss training_loss"),
    (("history.val_loss", "history_.val_loss"), "val_loss val_losses validation_loss"),
    (
        ("best_epoch_", "history.val_loss", "history_"),
        "best_epoch best_iteration best_iteration_ n_iter_",
    ),
    (
        ("best_validation_score_", "report()", "history.val_loss"),
        "best_score best_score_ oof_score_",
    ),
    (("importance(X, y)",), "feature_importance get_feature_importance permutation_importance"),
    (
        ("importance(X, y), or sklearn.inspection.partial_dependence(model, X, [column])",),
        "partial_dependence plot_partial_dependence",
    ),
    (("predict_proba(X), for a frame with columns=classes_",), "set_output"),
    (("predict(X) of a network of the first layers",), "hidden hidden_activations activations_of"),
)
# Attributes of histories.
RECORDS: Synonyms = (
    (("loss",), "history losses train_loss training_loss loss_curve_"),
    (("val_loss",), "val_losses validation_loss"),
    (("learning_rate",), "lr learning_rates"),
    (("metrics",), "metric scores"),
    (("to_frame()",), "to_pandas to_df to_dict"),
)
# Names of the package.
PACKAGE: Synonyms = (
    (("load",), "load_model from_file from_pretrained"),
    (("from_torch",), "from_keras from_onnx from_tensorflow"),
    (("MLP.parameters_vector",), "CustomOptimizer"),
    (("MLP",), "Sequential Model Network NeuralNetwork MultiLayerPerceptron"),
    (("SquaredError",), "MSE MSELoss MeanSquaredError"),
    (("AbsoluteError",), "MAE L1Loss MeanAbsoluteError"),
    (("CrossEntropy",), "CrossEntropyLoss CategoricalCrossentropy"),
    (("BinaryCrossEntropy",), "BCELoss BCEWithLogitsLoss BinaryCrossentropy"),
    (("Cosine",), "CosineAnnealingLR CosineDecay"),
    (("OneCycle",), "OneCycleLR"),
    (("ReduceOnPlateau",), "ReduceLROnPlateau"),
    (("Checkpoint",), "ModelCheckpoint"),
    (("Blocks",), "DataLoader Dataset TensorDataset"),
)


def synonym(name: str, names: Collection[str], synonyms: Synonyms = SYNONYMS) -> str | None:
    """Return the one of some names that is equivalent to another name; None if there is none."""
    for ours, others in synonyms:
        heads = list(map(_head, ours))
        if name in (*heads, *others.split()):
            for head, text in zip(heads, ours, strict=True):
                if head in names:
                    return text
    return None


def _head(text: str) -> str:
    """Return the first name of advice such as ``fit(X, y)`` or ``epochs=...``."""
    return re.split(r"\W", text, maxsplit=1)[0]


def check_choice(name: str, value: Any, names: Collection[str], other: str = "") -> str:
    """Return the value if it is a name of the table, else raise TypeError or ValueError."""
    advice = f"choose from {', '.join(names)}"
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r} but must be a name{other}: {advice}")
    if value not in names:
        meant = synonym(value, names) or synonym(value, EVERYWHERE)
        if meant is not None:
            advice = f"use {meant if _head(meant) in EVERYWHERE else repr(meant)}, or {advice}"
        advice += other
        raise ValueError(f"{name} is {value!r} but no {name} has that name: {advice}")
    return str(value)


def with_argument_hints(
    cls: Class,
    synonyms: Synonyms = SYNONYMS,
    attributes: Synonyms = ATTRIBUTES,
    plain: Collection[str] = (),
) -> Class:
    """Class decorator: explain wrong arguments, but not of plain methods, and attributes."""
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if not inspect.isfunction(method) or name in plain:
            continue
        if name == "__init__" or (method.__module__.startswith("fastmlp") and name[0] != "_"):
            setattr(cls, name, _with_hints(cls, method, synonyms))
    return with_attribute_hints(cls, attributes)


class MissingAttribute:
    """A name of other libraries on a class that lacks it: the AttributeError names ours.

    The class has it in place of ``__getattr__``, which would slow down all other attributes.
    """

    __slots__ = ("name", "owner", "remedies")

    def __init__(self, owner: type, name: str, remedies: tuple[str, ...]) -> None:
        self.owner, self.name, self.remedies = owner, name, remedies

    def __get__(self, instance: Any, kind: type) -> Any:
        """Return what a later base class has, or raise AttributeError."""
        place, what = instance, f"{kind.__name__!r} object"
        if instance is None:
            place, what = kind, f"type object {kind.__name__!r}"
        with contextlib.suppress(AttributeError):
            return getattr(super(self.owner, place), self.name)
        remedy = next((text for text in self.remedies if _has(place, text)), None)
        advice = f": use {remedy}" if remedy else ""
        raise AttributeError(
            f"{what} has no attribute {self.name!r}{advice}", name=self.name, obj=place
        )

    def __repr__(self) -> str:
        return f"no attribute, see {' or '.join(self.remedies)}"


def with_attribute_hints(cls: Class, attributes: Synonyms = ATTRIBUTES) -> Class:
    """Class decorator: names of other libraries raise an AttributeError that names ours."""
    annotated = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    for remedies, others in attributes:
        for name in set(others.split()) - annotated:
            if inspect.getattr_static(cls, name, MISSING) is MISSING:
                setattr(cls, name, MissingAttribute(cls, name, remedies))
    all_names: Any = cls.__dir__

    def names(self: Any) -> list[str]:
        """Return the names of an object's attributes without those that it lacks."""
        values = {name: inspect.getattr_static(self, name, None) for name in all_names(self)}
        return [
            name
            for name, value in values.items()
            if not isinstance(value, MissingAttribute) or hasattr(self, name)
        ]

    cls.__dir__ = names  # type: ignore[method-assign, assignment]
    return cls


def _has(place: Any, text: str) -> bool:
    """Return whether an object can follow advice such as ``predict(X, link=False)``."""
    head = _head(text)
    if head in EVERYWHERE:
        return True
    value = inspect.getattr_static(place, head, MISSING)
    if value is MISSING:  # but a method __getattr__ may know it
        return hasattr(place, head)
    if isinstance(value, MissingAttribute):
        return False
    option = re.match(r"[\w(, ]+, (\w+)=", text)
    return option is None or option[1] in inspect.signature(value).parameters


def _with_hints(cls: type, method: Callable[..., Any], synonyms: Synonyms) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except TypeError as error:
            complaint = _complaint(cls, method, synonyms, args, kwargs)
            if complaint is None or f"{method.__name__}() " not in str(error):  # not of the call
                raise
        raise TypeError(complaint)

    return call


def _complaint(
    cls: type, method: Callable[..., Any], synonyms: Synonyms, args: Any, kwargs: dict[str, Any]
) -> str | None:
    """Describe the mismatch between a call and the signature; None if the arguments fit."""
    signature = inspect.signature(method)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        words = str(error)
    else:
        return None
    caller = cls.__name__ + f".{method.__name__}" * (method.__name__ != "__init__")
    parameters = signature.parameters
    name = next((key for key in kwargs if key not in parameters), None)
    if name is not None:
        # Options of training belong to fit, options of a trained model's other forms to to_c.
        other = "fit" if method.__name__ == "__init__" else "to_c"
        remedy = _remedy(name, list(parameters), cls, synonyms, other)
        return f"{caller}() got an unexpected keyword argument {name!r}: {remedy}"
    places = [k for k, p in parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD][1:]
    rule = f"{', '.join(places)} by position, all others by name" if places else "all by name"
    return f"{caller}(): {words}: pass {rule}"


def _remedy(name: str, parameters: list[str], cls: Any, synonyms: Synonyms, other: str) -> str:
    """Return advice for an unknown argument: the right name and the right method."""
    places = {"": parameters, f" to {cls.__name__}": list(inspect.signature(cls).parameters)}
    if hasattr(cls, other):
        places[f" to {other}"] = list(inspect.signature(getattr(cls, other)).parameters)
    for place, names in places.items():
        meant = name if name in names else synonym(name, names, synonyms)
        if meant is not None:
            return f"pass {meant if '=' in meant else f'{meant}=...'}{place}"
    meant = synonym(name, EVERYWHERE, synonyms)
    if meant is not None:
        return f"use {meant}"
    import difflib

    near = difflib.get_close_matches(name, parameters, 1, cutoff=NEAR)
    if near:
        return f"did you mean {near[0]}?"
    return f"the arguments are {', '.join(key for key in parameters if key != 'self')}"
