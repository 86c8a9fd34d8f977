"""Pairs of options of a fit that exclude each other; docs/compatibility.md shows them."""

from __future__ import annotations

WHOLE_EPOCHS = "pass a callback that is called after epochs only"

# (option, other option): the error class and its message, with names of values in braces.
REFUSALS: dict[tuple[str, str], tuple[type[Exception], str]] = {
    ("metrics", "source"): (
        ValueError,
        "metrics are given, but {name} is a source, whose predictions are not kept: pass arrays, "
        "validation_data=(X, y)",
    ),
    ("metrics", "communicator"): (
        ValueError,
        "metrics are given with a communicator, but they cannot be summed over processes: compute "
        "them in a callback from the predictions of state.model",
    ),
    ("on_batch", "Ensemble"): (
        ValueError,
        "callbacks[{position}] is {callback} and has on_batch but an ensemble trains whole epochs "
        f"in one call: {WHOLE_EPOCHS}",
    ),
    ("on_batch", "L-BFGS"): (
        ValueError,
        "callbacks[{position}] is {callback} and has on_batch but L-BFGS has no batches: "
        f"{WHOLE_EPOCHS}",
    ),
    ("LBFGS", "options of steps"): (
        ValueError,
        "optimizer is {optimizer}, which minimises over all rows at once, but the fit has {name}, "
        "which is for steps over batches: leave it out, or use fastmlp.Adam()",
    ),
    ("LBFGS", "other calls"): (
        ValueError,
        "optimizer is {optimizer} but only the fit of an MLP takes it: use for example "
        "fastmlp.Adam()",
    ),
    ("Checkpoint", "estimator"): (
        ValueError,
        "callbacks[{position}] is {callback} but a fit of MLPClassifier or MLPRegressor cannot go "
        "on from a file: leave it out, or let a callback save state.model; warm_start=True and "
        "partial_fit train further",
    ),
    ("source", "y"): (
        TypeError,
        "y is given but X is a {kind}, a source, whose blocks contain the targets: leave y out",
    ),
    ("source", "sample_weight, dy"): (
        TypeError,
        "{name} is given but X is a source, whose blocks contain it: let it yield (X, y, "
        "sample_weight) or (X, y, sample_weight, dy)",
    ),
    ("source", "Ensemble or estimator"): (
        TypeError,
        "{name} is a {kind}, a source of blocks, but arrays or a table in memory are expected: "
        "pass the rows as arrays; of sources, estimators of tables take an ArrowBlocks, and "
        "MLP.fit, MLP.partial_fit, MLP.evaluate and MLP.predict take all",
    ),
    ("shuffle_buffer", "arrays"): (
        ValueError,
        "shuffle_buffer is given but X is an array, all rows of which are shuffled: leave "
        "shuffle_buffer out",
    ),
    ("shuffle_buffer", "shuffle=False"): (
        ValueError,
        "shuffle_buffer is given but shuffle is False: leave one of them out",
    ),
    ("dy", "loss with a link"): (
        ValueError,
        "{name} is given but the loss is {loss}, whose predictions are a function of the outputs: "
        "use squared_error, huber or another loss whose predictions are the outputs",
    ),
    ("dy", "custom functions"): (
        ValueError,
        "{name} is given but {function} is a function of your own, of whose second derivative the "
        "compiled kernels know nothing: use one of the library",
    ),
    ("dy", "compute"): (
        ValueError,
        "{name} is given but compute is {compute}, which rounds products: make the model without "
        "compute",
    ),
    ("dy", "sparse rows"): (
        ValueError,
        "{name} is given but X is sparse, and derivatives by its inputs are dense: pass "
        "X.toarray()",
    ),
    ("compute", "sparse rows"): (
        ValueError,
        "{name} is sparse but compute is {compute}, which rounds rows to multiply them: make the "
        "model without compute",
    ),
    ("validation_data", "validation_rows"): (
        ValueError,
        "validation_data and validation_rows are given: pass one of them",
    ),
    ("output_gradient", "y, sample_weight, dy"): (
        ValueError,
        "{name} is given with output_gradient, which takes its place: leave {name} out, and "
        "multiply the rows of output_gradient by their weights",
    ),
    ("per_sample", "sample_weight, l1, l2, dy"): (
        ValueError,
        "per_sample is True but sample weights, penalties or dy are given, which gradients of "
        "samples do not have: leave them out, and multiply the gradients by the weights",
    ),
    ("early_stopping", "partial_fit"): (
        ValueError,
        "partial_fit does not support early_stopping=True",
    ),
}


def refusal(option: str, other: str, **values: object) -> Exception:
    """Return the error for a call with both options, given the values in its message."""
    error, message = REFUSALS[option, other]
    return error(message.format(**values))
