"""Write files completely or not at all.

A save writes a temporary file beside the old one, flushes it to the disk and renames it, so that
the path always leads to the old file or to the new one. A process creates its temporary file and
holds a lock on it. Saves do not wait for locks: if one name is taken, by another save or by
something that is no file of this user, the next one is used. A later save removes the temporary
files of processes that were killed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

fcntl: Any = None  # no locks: two processes must not save to one file at the same time
if find_spec("fcntl"):
    fcntl = import_module("fcntl")

TEMPORARY = ".{}.saving"
LONGEST_NAME = 96  # bytes; with ".saving" a longer name could exceed the limit of a file system
NEW_FILE = 0o666  # less the umask
PERMISSIONS = 0o777  # that a new file takes over from the old one
CHUNK = 1 << 20


def check_path(path: object) -> None:
    """Raise TypeError for what is no name of a file, such as bytes, perhaps the content of one."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"path is {path!r:.60} ({type(path).__name__}) but the name of a file is expected: "
            "pass a str or a pathlib.Path"
        )


def write(path: str | os.PathLike[str], pieces: Iterable[Any]) -> None:
    """Replace a file by some pieces, or leave it and raise OSError; a link leads to the file."""
    with _replacing(path, pieces):
        pass


def write_together(contents: Mapping[Any, Sequence[Any]]) -> None:
    """Replace the files at several paths as `write` does, after all of them are written."""
    with contextlib.ExitStack() as stack:
        for path, pieces in contents.items():
            stack.enter_context(_replacing(path, pieces))


@contextlib.contextmanager
def _replacing(path: str | os.PathLike[str], pieces: Iterable[Any]) -> Iterator[None]:
    """Write a temporary file on entry, and rename it to the path on exit without an error."""
    check_path(path)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():  # the error for the temporary file would be misleading
        message = "the folder of the file does not exist: make it"
        raise FileNotFoundError(errno.ENOENT, message, str(target.parent))
    old = target.stat().st_mode if target.exists() else None
    if old is not None and not stat.S_ISREG(old):
        raise OSError(errno.EINVAL, "only a file can be replaced", str(target))
    temporary, descriptor = _temporary(target)
    try:
        if old is not None:
            os.fchmod(descriptor, old & PERMISSIONS)
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


def _temporary_name(name: str) -> str:
    """Return the name of the temporary file in which a file is written, if that name is free."""
    if len(whole := os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(whole).hexdigest()
    return TEMPORARY.format(name)


def _temporary(target: Path) -> tuple[Path, int]:
    """Create and lock the first temporary file whose name is free; remove later leftovers."""
    first = _temporary_name(target.name)
    names = (target.with_name(first + (f".{n}" if n else "")) for n in itertools.count())
    while (descriptor := _created(temporary := next(names))) is None:
        continue
    while fcntl is not None and os.path.lexists(left := next(names)) and _removed(left):
        continue
    return temporary, descriptor


def _created(temporary: Path) -> int | None:
    """Create a file, after removing a leftover, and lock it; return None if the name is taken."""
    while True:
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE)
        except FileExistsError:
            if not _removed(temporary) and os.path.lexists(temporary):
                return None
            continue
        try:
            if _is_locked(descriptor, temporary):
                return descriptor
        except BaseException:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        os.close(descriptor)  # another save has taken it for a leftover


def _removed(left: Path) -> bool:
    """Remove what a killed process has left: a file of this user, of one name, without a lock."""
    try:
        descriptor = os.open(left, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a FIFO may wait
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not (is_ours and status.st_nlink == 1 and _is_locked(descriptor, left)):
            return False
        left.unlink()
        return True
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, path: Path) -> bool:
    """Lock a file; return whether nobody else has locked, renamed or removed it."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return _is_at(descriptor, path)


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
