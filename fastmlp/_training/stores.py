"""Files on a disk and in stores: which ones a path names, and reading that is tried again.

A file is listed once, whatever links lead to it. Messages show no passwords and no queries of
addresses, which may hold signatures.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from fastmlp._core.optional import require

T = TypeVar("T")
WILD = re.compile(r"[*?\[]")
HIDDEN = "._"  # first characters of names that folders and patterns leave out, as Arrow does
PAUSES = (0.1, 0.5, 2.0)  # seconds before the further attempts at reading from a store
# Errors of a store for which a further attempt is useless; others may pass, even a missing file.
LASTING = (PermissionError, ValueError, TypeError, MemoryError, ImportError)


class Files(NamedTuple):
    """The files that a path names."""

    store: Any  # Arrow's file system
    paths: list[str]
    folder: str | None  # folders such as ``key=value`` below it are columns


def files_of(paths: Iterable[Any], filesystem: Any) -> Iterator[Files]:
    """Yield the files of each path of a file or folder, and of each pattern."""
    listed: set[str] = set()  # real paths
    for path in paths:
        store, text = _store(os.fspath(path), filesystem)
        files = retried(partial(_files, store, text), text, is_local(store))
        if is_local(store):
            files = files._replace(paths=_unlisted(files.paths, listed))
        if files.paths:
            yield files


def is_local(store: Any) -> bool:
    """Whether a file system is the disk of this machine."""
    return bool(store.type_name == "local")


def retried(
    read: Callable[[], T], path: str, is_local: bool, pauses: Sequence[float] = PAUSES
) -> T:
    """Return ``read()``, after a few attempts at a store; an error names the file."""
    try:
        return read()
    except Exception as error:
        if is_local or not pauses or isinstance(error, LASTING):
            raise _named(error, path, is_local) from None
    time.sleep(pauses[0])
    return retried(read, path, is_local, pauses[1:])


def without_secrets(text: str) -> str:
    """Return a text without the passwords and the queries of its addresses."""
    text = re.sub(r"(://)[^\s?'\"]*@", r"\1", text)
    return re.sub(r"(://[^\s?'\")]*)\?[^\s'\")]*", r"\1", text)


def _named(error: Exception, path: str, is_local: bool) -> Exception:
    """Return an error with the path of its file, and of a store a new one without secrets."""
    if not is_local:
        kind = next((k for k in (FileNotFoundError, *LASTING) if isinstance(error, k)), OSError)
        text = f"{type(error).__name__}: {error}" if kind is OSError else str(error)
        error = kind(without_secrets(text))
    error.add_note(f"in {without_secrets(path)}")
    return error


def _store(text: str, filesystem: Any) -> tuple[Any, str]:
    """Return the file system of a path or address, and the path in it."""
    fs = require("ArrowBlocks", "pyarrow.fs")
    if filesystem is None and "://" in text:
        store, text = retried(partial(_of_address, fs, text), text, is_local=False)
        return store, text
    if filesystem is None:
        return fs.LocalFileSystem(), text
    if isinstance(filesystem, fs.FileSystem):
        return filesystem, text
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), text


def _of_address(fs: Any, address: str) -> Any:
    """Return the file system of an address, by Arrow or by fsspec, and the path in it."""
    try:
        return fs.FileSystem.from_uri(address)
    except ValueError:
        return fs.FileSystem.from_uri(f"fsspec+{address}")


def _files(store: Any, path: str) -> Files:
    """Return the files of one path, in the order of their names."""
    fs = require("ArrowBlocks", "pyarrow.fs")
    kind, wild = store.get_file_info(path).type, WILD.search(path)
    is_folder = kind == fs.FileType.Directory
    if kind == fs.FileType.File or not (is_folder or wild):
        return Files(store, [path], None)
    head = path if wild is None else path[: wild.start()]
    folder = path if is_folder else head[: head.rfind("/") + 1]
    pattern = path[len(folder) :]
    base = folder.rstrip("/") or folder or "."
    if "**" in pattern:
        raise ValueError(
            f"the pattern {path} has ** but * alone is expected: pass the folder {base}, for all "
            "files in it"
        )
    names: Iterator[str]
    if not is_local(store):
        is_deep = is_folder or "/" in pattern
        infos = store.get_file_info(fs.FileSelector(base, recursive=is_deep))
        names = (info.path for info in infos if info.is_file)
    elif is_folder:
        names = _walked(base)
    else:
        found = filter(Path.is_file, Path(base).glob(pattern))
        names = (f"{base.rstrip('/')}/{file.relative_to(base).as_posix()}" for file in found)
    files = sorted(
        name
        for name in names
        if (is_folder or PurePosixPath(name).match(path))
        and not _is_hidden(name[len(base) :].strip("/"), pattern)
    )
    if not files:
        raise FileNotFoundError(
            f"the folder {path} has no files but Parquet files are expected: correct the path"
            if is_folder
            else f"no file matches the pattern {path}"
        )
    return Files(store, files, base)


def _walked(folder: str) -> Iterator[str]:
    """Yield the files of a folder and of those in it, each folder once; links to folders last."""
    folders, links, seen = [folder], list[str](), set[str]()
    while folders or links:
        folder = (folders or links).pop()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{folder.rstrip('/')}/{entry.name}"
                if entry.is_file():
                    yield path
                elif entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)


def _is_hidden(name: str, pattern: str) -> bool:
    """Whether a name below a folder begins with one of `HIDDEN` where the pattern does not."""
    wanted = pattern.split("/") if pattern else repeat("")
    return any(
        part[0] in HIDDEN and not like.startswith(part[0])
        for part, like in zip(name.split("/"), wanted, strict=False)
    )


def _unlisted(paths: list[str], listed: set[str]) -> list[str]:
    """Return the paths of files that are not listed yet, of several the one that is no link."""
    first = []
    for path in sorted(paths, key=lambda path: (Path(path).is_symlink(), path)):
        if (real := os.path.realpath(path)) not in listed:
            listed.add(real)
            first.append(path)
    return sorted(first)
