"""The two ways in which a command can fail, and their exit codes."""

from __future__ import annotations

import os
from pathlib import Path


class CommandError(Exception):
    """Something is wrong with the data, the model or the machine; the exit code is 1."""


class UsageError(Exception):
    """The arguments do not go together; the exit code is 2."""


def check_writable(*paths: str | None) -> None:
    """Refuse output files whose folder is missing or read-only, before any work is done."""
    for path in filter(None, paths):
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise CommandError(f"{path} cannot be written: there is no folder {folder}: make it")
        if not os.access(folder, os.W_OK):
            raise CommandError(
                f"{path} cannot be written: the folder {folder} is read-only: choose another one"
            )
