"""Files that are no models, by hand: what is done to a valid file, and what is said about it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from hostile import apart, raw, together, valid

DESCRIPTION = ("__metadata__", "model")
GONE = object()
LISTS = ("bytes", "ends")  # the tensors of a list of texts

# What makes a file, and what is said about it.
Row = tuple[Callable[[], bytes], str]


def change(edit: Callable[..., Any]) -> Callable[..., Callable[[], bytes]]:
    """Turn an edit of header and payload into what makes a valid file, by name, after it.

    The edit changes the header in place, or returns another header and payload.
    """

    def prepared(name: str, *args: Any, **options: Any) -> Callable[[], bytes]:
        def make() -> bytes:
            header, payload = apart(valid(name))
            return together(*(edit(header, payload, *args, **options) or (header, payload)))

        return make

    return prepared


@change
def changed(header: Any, payload: bytes, *path: Any, to: Any) -> None:
    """Put another value, or none, somewhere into the header."""
    place = header
    for key in path[:-1]:
        place = place[key]
    value = to(place[path[-1]]) if callable(to) else to
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value


def model(*path: Any, to: Any, name: str = "MLP") -> Callable[[], bytes]:
    """Return the same for the description."""
    return changed(name, *DESCRIPTION, *path, to=to)


def network(key: str, to: Any) -> Callable[[], bytes]:
    return model("network", key, to=to)


def tensor(key: str, to: Any, name: str = "layers.0.weight") -> Callable[[], bytes]:
    return changed("MLP", name, key, to=to)


@change
def filled(header: Any, payload: bytes, tensor: str, values: Any) -> Any:
    """Put other elements into a tensor, from its first one on."""
    start, _ = header[tensor]["data_offsets"]
    bits = np.asarray(values).tobytes()
    return header, payload[:start] + bits + payload[start + len(bits) :]


@change
def renamed(header: Any, payload: bytes, old: str, new: str) -> Any:
    return {new if key == old else key: value for key, value in header.items()}, payload


@change
def swapped(header: Any, payload: bytes, one: str, other: str) -> Any:
    """Exchange two lists of texts."""
    pairs = {f"{a}.{of}": f"{b}.{of}" for a, b in ((one, other), (other, one)) for of in LISTS}
    return {pairs.get(key, key): value for key, value in header.items()}, payload


@change
def longer(header: Any, payload: bytes, name: str, size: int = 0, **description: Any) -> Any:
    """Put one tensor more at the end."""
    offsets = [len(payload), len(payload) + size]
    extra = {"dtype": "F32", "shape": [size // 4], "data_offsets": offsets, **description}
    return {**header, name: extra}, payload + bytes(size)


@change
def out_of_order(header: Any, payload: bytes) -> Any:
    keys = list(header)
    keys[1], keys[2] = keys[2], keys[1]
    return {key: header[key] for key in keys}, payload


@change
def misaligned(header: Any, payload: bytes) -> Any:
    at = len(payload)
    header["x"] = {"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]}
    header["y"] = {"dtype": "F32", "shape": [1], "data_offsets": [at + 1, at + 5]}
    return header, payload + bytes(5)


def with_last(name: str, **description: Any) -> Callable[[], bytes]:
    return longer("MLP", name, **description)


def flipped() -> bytes:
    text = valid("MLP")
    return text[:-1] + bytes([text[-1] ^ 1])


def first(length: int, rest: bytes = b"") -> Callable[[], bytes]:
    return lambda: struct.pack("<Q", length) + rest


def begins(start: bytes) -> Callable[[], bytes]:
    return lambda: start.ljust(8, b"\xff") + bytes(200)


def header_is(text: bytes) -> Callable[[], bytes]:
    return lambda: raw(text, b"")


# First bytes of files of other kinds.
STRANGERS = [
    (b"\x08\x08\x12\x07fast", "an ONNX model"),
    (b"PK\x03\x04\x14", "a zip archive (of PyTorch, Keras or NumPy, perhaps)"),
    (b"\x80\x05\x95", "a pickle"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"x\x9c\xed", "zlib, of joblib perhaps"),
    (b"\x89HDF\r\n\x1a\n", "HDF5, of Keras perhaps"),
    (b"\x93NUMPY\x01\0", "an array of NumPy's"),
    (b"\x1c\0\0\0TFL3", "a model of TensorFlow Lite"),
    (b"PAR1\x15\x04", "a table in Parquet"),
    (b"CBM1\xff", "a model of CatBoost"),
    (b"GGUF\x03", "GGUF"),
    (b"\x7fELF\x02", "a program"),
    (b"<\xff", "HTML or XML"),
    (b"{L\xff", "JSON or UBJSON"),
]
CONTAINER: list[Row] = [
    (lambda: b"", "has 0 bytes"),
    (lambda: valid("MLP")[:7], "has 7 bytes"),
    (lambda: valid("MLP")[:100], "the file has 100: cut off"),
    (lambda: valid("MLP")[:-1], r"end at byte [\d,]+ of a payload"),
    (lambda: valid("MLP") + b"\0", "1 bytes follow the last tensor"),
    (first(2 << 20), "announce a header of 2,097,152 bytes but 1,048,576 are the most"),
    (first(2**63), "announce a header of 9,223,372,036,854,775,808"),
    (first(2**64 - 1), "announce a header of 18,446,744,073,709,551,615"),
    (first(0, bytes(8)), "header begins with b''"),
    (first(9, b"{}" + b" " * 7), "header has 9 bytes: the payload is misaligned"),
    *(
        (begins(start), rf"^it is {re.escape(kind)}, not a model that save has written: [a-zA-Z]")
        for start, kind in STRANGERS
    ),
    (header_is(b' {"a":1}'), "begins with b' '"),
    (header_is(b"[1, 2]"), r"begins with b'\['"),
    (header_is(b"\xef\xbb\xbf{}"), r"begins with b'\\xef'"),
    (header_is(b'{"a":"\xff"}'), "not UTF-8: invalid start byte"),
    (header_is(b'{"a":"\xed\xa0\x80"}'), "not UTF-8: invalid cont"),
    (header_is(b"{a:1}"), "header is not JSON: Expecting property name"),
    (header_is(b'{"a":[1,2'), "header is not JSON: Expecting ',' delimiter"),
    (header_is(b'{"a":1} {"a":1}'), "header is not JSON: Extra data"),
    (header_is(b'{"a\x01":1}'), "header is not JSON: Invalid control"),
    (lambda: raw(b'{"a":1}  ', b"", b"\0"), "not JSON: Extra data at character 9"),
    (header_is(b'{"abc":1,"abc":1}'), "key 'abc' is there twice"),
    (header_is(b'{"a":NaN}'), "NaN is no number"),
    (header_is(b'{"a":Infinity}'), "^[^-]*Infinity is no number"),
    (header_is(b'{"a":-Infinity}'), "-Infinity is no number"),
    (header_is(b'{"a":1e999}'), "number '1e999' is beyond"),
    (header_is(b'{"a":' + b"7" * 5000 + b"}"), "integer '777.* is beyond"),
    (header_is(b'{"a":9007199254740993}'), "integer '9007199254740993' is beyond"),
    (header_is(b'{"a":' + b"[" * 11 + b"]" * 11 + b"}"), "nested more than 10 deep"),
    (header_is(b'{"a":[' + b"[]," * 99999 + b"0]}"), "more than 131,072 parts"),
    (header_is(b'{"a":"' + b"x" * 2000 + b'","b":"' + b"y" * 3000 + b'"}'), "header has a string"),
    (with_last("n" * 1500, size=8), "has a name of 1500 characters"),
    (network("dtype", "f" * 5000), "string of 5,000 bytes"),
    (changed("MLP", "__metadata__", "fastmlp", to="v" * 1200), "fastmlp' of the m.* 1,200"),
    (header_is(rb'{"a":"\ud800"}'), "has half a character in it"),
    (changed("MLP", "__metadata__", to=GONE), "has no metadata"),
    (changed("MLP", "__metadata__", "version", to=1), "is 1 and no str"),
    (changed("MLP", "__metadata__", "format", to="pt"), "file, 'pt', but no"),
    (changed("MLP", "__metadata__", "format", to=GONE), "'without a format', but no"),
    (changed("MLP", "__metadata__", "digest", to=GONE), "have no 'digest'"),
    (changed("MLP", "__metadata__", "version", to=GONE), "have no 'version'"),
    (changed("MLP", "__metadata__", "model", to=GONE), "have no 'model'"),
    (changed("MLP", "__metadata__", "author", to=""), "have 'author', unknown"),
    (changed("MLP", "__metadata__", "version", to="2"), "version 2 of the .* newer"),
    (changed("MLP", "__metadata__", "version", to="0"), "is of version 0"),
    (changed("MLP", "__metadata__", "version", to="one"), "is 'one' and no number"),
    (changed("MLP", "__metadata__", "version", to="²"), r"is '\\xb2' and no num"),
    (changed("MLP", "__metadata__", "version", to="1" * 30), "is '111.*' and no n"),
    (flipped, "its digest is .* was saved"),
    (changed("MLP", "layers.0.bias", to=3), "is 3 and no object"),
    (tensor("data_offsets", GONE), r"keys \['dtype', 'shape'\]"),
    (tensor("strides", [1]), "has the keys .*'strides'"),
    (tensor("dtype", "F8_E4M3"), "dtype 'F8_E4M3', which is none"),
    (tensor("dtype", "O"), "dtype 'O', which is none of ours"),
    (tensor("dtype", ["F32"]), r"dtype \['F32'\], which is none"),
    (tensor("shape", 24), "has the shape 24"),
    (tensor("shape", [3.0, 8]), r"has the shape \[3.0, 8\]"),
    (tensor("shape", [True, 24]), r"has the shape \[True, 24\]"),
    (tensor("shape", [-3, -8]), r"has the shape \[-3, -8\]"),
    (tensor("shape", [1, 1, 1, 3, 8]), r"has the shape \[1, 1, 1, 3, 8\]"),
    (tensor("shape", [4194305, 4194305, 211106198978564]), r"its shape .* has 14,\d+"),
    (tensor("shape", [3, 9]), r"has 96 bytes but its shape \[3, 9\] has 108"),
    (tensor("data_offsets", [0]), r"has the offsets \[0\]"),
    (tensor("data_offsets", [0.0, 96.0]), r"has the offsets \[0.0, 96.0\]"),
    (tensor("data_offsets", lambda at: [at[0] - 8, at[1] - 8]), "and overlaps what"),
    (tensor("data_offsets", lambda at: [at[0] + 8, at[1] + 8]), "and leaves a hole"),
    (tensor("data_offsets", lambda at: at[::-1]), "160 and leaves a hole before 64"),
    (out_of_order("MLP"), "tensor .*begins at byte 16 and leaves a hole before 0"),
    (with_last("x", shape=[99], data_offsets=[0, 0]), "begins at byte 0 and over"),
    (misaligned("MLP"), "begins at byte .*: misaligned for F32"),
    (with_last("layers.9.bias", size=8), "'layers.9.bias' belongs to nothing"),
    (with_last("", size=8), "has a name of 0 characters"),
    (with_last("n" * 300, size=8), "has a name of 300 characters"),
    (
        lambda: raw(
            b"{"
            + b",".join(
                b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % at for at in range(9000)
            )
            + b',"__metadata__":{}}',
            b"",
        ),
        "it has 9,000 tensors but 8,192 are the most",
    ),
]
