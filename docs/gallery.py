"""Runs the examples when the site is built: a page for each one, and the gallery of all of them.

A page has the example's words, the picture of its results, what it printed, and the program.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pictures import BLUE, GREEN, GREY, ORANGE, save
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
FOLDER = Path(__file__).parent / "gallery"

# Field, title and name of each example, and a page of the site that goes on from there.
PROGRAMS = (
    ("Tables", "Prices of cars, with intervals", "prices_with_intervals", "tabular"),
    ("Tables", "Why a loan was rejected", "rejected_loan", "explaining"),
    ("Control", "Keep a pendulum upright", "steer_a_pendulum", "derivatives"),
    ("Surrogate", "Imitate a simulation", "surrogate_of_a_simulation", "prediction"),
    ("Surrogate", "Learn from gradients", "values_and_gradients", "derivatives"),
    ("Sound", "Model an amplifier", "model_an_amplifier", "prediction"),
    ("Microcontroller", "Linearize a sensor", "sensor_on_a_microcontroller", "guides/export-c"),
    ("SQL", "Predict in a query", "predict_in_sql", "guides/other-tools"),
    ("Stream", "Follow a law that changes", "online_learning", "guides/drift"),
    ("Teaching", "A line by gradient descent", "line_by_gradient_descent", "course/divergence"),
    ("Teaching", "A linear map", "linear_map", "course/maps"),
    ("Teaching", "Deep, but linear", "deep_identity", "course/stacked"),
    ("Teaching", "Exclusive or", "nonlinear", "course/nonlinearity"),
    ("Teaching", "Approximate a function", "universal_approximation", "course/approximation"),
    ("Teaching", "The three tasks", "three_tasks", "course/probability"),
)
BEGIN = """# Examples

Programs that run as they stand, by field, with what they show. Each takes less than three seconds;
[`examples/`](../../examples/README.md) has the files, and
[a notebook](../../examples/first_steps.ipynb) about handwritten digits. The
[course](../course/index.md) has a picture in each chapter.

"""


def prices_with_intervals(axes: Any, found: dict[str, Any]) -> None:
    """Draw the prices of cars over the middles of their intervals."""
    middle, half = (found["low"] + found["high"]) / 2, (found["high"] - found["low"]) / 2
    axes.errorbar(middle, middle, half, fmt="none", color=BLUE, alpha=0.3)
    axes.plot(middle, found["truth"], ".", color=ORANGE)
    axes.set(xlabel="middle of the 90 % interval", ylabel="price, interval")


def rejected_loan(axes: Any, found: dict[str, Any]) -> None:
    """Draw how the columns lead from the mean risk to that of the applicant."""
    order = np.argsort(np.abs(found["values"]))
    widths = found["values"][order]
    ends = found["base"] + np.cumsum(widths)
    colors = [ORANGE if width > 0 else BLUE for width in widths]
    axes.barh([found["names"][k] for k in order], widths, left=ends - widths, color=colors)
    axes.axvline(found["base"], color=GREY, linewidth=0.8)
    axes.set(
        xlabel="risk, from the mean to this applicant", xlim=(min(ends) - 0.1, max(ends) + 0.1)
    )


def steer_a_pendulum(axes: Any, found: dict[str, Any]) -> None:
    """Draw the pendulum's angles over time."""
    for (name, angles), color in zip(found["angles"].items(), (ORANGE, BLUE), strict=True):
        axes.plot(0.02 * np.arange(len(angles)), angles, color=color, label=name)
    axes.set(xlabel="seconds", ylabel="angle, degrees")
    axes.legend()


def surrogate_of_a_simulation(axes: Any, found: dict[str, Any]) -> None:
    """Draw predictions over the results of the simulation."""
    axes.plot(found["truth"], found["truth"], color=GREY, linewidth=0.8)
    axes.plot(found["truth"], found["predicted"], ".", color=BLUE, markersize=3)
    axes.set(xlabel="simulated deflection", ylabel="predicted")


def values_and_gradients(axes: Any, found: dict[str, Any]) -> None:
    """Draw the errors with and without derivatives."""
    for k, (name, color) in enumerate((("values", GREY), ("values and derivatives", BLUE))):
        errors = [both[k] for both in found.values()]
        axes.bar(np.arange(3) + 0.35 * k, errors, 0.33, color=color, label=name)
    axes.set_xticks(np.arange(3) + 0.17, list(found))
    axes.set(ylabel="error, standard deviations", yscale="log")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def model_an_amplifier(axes: Any, found: dict[str, Any]) -> None:
    """Draw 25 milliseconds of the string, the amplifier and the network."""
    milliseconds = np.arange(400) / 16
    for name, color, style in ("string", GREY, "-"), ("truth", ORANGE, "-"), ("played", BLUE, ":"):
        axes.plot(milliseconds, found[name][:400], style, color=color, label=name)
    axes.set(xlabel="milliseconds")
    axes.legend()


