"""Read a file of the format once, from beginning to end, with nothing but ``open``."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp._core.atomic_files import check_path, chunks
from fastmlp._files import safetensors
from fastmlp._files.safetensors import Entry, Header
from fastmlp._files.strict_json import MOST_STRING, ModelFormatError

# Bytes at the beginning of an array, of which `inspect` reads no more.
MOST_FIRST_BYTES = 64 * MOST_STRING


@dataclass
class Content:
    """A file that was read."""

    header: Header
    payload: NDArray[np.uint8]  # the bytes of the arrays; empty if only some arrays were wanted
    size: int  # bytes of the file
    digest: str  # SHA-256 as in safetensors.encoded; empty if the payload was not read
    firsts: dict[str, NDArray[Any]] = field(default_factory=dict)  # first rows of wanted arrays


def read(path: str | os.PathLike[str], only: Sequence[str] | None = None) -> Content:
    """Read a whole file, or only its header and the first rows of some arrays."""
    check_path(path)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ModelFormatError(
            "it is a symbolic link: pass the file that it leads to, os.path.realpath(path)"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelFormatError("it is a folder, a pipe or a device, and no file")
        size = status.st_size
        content = content_of(lambda room: os.readv(descriptor, [room]), size, only is not None)
        entries, start = content.header.entries, size - content.header.payload
        for name in only or ():
            if name in entries:
                content.firsts[name] = _first_rows(descriptor, start, entries[name])
        return content
    finally:
        os.close(descriptor)


def _first_rows(descriptor: int, start: int, entry: Entry) -> NDArray[Any]:
    """Return the first rows of an array, as many as are short; the payload begins at start."""
    width = math.prod(entry.shape[1:]) * entry.dtype.itemsize
    rows = min(entry.shape[0], MOST_FIRST_BYTES // width) if entry.shape and width else 0
    if not rows:
        return np.empty(0, entry.dtype)
    text = os.pread(descriptor, rows * width, start + entry.start)
    if len(text) < rows * width:
        raise ModelFormatError("it was cut off while it was read")
    return np.frombuffer(text, entry.dtype).reshape(rows, *entry.shape[1:])


def content_of(fill: Callable[[memoryview], int], size: int, header_only: bool) -> Content:
    """Read with ``fill``, which puts the next bytes into a buffer and returns their number."""
    prefix = bytes(_next(fill, min(size, safetensors.PREFIX.size)))
    length = safetensors.header_length(prefix, size)
    text = bytes(_next(fill, length))
    header = safetensors.read_header(text, size - len(prefix) - length)
    if header_only:
        return Content(header, np.empty(0, np.uint8), size, "")
    digits = header.metadata.get("digest", safetensors.BLANK)
    digest = hashlib.sha256(prefix)
    digest.update(text.replace(digits.encode(), safetensors.BLANK.encode(), 1))
    payload = _next(fill, header.payload, digest)
    if fill(memoryview(bytearray(1))):
        raise ModelFormatError("it grew while it was read")
    return Content(header, payload, size, digest.hexdigest())


def memory() -> int:
    """Return the bytes of this machine's memory, or 2**63 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**63


def _next(fill: Callable[[memoryview], int], size: int, digest: Any = None) -> NDArray[np.uint8]:
    """Return the next bytes, and update the digest with them."""
    try:
        if size > memory():  # a sparse file may claim any size
            raise MemoryError
        room = np.empty(size, np.uint8)
    except MemoryError:
        words = f"its arrays take {size:,} bytes, for which there is no memory here"
        raise ModelFormatError(words) from None
    for chunk in chunks(room.data):
        left = chunk
        while left:
            n = fill(left)
            if n == 0:
                raise ModelFormatError("it was cut off while it was read")
            left = left[n:]
        if digest is not None:
            digest.update(chunk)
    return room
