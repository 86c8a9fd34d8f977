"""Files that are no models, made by hand and by mutation, for the tests and the campaign.

A file is taken apart into header, description and payload, one of them is changed, and it is put
together again with a digest that fits: so that what looks at the change is not the digest.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import io
import json
import os
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import stored

import fastmlp
from fastmlp._files import files, safetensors, storage
from fastmlp.sklearn.fitted import fitted_of

Header = dict[str, Any]
FUZZED = int(os.environ.get("FASTMLP_HOSTILE_FILES", "400"))  # files a turn of the trial
SLOW = 1.0  # CPU seconds that one file may take


# ------------------------------------------------------------------------------- apart and together


def apart(text: bytes) -> tuple[Header, bytes]:
    """Return the header, in which the description is JSON too, and the payload."""
    length = struct.unpack("<Q", text[:8])[0]
    header = json.loads(text[8 : 8 + length])
    header["__metadata__"]["model"] = json.loads(header["__metadata__"]["model"])
    return header, text[8 + length :]


def together(header: Header, payload: bytes) -> bytes:
    """Return the file of a header, with a digest that fits if it has one."""
    header = copy.copy(header)
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):
        header["__metadata__"] = metadata = dict(metadata)
        if not isinstance(metadata.get("model", ""), str):
            metadata["model"] = json.dumps(metadata["model"])
        if "digest" in metadata:
            metadata["digest"] = safetensors.BLANK
    return raw(json.dumps(header).encode(), payload)


def raw(text: bytes, payload: bytes, padding: bytes = b" ") -> bytes:
    """Return the file of a header that is bytes; a digest of zeros in it is made right."""
    text += padding * (-len(text) % 8)
    whole = struct.pack("<Q", len(text)) + text + payload
    digest = hashlib.sha256(whole).hexdigest().encode()
    return whole.replace(safetensors.BLANK.encode(), digest, 1)


@functools.cache
def valid(name: str) -> bytes:
    """Return the file of a valid model."""
    make = VALID[name] or {**stored.estimators(), **stored.tables()}[name]
    return stored.text_of(make())


def _of_kind(name: str) -> Callable[[], Any]:
    return lambda: stored.MLPS[name](fastmlp.MLP)


# None stands for an estimator of `stored` with this name.
VALID: dict[str, Callable[[], Any] | None] = {
    "MLP": stored.mlp,
    "MLP float64": lambda: fastmlp.MLP(
        [3, 5, 4, 2], activation=["gelu", "mish"], dropout=[0.0, 0.25], dtype="float64", rng=1
    ),
    "fit": lambda: stored.mlp(passes=0),
    "reference": lambda: stored.mlp(fastmlp.reference.MLP),
    "generator": _of_kind("generator Philox"),
    "legacy generator": _of_kind("generator MT19937"),
    "layer norm": _of_kind("layer norm"),
    "averaged": _of_kind("averaged"),
    "checkpoint": stored.checkpoint,
    "ensemble": stored.ensemble,
    "reference ensemble": lambda: stored.ensemble(fastmlp.reference.MLP, passes=1),
    **dict.fromkeys(
        (
            *("MLPClassifier words", "MLPClassifier word objects", "MLPClassifier schedule"),
            *("MLPClassifier callbacks", "MLPRegressor plain"),
            *("MLPRegressor loss gaussian", "names of features"),
            *("TabMLPClassifier words", "TabMLPClassifier labels", "TabMLPRegressor two outputs"),
            *("TabMLPRegressor loss gaussian", "TabMLPRegressor weights"),
            *("TabMLPRegressor trends", "TabMLPSurvival times"),
            *("TabMLPClassifier updates", "TabMLPRegressor updates"),
        )
    ),
    "TabMLPRegressor truths": lambda: stored.table(
        fastmlp.TabMLPRegressor, stored.Y, stored.frame()[["truth"]]
    ),
    "TabMLPRegressor forms": lambda: stored.table(
        fastmlp.TabMLPRegressor, stored.Y, stored.forms()
    ),
}


def decode(text: bytes) -> files.Content:
    """Return the content of a file in memory."""
    return files.content_of(io.BytesIO(text).readinto, len(text), header_only=False)


def load(text: bytes, verify: bool = True) -> Any:
    """Load what is in memory."""
    return storage.rebuild(decode(text), verify=verify)


# ------------------------------------------------------------------------------- fuzz by structure

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 255, 625, 2**31, 2**32, 2**53, 2**53 + 1, 2**63, 2**64),
    *(0.0, -0.0, 0.5, 1.0, -1.5, 1e308, 1e-320, float("nan"), float("inf")),
    *("", "0", "relu", "MLP", "Huber", "float64", "0x1", "nan", "\ud800", "\0", "../x", "x" * 1100),
    *([], [0], [[]], [1, 2, 3], {}, {"class": "Huber"}, {"tuple": []}, {"float": "inf"}),
    *({"int": hex(2**70)}, {"array": "layers.0.weight"}, {"object": {"class": "SGD"}}),
    *({"generator": {"class": "PCG64"}}, {"strings": "fit.labels.classes"}, {"dict": [[1, 2]]}),
)
BITS = (0, 1, 0x7F, 0x80, 0xFF)


def somewhere(rng: np.random.Generator, header: Header) -> tuple[Any, Any]:
    """Return a random place, a container and its key; every second one is in the description."""
    place: Any = header
    if rng.integers(2):
        place = header.get("__metadata__", {}).get("model", header)
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = keys[rng.integers(len(keys))]
        if not (isinstance(place[key], dict | list) and place[key] and rng.integers(5)):
            return place, key
        place = place[key]


def mutated(rng: np.random.Generator, header: Header, payload: bytes) -> bytes:
    """Return a file in which a few things are otherwise; the header is changed in place."""
    for _ in range(1 + rng.integers(3)):
        mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
        with contextlib.suppress(KeyError, IndexError, AttributeError, TypeError, ValueError):
            # Where an earlier change has left nothing to change.
            payload = mutate(rng, *somewhere(rng, header), somewhere(rng, header), payload)
    text = together(header, payload)
    return spoiled(rng, text) if rng.integers(8) == 0 else text


def spoiled(rng: np.random.Generator, text: bytes) -> bytes:
    """Return a file with other bytes: changed, cut out or put in, wherever."""
    at, n = int(rng.integers(len(text))), int(rng.integers(1, 9))
    new = bytes(rng.choice(BITS, n).tolist()) if rng.integers(2) else rng.bytes(n)
    return text[:at] + new * int(rng.integers(2)) + text[at + n * int(rng.integers(2)) :]


def _odd(rng: Any, place: Any, key: Any, other: Any, payload: bytes) -> bytes:
    place[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
    return payload


def _remove(rng: Any, place: Any, key: Any, other: Any, payload: bytes) -> bytes:
    del place[key]
    return payload


def _copy(rng: Any, place: Any, key: Any, other: Any, payload: bytes) -> bytes:
    place[key] = copy.deepcopy(other[0][other[1]])
    return payload


def _add(rng: Any, place: Any, key: Any, other: Any, payload: bytes) -> bytes:
    value = copy.deepcopy(other[0][other[1]])
    if isinstance(place, list):
        place.insert(key, value)
    else:
        place[str(other[1])] = value
    return payload


def _nudge(rng: Any, place: Any, key: Any, other: Any, payload: bytes) -> bytes:
    value = place[key]
    if isinstance(value, str) and value:
        at = int(rng.integers(len(value)))
        place[key] = value[:at] + chr(int(rng.integers(1, 0x180))) + value[at + 1 :]
    elif isinstance(value, int | float):
        place[key] = (value + 1, value - 1, -value, value * 2, float(value))[rng.integers(5)]
    elif isinstance(value, list):
        value.reverse()
    return payload


def _numbers(rng: Any, place: Any, key: Any, other: Any, payload: bytes) -> bytes:
    if not payload:
        return payload
    at = 4 * int(rng.integers(len(payload) // 4 + 1))
    new = rng.choice([np.nan, np.inf, 0, -1, 1e-44, 3e38]).astype("<f4").tobytes()
    return payload[:at] + new + payload[at + 4 :]


MUTATIONS = (_odd, _odd, _remove, _copy, _add, _nudge, _nudge, _numbers)


def used(model: Any) -> None:
    """Use a model that was loaded, as far as it says that it can be used."""
    if isinstance(model, fastmlp.MLP | fastmlp.reference.MLP):
        x = np.ones((3, model.layer_sizes[0]))
        model.predict(x)
        target = np.zeros(3, int) if model.loss.target_kind == "class" else np.zeros((3, 2))
        if model.layer_sizes[-1] == 2:
            # What is in a file may be far from anything that can be trained.
            with contextlib.suppress(fastmlp.DivergenceError):
                model.partial_fit(x, target, optimizer=fastmlp.SGD(0.01, momentum=0.9))
    elif isinstance(model, fastmlp.Ensemble):
        for member in model:
            used(member)
        model.predict(np.ones((3, model[0].layer_sizes[0])))
    elif hasattr(model, "rows_"):
        use_table(model)
    elif hasattr(model, "n_features_in_"):
        with warnings.catch_warnings(action="ignore"):  # names of features
            model.predict(np.ones((3, model.n_features_in_)))


def use_table(model: Any) -> None:
    """Use an estimator of tables in all that it has."""
    X = np.ones((3, model.n_features_in_), object)
    columns = fitted_of(model).columns
    forms = [(place, column) for place, column in columns.numbers if column.form]
    X[:, [place for place, _ in (*columns.categories, *forms)]] = None  # missing, of any kind
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):  # names of features
        model.predict(X)
        str(model.report())
        assert len(model.oof_prediction_)
        if hasattr(model, "predict_interval"):
            model.predict_interval(X)
            model.log_density(X, np.ones((3, model.n_outputs_)))
    for rows in fitted_of(model).held_out.rows:
        fitted_of(model).held_out.predictions[rows]


def fuzz(rng: np.random.Generator) -> Iterator[float]:
    """Load mutated files; yield the CPU seconds of each. Only one kind of error may come."""
    bases = [(json.dumps(header), payload) for header, payload in map(apart, map(valid, VALID))]
    for _ in range(FUZZED):
        text, payload = bases[rng.integers(len(bases))]
        file = mutated(rng, json.loads(text), payload)
        began = time.process_time()
        with contextlib.suppress(fastmlp.ModelFormatError), warnings.catch_warnings(action="error"):
            used(load(file, verify=False))
        seconds = time.process_time() - began
        assert seconds < SLOW, f"a file took {seconds:.2f} s"
        yield seconds


def refused(text: bytes) -> None:
    """Fail unless a file is refused; with its digest ignored it may be a model."""
    try:
        content = decode(text)
        metadata = content.header.metadata
        assert content.digest != metadata.get("digest"), "the digest has not seen it"
        storage.rebuild(content, verify=False)
    except fastmlp.ModelFormatError:
        return


TRIALS = {"files changed in structure": fuzz}
