"""Save models to files and load them.

A file is a safetensors file: plain arrays, and a JSON description in the metadata. It names one
class of the table `CLASSES` and no code, and anything wrong with it raises ``ModelFormatError``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from fastmlp._core import atomic_files, optional
from fastmlp._core.intervals import check_flag
from fastmlp._core.keywords import check_choice
from fastmlp._core.user_warnings import warn
from fastmlp._files import files, safetensors, strict_json
from fastmlp._files.fields import Choice, Cursor
from fastmlp._files.files import Content
from fastmlp._files.record import Store, Tensors
from fastmlp._files.safetensors import Header
from fastmlp._files.schema import Codec, Object
from fastmlp._files.strangers import fault_of_name
from fastmlp._files.strict_json import ModelFormatError, check

__all__ = ["ModelFormatError", "load", "load_predictor", "save"]

PathLike: TypeAlias = str | os.PathLike[str]
Functions: TypeAlias = Mapping[str, Any] | None  # the caller's custom functions by name
Maker: TypeAlias = Callable[[dict[str, Any], Cursor], Any]  # it makes an object of a description

FORMAT = "fastmlp"
VERSION = 1
METADATA = ("digest", "format", "version", "fastmlp", safetensors.DESCRIPTION)
ENGINES = ("native", "reference")


# The classes that files can hold: the module with the `Codec`, then that of the class for each of
# its `ENGINES`, all below fastmlp and imported on demand.
CLASSES = {
    "MLP": ("_models.codecs.models", "_models.mlp", "_models.numpy_mlp"),
    "Ensemble": ("_models.codecs.models", *["_models.ensemble.ensemble"] * 2),
    "MLPClassifier": ("sklearn.codec", "sklearn.classifier"),
    "MLPRegressor": ("sklearn.codec", "sklearn.regressor"),
    "TabMLPClassifier": ("tabular.files.codec", "tabular.classifier"),
    "TabMLPRegressor": ("tabular.files.codec", "tabular.regressor"),
    "TabMLPSurvival": ("tabular.files.codec", "tabular.survival"),
}
# Modules with a function `predictor`, which makes the predictor of a fit in a file, for the classes
# that need scikit-learn.
SERVED = {
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), "sklearn.served"),
    **dict.fromkeys(
        ("TabMLPClassifier", "TabMLPRegressor", "TabMLPSurvival"), "tabular.files.codec_fit"
    ),
}
HEAD = Object({"class": Choice(CLASSES), "engine": Choice(ENGINES)})  # every description has these


def save(model: Any, path: PathLike, training: bool = True) -> None:
    """Write a model to a file; see ``MLP.save``."""
    atomic_files.check_path(path)
    if fault := fault_of_name(path):
        warn(fault)
    saving(model, path, training)()


def saving(model: Any, path: PathLike, training: bool = True) -> Callable[[], None]:
    """Return a function that writes the present model to a file, in any thread, at any time."""
    content = metadata_and_tensors(model, training)
    return lambda: atomic_files.write(path, safetensors.encoded(*content))


def check_room(model: Any, epochs: int, planned: int) -> None:
    """Warn if a file has no room for ``planned`` epochs of a model that has had ``epochs``."""
    room = metadata_and_tensors(model)[1].room(epochs)
    if planned > room:
        warn(
            f"epochs is {planned:,} but a file has room for the losses of {room:,} epochs of this "
            "model: a Checkpoint after more of them will end the fit with an error"
        )


def metadata_and_tensors(model: Any, training: bool = True) -> tuple[dict[str, str], Tensors]:
    """Return copies of the metadata and arrays."""
    check_flag("training", training)
    tensors = Tensors()
    codec, engine = row_of(model)
    fields = codec.values(model, training)
    head = {"class": type(model).__name__, "engine": fields.pop("engine", engine)}
    cursor = Cursor(tensors, ChainMap({"cls": type(model), "name": type(model).__name__}))
    description = {**head, **codec.schema.write(fields, cursor)}
    text = json.dumps(description, separators=(",", ":"), allow_nan=False)
    try:
        strict_json.parse(text.encode(), "description")
    except ModelFormatError as error:
        raise ValueError(f"the model does not fit into a file: {error}") from None
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "fastmlp": sys.modules["fastmlp"].__version__,
        safetensors.DESCRIPTION: text,
    }
    return metadata, tensors


def codec_of(name: str) -> Codec:
    """Return the codec of a class."""
    return _imported(CLASSES[name][0]).CODECS[name]  # type: ignore[no-any-return]


def row_of(model: Any) -> tuple[Codec, str]:
    """Return the codec of a model and the model's engine; raise TypeError without a row."""
    cls = type(model)
    homes = [f"fastmlp.{home}" for home in CLASSES.get(cls.__name__, ())[1:]]
    if cls.__module__ not in homes:
        raise TypeError(
            f"a file cannot hold the class {cls.__module__}.{cls.__name__}, which is made of one "
            "of fastmlp's: pickle the model, or save what it holds"
        )
    return codec_of(cls.__name__), ENGINES[homes.index(cls.__module__)]


