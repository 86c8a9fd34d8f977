"""Files of other kinds: by their first bytes when they are loaded, by their names when saved."""

from __future__ import annotations

import os
import re
from pathlib import PurePath

# The first bytes, what such a file is, and what reads it.
BEGINNINGS = (
    (rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]", "an ONNX model", "onnxruntime runs it"),
    (
        rb"PK\x03\x04",
        "a zip archive (of PyTorch, Keras or NumPy, perhaps)",
        "open it by its own library; fastmlp.from_torch takes networks of PyTorch",
    ),
    (rb"\x80[\x02-\x05]", "a pickle", "pickle.load or joblib.load reads it, if you trust it"),
    (rb"\x1f\x8b", "gzip", "unpack it"),
    (rb"x[\x01\x5e\x9c\xda]", "zlib, of joblib perhaps", "joblib.load reads it, if you trust it"),
    (rb"\x89HDF", "HDF5, of Keras perhaps", "open it by its own library"),
    (rb"\x93NUMPY", "an array of NumPy's", "numpy.load reads it"),
    (rb".{4}TFL3", "a model of TensorFlow Lite", "LiteRT runs it"),
    (rb"PAR1", "a table in Parquet", "pass it to a fit, for example by pandas.read_parquet"),
    (rb"CBM1", "a model of CatBoost", "open it by its own library"),
    (rb"GGUF", "GGUF", "open it by its own library"),
    (rb"\x7fELF", "a program", "name the file of a model"),
    (rb"<", "HTML or XML", "name the file of a model, not a page about it"),
    (rb"\{", "JSON or UBJSON", "open it by its own library"),
)

# The end of a name, what such files are, and what writes them.
EXPORTS = "to_onnx(path) and to_c(path) write for other programs"
NAMES = {
    ".onnx": ("ONNX", "to_onnx(path) writes that"),
    ".c": ("C", "to_c(path) writes that"),
    **dict.fromkeys((".pt", ".pth"), ("a file of PyTorch", EXPORTS)),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), ("a file of Keras", EXPORTS)),
    **dict.fromkeys(
        (".pkl", ".pickle", ".joblib"), ("a pickle", "pickle.dump(model, file) writes one")
    ),
    ".json": ("JSON", EXPORTS),
}


def kind_of(beginning: bytes) -> str:
    """Return what a file is by its first eight bytes, and what reads it; empty if unknown."""
    for start, kind, remedy in BEGINNINGS:
        if re.match(start, beginning, re.DOTALL):
            return f"it is {kind}, not a model that save has written: {remedy}"
    return ""


def fault_of_name(path: str | os.PathLike[str]) -> str:
    """Return why the name of a safetensors file misleads; empty if it does not."""
    name = PurePath(os.fsdecode(path)).name
    kind, remedy = NAMES.get(PurePath(name).suffix.lower(), ("", ""))
    if not kind:
        return ""
    better = PurePath(name).with_suffix(".safetensors")
    return (
        f"{name!r} has the name of {kind} but save writes safetensors, which fastmlp.load reads: "
        f"name it {str(better)!r}; {remedy}"
    )
