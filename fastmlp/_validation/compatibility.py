"""Which options of a fit do not go together: one row for each two, from which every refusal comes.

docs/compatibility.md prints the table; a test compares it, and makes every row refuse.
"""

from __future__ import annotations

import re

WHOLE_EPOCHS = "pass a callback that is called after epochs only"

# (option, other option): the error, and its message, in which names in braces stand for values.
REFUSALS: dict[tuple[str, str], tuple[type[Exception], str]] = {
    ("metrics", "source without validation_data"): (
        ValueError,
        "metrics are given without validation_data, and X is a source, which is not measured after "
        "an epoch: pass validation_data",
    ),
    ("metrics", "communicator"): (
        ValueError,
        "metrics are given with a communicator, but they cannot be summed over processes: measure "
        "in a callback what state.model predicts",
    ),
    ("CustomOptimizer", "communicator"): (
        ValueError,
        "optimizer is {optimizer} but gradients are summed over processes only for fastmlp's own: "
        "use one of those, or leave communicator out",
    ),
    ("CustomOptimizer", "Checkpoint"): (
        TypeError,
        "callbacks have a Checkpoint but a file cannot hold what {optimizer} remembers: for a "
        "Checkpoint use an optimizer of fastmlp's own, or let a callback pickle state.model",
    ),
    ("CustomOptimizer", "groups"): (
        ValueError,
        "groups is {groups} but {optimizer} decides itself what moves how far: leave groups out, "
        "and look at the names of the parameters in the function",
    ),
    ("CustomOptimizer", "Ensemble"): (
        TypeError,
        "optimizer is {optimizer} but an ensemble is trained in one native call: fit the members "
        "one by one, each with MLP.fit",
    ),
    ("on_batch", "Ensemble"): (
        ValueError,
        "callbacks[{position}] is {callback} and has on_batch but an ensemble trains whole epochs "
        f"in one call: {WHOLE_EPOCHS}",
    ),
    ("on_batch", "solver='lbfgs'"): (
        ValueError,
        "callbacks[{position}] is {callback} and has on_batch but the solver lbfgs has no batches: "
        f"{WHOLE_EPOCHS}",
    ),
    ("source", "y"): (
        TypeError,
        "y is given but X is a {kind}, a source, whose blocks bring their targets: leave y out",
    ),
    ("source", "sample_weight"): (
        TypeError,
        "sample_weight is given but X is a source, whose blocks bring their weights: let it yield "
        "(X, y, sample_weight)",
    ),
    ("validation_data", "validation_rows"): (
        ValueError,
        "validation_data and validation_rows are given: pass one of them",
    ),
    ("early_stopping", "partial_fit"): (
        ValueError,
        "partial_fit does not support early_stopping=True",
    ),
}


def refusal(option: str, other: str, **values: object) -> Exception:
    """Return the error for two options that a call has together, with the values it was given.

    Examples
    --------
    >>> refusal("validation_data", "validation_rows")
    ValueError('validation_data and validation_rows are given: pass one of them')
    """
    error, message = REFUSALS[option, other]
    return error(message.format(**values))


def page() -> str:
    """Return docs/compatibility.md."""
    rows = [
        f"| `{option}` | `{other}` | {re.sub('{[a-z]+}', '...', message)} |"
        for (option, other), (_, message) in REFUSALS.items()
    ]
    return "\n".join(
        [
            "# What does not go together",
            "",
            "A call that has both options of a row is refused, before anything changes.",
            "",
            "| option | with | what the error says |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
