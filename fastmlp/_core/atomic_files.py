"""Write files completely or not at all.

A save writes a temporary file beside the old one, flushes it to the disk and renames it, so that
the path always leads to the old file or to the new one. A process holds a lock on its temporary
file. Saves do not wait for locks: if one name is taken, the next one is used. A later save removes
the temporary files of processes that were killed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

fcntl: Any = None  # without locks two processes must not save to one file at the same time
if find_spec("fcntl"):
    fcntl = import_module("fcntl")

TEMPORARY = ".{}.saving"
NEW_FILE = 0o666  # less the umask
CHUNK = 1 << 20


def write(path: str | os.PathLike[str], pieces: Sequence[Any]) -> None:
    """Replace a file by some pieces, or leave it and raise OSError; a link leads to the file."""
    write_together({path: pieces})


def write_together(contents: Mapping[Any, Sequence[Any]]) -> None:
    """Replace the files at several paths as `write` does, after all of them are written."""
    with contextlib.ExitStack() as stack:
        for path, pieces in contents.items():
            stack.enter_context(_replacing(path, pieces))


@contextlib.contextmanager
def _replacing(path: str | os.PathLike[str], pieces: Sequence[Any]) -> Iterator[None]:
    """Write a temporary file on entry, and rename it to the path on exit without an error."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():  # the error for the temporary file would be misleading
        message = "the folder of the file does not exist: make it"
        raise FileNotFoundError(errno.ENOENT, message, str(target.parent))
    old = target.stat().st_mode if target.exists() else None
    if old is not None and not stat.S_ISREG(old):
        raise OSError(errno.EINVAL, "only a file can be replaced", str(target))
    temporary, descriptor = _temporary(target)
    try:
        os.ftruncate(descriptor, 0)
        if old is not None:
            os.fchmod(descriptor, stat.S_IMODE(old))
        for piece in pieces:
            for chunk in chunks(piece):
                while chunk:
                    chunk = chunk[os.write(descriptor, chunk) :]
        os.fsync(descriptor)
        yield
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the new name
        finally:
            os.close(folder)
    except BaseException as error:
        with contextlib.suppress(OSError):
            if _is_at(descriptor, temporary):
                temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)
        raise
    finally:
        os.close(descriptor)  # this also releases the lock


def _temporary(target: Path) -> tuple[Path, int]:
    """Lock the first temporary file that is not locked; remove later ones of killed processes."""
    first = TEMPORARY.format(target.name)
    names = (first + (f".{n}" if n else "") for n in itertools.count())
    while (descriptor := _locked(temporary := target.with_name(next(names)))) is None:
        continue
    while fcntl is not None and os.path.lexists(left := target.with_name(next(names))):
        if (other := _locked(left)) is None:
            break
        left.unlink()
        os.close(other)
    return temporary, descriptor


def _locked(temporary: Path) -> int | None:
    """Open a file and lock it; return None if it is locked already."""
    while True:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, NEW_FILE)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder of the lock may have renamed or removed the file.
            if _is_at(descriptor, temporary):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a path leads to this open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def chunks(piece: Any) -> Iterator[memoryview]:
    """Yield the bytes of a piece in chunks."""
    whole = memoryview(piece)
    for start in range(0, len(whole), CHUNK):
        yield whole[start : start + CHUNK]
