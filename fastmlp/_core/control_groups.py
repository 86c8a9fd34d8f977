"""The control groups of Linux, which limit the CPUs and the memory of this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def folders(controller: str, root: Path) -> Iterator[tuple[Path, bool]]:
    """Yield this process's groups as folders, innermost first, and whether each has all files."""
    # Limits of the groups above apply, too. In version 2 one folder has those of all controllers.
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder, not controllers
            if folder == top:
                break