def sensor_on_a_microcontroller(axes: Any, found: dict[str, Any]) -> None:
    """Draw the errors of the temperature with both kinds of weights."""
    for (name, errors), color in zip(found["errors"].items(), (BLUE, ORANGE), strict=True):
        axes.plot(found["celsius"], errors, color=color, label=name)
    axes.set(xlabel="temperature, degrees Celsius", ylabel="error, degrees")
    axes.legend()


def online_learning(axes: Any, found: dict[str, Any]) -> None:
    """Draw the losses on batches that were not seen yet."""
    means = np.mean(found["losses"].reshape(-1, 20), axis=1)
    axes.semilogy(20 * np.arange(len(means)), means, color=BLUE)
    axes.set(xlabel="batch", ylabel="loss before it is learned")


def line_by_gradient_descent(axes: Any, found: dict[str, Any]) -> None:
    """Draw losses by the size of a step."""
    axes.axhline(found["start_loss"], color=GREY, linewidth=0.8)
    axes.semilogy(list(found["losses"]), list(found["losses"].values()), "o-", color=BLUE)
    axes.set(xlabel="step size, of the largest that can work", ylabel="loss after 20 steps")


def deep_identity(axes: Any, found: dict[str, Any]) -> None:
    """Draw the losses of three models."""
    names = {"best_affine": "least squares", "identity": "deep, identity", "tanh": "deep, tanh"}
    axes.bar(list(names.values()), [found[name] for name in names], color=[GREY, ORANGE, BLUE])
    axes.set(ylabel="loss")


def nonlinear(axes: Any, found: dict[str, Any]) -> None:
    """Draw what each network predicts for the four points."""
    colors = (GREY, ORANGE, BLUE)
    for k, (name, values) in enumerate(found["predictions"].items()):
        axes.bar(np.arange(4) + 0.27 * (k - 1), values, 0.25, color=colors[k], label=name)
    axes.set_xticks(range(4), ["00", "01", "10", "11"])
    axes.set(xlabel="point", ylabel="prediction")
    axes.legend()


def universal_approximation(axes: Any, found: dict[str, Any]) -> None:
    """Draw root mean square errors by width."""
    for name, color in ("built", ORANGE), ("trained", GREEN):
        axes.semilogy(range(5), np.array(found[name])[:, 1], "o-", color=color)
        axes.plot([], [], color=color, label=name)
    axes.set_xticks(range(5), ["2", "4", "8", "16", "32"])
    axes.set(xlabel="width", ylabel="root mean square error")
    axes.legend()


PICTURES = {
    picture.__name__: picture
    for picture in (
        prices_with_intervals,
        rejected_loan,
        steer_a_pendulum,
        surrogate_of_a_simulation,
        values_and_gradients,
        model_an_amplifier,
        sensor_on_a_microcontroller,
        online_learning,
        line_by_gradient_descent,
        deep_identity,
        nonlinear,
        universal_approximation,
    )
}


def result_of(name: str) -> tuple[str, str]:
    """Run an example; return its picture, or "" where none is drawn, and what it printed."""
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = module.main()
    output = f"```text\n{printed.getvalue()}```\n"
    if name not in PICTURES:
        return "", output
    path = FOLDER / f"{name}.png"
    save(path, partial(PICTURES[name], found=found), (5.0, 3.2))
    Image.open(path).quantize(32).save(path, optimize=True)  # all of them are on one page
    return f"![{(PICTURES[name].__doc__ or '')[5:-1]}]({name}.png)", output


def write() -> None:
    """Write the gallery and its pages."""
    FOLDER.mkdir(exist_ok=True)
    cards, names = "", ""
    for field, title, name, more in PROGRAMS:
        picture, output = result_of(name)
        _, words, program = (EXAMPLES / f"{name}.py").read_text("utf-8").split('"""', 2)
        words = words.replace("``", "`").replace("**", r"\*\*")
        link = f"[`examples/{name}.py`](../../examples/{name}.py)"
        (FOLDER / f"{name}.md").write_text(
            f"# {title}\n\n{words}\n{picture}\n\nIt prints:\n\n{output}\nThe program, {link}:\n\n"
            f"```python\n{program.lstrip()}```\n\nMore: [](../{more}.md)\n",
            "utf-8",
        )
        shown = f"[{picture}]({name}.md)" if picture else output
        first = words.partition("\n")[0]
        cards += f":::{{container}}\n{shown}\n\n{field}: [{title}]({name}.md). {first}\n:::\n"
        names += f"{name}\n"
    index = (
        f"{BEGIN}::::{{container}} gallery\n{cards}::::\n\n```{{toctree}}\n:hidden:\n\n{names}```\n"
    )
    (FOLDER / "index.md").write_text(index, "utf-8")