def class_of(name: str, engine: str) -> Any:
    """Return the class with a name and an engine."""
    homes = dict(zip(ENGINES, CLASSES[name][1:], strict=False))
    check(engine in homes, f"a {name} has no engine {{}}", engine)
    return getattr(_imported(homes[engine]), name)


def _imported(module: str) -> Any:
    """Import a module of fastmlp; where it lacks scikit-learn, name another way."""
    instead = "read the file by fastmlp.load_predictor, which needs NumPy alone"
    return optional.with_sklearn(f"fastmlp.{module}", instead)


def load(
    path: PathLike, *, engine: str | None = None, verify: bool = True, functions: Functions = None
) -> Any:
    """Read a model from a file that its ``save`` wrote; the file cannot run code, whoever wrote it.

    Parameters
    ----------
    path : str or path
        A file; not a symbolic link.
    engine : {"native", "reference"}, optional
        The engine of MLPs; by default the one with which the model was saved. With
        the other one training continues too, but not with the same bits.
    verify : bool
        Compare the file with its digest; pass False for files that another program has changed on
        purpose.
    functions : dict of str to CustomActivation or CustomLoss, optional
        The model's custom functions by name, since a file contains no code.

    Returns
    -------
    MLP, Ensemble, MLPClassifier, MLPRegressor, TabMLPClassifier or TabMLPRegressor
        Predictions have the same bits as before, on every CPU level with fused multiply-add; so
        has ``partial_fit``, unless the file was saved with ``training=False``.

    Raises
    ------
    OSError
        If the file cannot be read.
    ModelFormatError
        If it is no complete, unchanged model of this or an older version; the message says why.
    ImportError
        If it needs scikit-learn or the compiled modules, and they are missing.

    Examples
    --------
    >>> import fastmlp, numpy as np, tempfile, pathlib
    >>> net = fastmlp.MLP([2, 8, 1], rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "net.safetensors")
    ...     net.save(path)
    ...     again = fastmlp.load(path)
    >>> bool((again.predict(np.ones((3, 2))) == net.predict(np.ones((3, 2)))).all())
    True
    """
    if engine is not None:
        check_choice("engine", engine, ENGINES, " or None")
    return _read(path, verify, functions, functools.partial(_model, engine=engine))


def load_predictor(
    path: PathLike,
    *,
    verify: bool = True,
    functions: Functions = None,
    levels: Sequence[float] = (),
) -> Any:
    """Read a saved model to predict single rows, in programs that have NumPy alone.

    Take it in services: scikit-learn, SciPy and pandas are neither needed nor loaded.

    It is the result of the method ``predictor()`` of the model, without making the model. Safe for
    files of any origin, like :func:`fastmlp.load`.

    Parameters
    ----------
    path : str or path
        A file that ``save`` of a model or an estimator has written; not a symbolic link.
    verify, functions
        As for :func:`fastmlp.load`.
    levels : sequence of float in (0, 1), optional
        As for ``predictor(levels=)`` of ``TabMLPRegressor``: quantiles instead of the prediction.
        Levels beyond those of the residuals of the fit need SciPy.

    Returns
    -------
    Predictor, EnsemblePredictor or RowPredictor
        A function of rows. That of an estimator of tables takes one row, as a list, an array, a
        dictionary by the names of the columns, or a frame of one row; ``classes`` are those of
        ``predict_proba``, or None.

    Raises
    ------
    OSError
        If the file cannot be read.
    ModelFormatError
        If it is no complete, unchanged model, or an estimator that was not fitted.

    Examples
    --------
    >>> import fastmlp, numpy as np, tempfile, pathlib
    >>> net = fastmlp.MLP([2, 8, 1], rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "net.safetensors")
    ...     net.save(path)
    ...     predict = fastmlp.load_predictor(path)
    >>> bool((predict(np.ones((3, 2))) == net.predict(np.ones((3, 2)))).all())
    True
    """
    return _read(path, verify, functions, functools.partial(_predictor, levels=levels))


