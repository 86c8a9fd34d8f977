"""Draw the README's picture of speed from stored results of the benchmarks `train` and `predict`.

python benchmarks/speed_picture.py docs/figures/speed.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
CASES = ("tiny", "small", "mnist")
NETWORKS = ("8-32-32-1", "64-128-128-10", "784-256-128-10")
# What stands in the results, and what the legend says.
BARS = {
    "fastmlp": ("fastmlp", "fastmlp p(x)"),
    "JAX": ("JAX", "JAX jit"),
    "ONNX Runtime": ("", "ONNX Runtime"),
    "PyTorch": ("PyTorch", "PyTorch jit"),
    "scikit-learn": ("scikit-learn", "scikit-learn"),
}
COLORS = ("#3b7dd8", "#e07b39", "#3a9a5b", "#b05bb0", "#999999")
GREY = "#777777"


def microseconds(found: dict[str, Any], name: str) -> float | None:
    """Return the median time of a library in a case, or None where it was not measured."""
    return next(
        (each["median"] * 1e6 for each in found.get(name, {}).values() if isinstance(each, dict)),
        None,
    )


def main(path: str) -> None:
    """Draw one panel of bars for training and one for the prediction of one row."""
    panels = (
        ("train-avx512.json", "a training step", "{}, 1 threads"),
        ("predict-avx512.json", "prediction of one row", "{}, 1 rows, 1 threads"),
    )
    colors = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), GREY)
    colors |= dict.fromkeys(("xtick.color", "ytick.color"), GREY)
    with mpl.rc_context({"svg.hashsalt": "fastmlp", **colors}):
        figure = Figure(figsize=(9, 3.2), layout="constrained", facecolor="none")
        for column, (axes, (file, title, key)) in enumerate(
            zip(figure.subplots(1, 2), panels, strict=True)
        ):
            results = json.loads((RESULTS / file).read_text(encoding="utf-8"))["results"]
            for k, (library, names) in enumerate(BARS.items()):
                for place, case in enumerate(CASES):
                    time = microseconds(results[key.format(case)], names[column])
                    if time is not None:
                        label = library if not place else None
                        axes.bar(place + 0.16 * (k - 2), time, 0.15, color=COLORS[k], label=label)
            axes.set(yscale="log", title=f"{title}, microseconds", facecolor="none")
            axes.set_xticks(range(len(CASES)), NETWORKS, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        handles, labels = figure.axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=5, loc="outside lower center", frameon=False)
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main(sys.argv[1])
