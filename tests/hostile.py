"""Files that are no models, made by hand and by mutation, for the tests and the campaign.

    python tests/hostile.py --files 10000000    fuzz by structure, so many files

A file is taken apart into header, description and payload, one of them is changed, and it is put
together again with a digest that fits: so that what looks at the change is not the digest.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
import struct
from collections.abc import Callable
from typing import Any

import stored

import fastmlp
from fastmlp import storage
from fastmlp.storage import files, safetensors

Header = dict[str, Any]
FUZZED = int(os.environ.get("FASTMLP_HOSTILE_FILES", "2000"))  # files a turn of the trial
SLOW = 1.0  # seconds that one file may take


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
    return b"".join(storage.pieces(VALID[name]()))


VALID: dict[str, Callable[[], Any]] = {
    "MLP": lambda: stored.mlp(),
    "MLP float64": lambda: stored.MLPS["dropout and names"](
        lambda *sizes, **options: fastmlp.MLP(*sizes, dtype="float64", **options)
    ),
    "reference": lambda: stored.mlp(fastmlp.reference.MLP),
    "generator": lambda: stored.MLPS["generator Philox"](fastmlp.MLP),
    "legacy generator": lambda: stored.MLPS["generator MT19937"](fastmlp.MLP),
    "predictor": lambda: stored.mlp().predictor(),
    **{
        name: lambda name=name: stored.estimators()[name]()
        for name in (
            *("MLPClassifier words", "MLPClassifier word objects", "MLPClassifier schedule"),
            *("MLPClassifier callbacks", "MLPRegressor loss gaussian", "names of features"),
        )
    },
}


def load(text: bytes, verify: bool = True) -> Any:
    """Load what is in memory."""
    return storage.rebuild(files.decode(text), verify=verify)
