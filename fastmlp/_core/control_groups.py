"""The control groups of Linux, which limit the CPUs and the memory of this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def folders(controller: str, root: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of this process's group, then those of the groups above, whose limits apply.

    Each comes with whether it is of version 2, where one folder has the files of all controllers.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            yield folder, not controllers
            if folder == top:
                break