def _read(path: PathLike, verify: bool, functions: Functions, make: Maker) -> Any:
    """Return the object that a function makes of a file's description."""
    check_flag("verify", verify)
    if not isinstance(functions, Mapping | None):
        raise TypeError(
            f"functions is {functions!r} but a dictionary is expected: pass for example "
            "functions={'mine': fastmlp.CustomActivation(mine)}"
        )
    try:
        return rebuild(files.read(path), make, verify, functions)
    except ModelFormatError as error:
        raise ModelFormatError(f"{os.fspath(path)!r} cannot be loaded: {error}") from None


def rebuild(
    content: Content, make: Maker | None = None, verify: bool = True, functions: Functions = None
) -> Any:
    """Return the object that a function, by default `_model`, makes of a file's description."""
    description = described(content.header)
    digest = content.header.metadata["digest"]
    check(
        content.digest == digest or not verify,
        f"its digest is '{content.digest}' but {{}} was saved: the file is damaged, or was "
        "changed (then pass verify=False)",
        digest,
    )
    store = Store(dict(safetensors.views(content.header, content.payload)), functions)
    cursor = Cursor(store, ChainMap({}))
    head = {key: description.pop(key) for key in HEAD.fields if key in description}
    head = HEAD.read(head, cursor)
    cursor.context.update(name=head["class"], engine=head["engine"])
    with np.errstate(all="ignore"):  # numbers may be near the limits of a dtype
        return (make or _model)(description, cursor)


def _model(description: dict[str, Any], cursor: Cursor, engine: str | None = None) -> Any:
    """Return the model that a description and its tensors make, which uses all of them."""
    name, engine = cursor.context["name"], engine or cursor.context["engine"]
    cls = class_of(name, engine)
    codec = codec_of(name)
    cursor.context.update(engine=engine, cls=cls)
    model = cursor.built(codec.build, cls, codec.schema.read(description, cursor) | cursor.context)
    cursor.file.finish()
    return model


def _predictor(description: dict[str, Any], cursor: Cursor, levels: Any) -> Any:
    """Return the predictor of a description; that of an estimator reads its fit alone."""
    name = cursor.context["name"]
    options = {"levels": levels} if np.size(levels) else {}
    if options and name != "TabMLPRegressor":
        raise ValueError(
            f"levels is {levels!r} but a {name} predicts no quantiles of levels: leave levels out"
        )
    if name not in SERVED:
        return _model(description, cursor).predictor()
    fit = description.get("fit")
    check(fit is not None, "the {} in it is not fitted: fit it, and save it again", name)
    return _imported(SERVED[name]).predictor(fit, cursor.at("fit"), **options)


def described(header: Header) -> dict[str, Any]:
    """Return the description in a file's metadata, after checking the metadata."""
    metadata = header.metadata
    kind = metadata.get("format", "without a format")
    check(kind == FORMAT, "it is a safetensors file, {}, but no model of fastmlp", kind)
    for key in METADATA:
        check(key in metadata, "the metadata have no {}", key)
    for key in metadata:
        check(key in METADATA, "the metadata have {}, unknown here", key)
    version = metadata["version"]
    is_number = version.isascii() and version.isdecimal() and len(version) <= len(str(2**63))
    check(is_number, "the version of its format is {} and no number", version)
    check(
        1 <= int(version) <= VERSION,
        f"it is of version {version} of the format, written by fastmlp {{}}, but up to {VERSION} "
        "is known here: install a newer one",
        metadata["fastmlp"],
    )
    return strict_json.parse(metadata[safetensors.DESCRIPTION].encode(), "description")
