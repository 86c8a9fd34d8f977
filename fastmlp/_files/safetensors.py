"""The safetensors container: a JSON header, then the arrays one after the other.

Eight bytes hold the header's length, then come the header and the payload; the format is described
at https://github.com/huggingface/safetensors. Every safetensors reader reads these files. Reading
is stricter than the format: names, offsets, sizes and alignment have one right form.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import string
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.atomic_files import chunks
from fastmlp._files.strangers import kind_of
from fastmlp._files.strict_json import (
    MOST_STRING,
    ModelFormatError,
    check,
    check_each,
    parse,
    shown,
)

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "|b1"},
        **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1"},
        **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1"},
    }.items()
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

MOST_HEADER = 1 << 20  # bytes
MOST_TENSORS = 8192  # an MLP with 1,024 entries of layer_sizes and Adam's moments has 6,138
MOST_NAME = 256  # characters
MOST_DIMENSIONS = 4
ALIGNMENT = 8  # bytes; the payload's offset in the file is a multiple of it
PREFIX = struct.Struct("<Q")
METADATA = "__metadata__"
DESCRIPTION = "model"  # the key in the metadata
BLANK = "00" * hashlib.sha256().digest_size  # placeholder for the digest while it is computed


@dataclass(frozen=True)
class Entry:
    """Dtype and shape of one array, and its bytes of the payload, from start to stop - 1."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """The part of a file before the payload."""

    metadata: dict[str, str]
    entries: dict[str, Entry]

    @property
    def payload(self) -> int:
        """Bytes of the payload, in which the entries follow each other."""
        return next(reversed(self.entries.values())).stop if self.entries else 0


# ---------------------------------------------------------------------------------------- writing


def encoded(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> list[Any]:
    """Return a file's pieces; in the metadata is the SHA-256 of the file with zeros for it."""
    # Arrays with large elements come first, which aligns each array without gaps.
    order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    arrays = [
        np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).reshape(-1)  # little-endian
        for tensor in map(tensors.__getitem__, order)
    ]
    header: dict[str, Any] = {METADATA: {"digest": BLANK, **metadata}}
    at = 0
    for name, array in zip(order, arrays, strict=True):
        offsets = [at, at + array.nbytes]
        shape = list(tensors[name].shape)
        header[name] = {"dtype": NAMES[array.dtype], "shape": shape, "data_offsets": offsets}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    too_many = len(arrays) > MOST_TENSORS
    if too_many or len(text) > MOST_HEADER:
        raise ValueError(
            f"the model has {len(arrays):,} arrays and a description of {len(text):,} bytes but a "
            f"file has room for {MOST_TENSORS:,} and {MOST_HEADER:,}: save a smaller model"
        )
    pieces: list[Any] = [PREFIX.pack(len(text)), text, *(a.view(np.uint8).data for a in arrays)]
    digest = hashlib.sha256()
    for piece in pieces:
        for chunk in chunks(piece):
            digest.update(chunk)
    pieces[1] = text.replace(BLANK.encode(), digest.hexdigest().encode(), 1)
    return pieces


# ---------------------------------------------------------------------------------------- reading


def header_length(prefix: bytes, size: int) -> int:
    """Return the length of the header from the first bytes of a file of ``size`` bytes."""
    words = f"it has {len(prefix)} bytes but the length of the header alone takes {PREFIX.size}"
    check(len(prefix) == PREFIX.size, words)
    (length,) = PREFIX.unpack(prefix)
    is_text = length > MOST_HEADER and {*prefix} <= {*string.printable.encode()}
    check(not is_text, "it is text, such as CSV, and no model: it begins with {}", prefix)
    words = f"its first {PREFIX.size} bytes announce a header of {length:,} bytes but"
    # Only invalid lengths tell the kind of a file: a valid one may begin with the same bytes.
    if length > MOST_HEADER:
        other = f"it is another kind of file, or damaged: {words} {MOST_HEADER:,} are the most"
        raise ModelFormatError(kind_of(prefix) or other)
    check(length <= size - PREFIX.size, f"{words} the file has {size:,}: cut off")
    words = f"the header has {length:,} bytes: the payload is misaligned"
    check(length % ALIGNMENT == 0, words)
    return int(length)


def read_header(text: bytes, payload: int) -> Header:
    """Return a header, checked against the number of bytes that follow it."""
    descriptions = parse(text, "header", long_strings=1)  # the description
    metadata = descriptions.pop(METADATA, None)
    words = "it has no metadata: a safetensors file, but no model of fastmlp"
    check(isinstance(metadata, dict), words)
    for key, value in metadata.items():
        check(isinstance(value, str), "{} of the metadata is {} and no string", key, value)
        few = len(value) <= MOST_STRING or key == DESCRIPTION
        check(few, f"{{}} of the metadata has {len(value):,} characters", key)
    words = f"it has {len(descriptions):,} tensors but {MOST_TENSORS:,} are the most"
    check(len(descriptions) <= MOST_TENSORS, words)
    entries, at = {}, 0
    for name, description in descriptions.items():
        try:
            entries[name] = entry = _entry(name, description, at)
        except ModelFormatError as error:
            raise ModelFormatError(f"tensor {shown(name)} {error}") from None
        at = entry.stop
    check(at <= payload, f"the tensors end at byte {at:,} of a payload of {payload:,}")
    check(at >= payload, f"{payload - at:,} bytes follow the last tensor")
    return Header(metadata, entries)


_FIELDS = operator.itemgetter("dtype", "shape", "data_offsets")


def _entry(name: str, description: Any, at: int) -> Entry:
    keys = sorted(description) if isinstance(description, dict) else None
    check_each(
        (0 < len(name) <= MOST_NAME, f"has a name of {len(name)} characters"),
        (keys is not None, "is {} and no object", description),
        (keys == ["data_offsets", "dtype", "shape"], "has the keys {}", keys),
    )
    name, shape, offsets = _FIELDS(description)
    dtype: Any = DTYPES.get(name) if isinstance(name, str) else None
    check_each(
        (dtype, "has the dtype {}, which is none of ours", name),
        (_are_counts(shape) and len(shape) <= MOST_DIMENSIONS, "has the shape {}", shape),
        (_are_counts(offsets) and len(offsets) == 2, "has the offsets {}", offsets),
    )
    start, stop = offsets
    how = "overlaps what is" if start < at else "leaves a hole"
    n_bytes = math.prod(shape) * dtype.itemsize  # Python's integers do not overflow
    words = f"has {stop - start:,} bytes but its shape {{}} has {n_bytes:,}"
    check_each(
        (start == at, f"begins at byte {start:,} and {how} before {at:,}"),
        (stop - start == n_bytes, words, shape),
        (start % dtype.itemsize == 0, f"begins at byte {start:,}: misaligned for {name}"),
    )
    return Entry(dtype, tuple(shape), start, stop)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and {*map(type, value)} <= {int} and min(value, default=0) >= 0


def views(header: Header, payload: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each name with a read-only view of its part of the payload."""
    payload.flags.writeable = False
    for name, entry in header.entries.items():
        array = payload[entry.start : entry.stop].view(entry.dtype).reshape(entry.shape)
        if entry.dtype == np.bool_:
            is_right = array.view(np.uint8).max(initial=0) <= 1
            check(is_right, "tensor {} has truth values that are neither 0 nor 1", name)
        yield name, array
