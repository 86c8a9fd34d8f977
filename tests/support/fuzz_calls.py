"""How fuzzed calls are made and judged; `fuzz` draws those of MLP."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import pickle
import re
import warnings
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import odd
import tolerances
import trials
from fuzz import CALLS, CHUNK, Argument, Call, Case, cases_of_mlp
from states import digest, finite, state

import fastmlp
from fastmlp._models.network import network_of
from fastmlp._network.layer_norm import EPSILON

DOCUMENTED = (TypeError, ValueError, MemoryError, fastmlp.DivergenceError)
EXPECTATION = re.compile(r"\b(but|must|expects?|expected|needs?|cannot|too large|is not|are not)\b")
# Arguments whose value a complaint has to show, and not only its name.
SHOWN = {
    *("epochs", "batch_size", "l1", "l2", "clip_norm", "n_threads", "learning_rate", "rng"),
    "dropout",
}
# Whose complaints may be the user's own: of a function, or of an object asked whether it is true.
FUNCTIONS = {"optimizer", "learning_rate", "verbose", "shuffle"}

SETTINGS = hypothesis.settings(
    max_examples=CHUNK,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def attempt(work: Any, more: tuple[Any, ...] = ()) -> tuple[Any, Exception | None]:
    """Return the result or the documented exception; every other exception passes."""
    quiet = io.StringIO()
    with (
        warnings.catch_warnings(action="ignore"),
        np.errstate(all="ignore"),
        contextlib.redirect_stderr(quiet),
        contextlib.redirect_stdout(quiet),
    ):
        try:
            return work(), None
        except (*DOCUMENTED, *more) as error:
            return None, error


def value_of(arguments: dict[str, Argument]) -> dict[str, Any]:
    """Return the values of arguments."""
    return {name: argument.value for name, argument in arguments.items()}


def called(
    model: Any, twin: Any, call: Call, do: Any, clean: Any, more: tuple[Any, ...] = ()
) -> tuple[Any, Exception | None]:
    """Call a model, and a twin with plain arrays; fail unless both agree, or it is as before.

    ``do(model, call, values)`` makes the call, ``clean(name, value, model)`` makes a value plain.
    """
    what, values = f"{type(model).__name__}.{call}", value_of(call.arguments)
    before, held = state(model), {name: odd.contents(value) for name, value in values.items()}
    result, error = attempt(lambda: do(model, call, values), more)
    after = {name: odd.contents(value) for name, value in values.items()}
    assert after == held, f"{what} has changed its arguments"
    if error is not None and not diverged(error):
        assert str(error), f"{what} says nothing"
        assert state(model) == before, f"{what} failed ({error}) and has changed the model"
        return None, error
    plain = {name: clean(name, value, model) for name, value in values.items()}
    same, same_error = attempt(lambda: do(twin, call, plain), more)
    if isinstance(same_error, OverflowError):  # of a metric of huge integers, in some dtypes
        return result, error
    assert str(same_error) == str(error), f"{what}: {error}, and with plain arrays {same_error}"
    assert digest(same) == digest(result), f"{what} gives other bits with plain arrays"
    assert state(twin) == state(model), f"{what} leaves another model with plain arrays"
    return result, error


def diverged(error: Exception | None) -> bool:
    """Whether a call has ended because numbers ran away."""
    return isinstance(error, fastmlp.DivergenceError) or "non-finite" in str(error)


def do(net: Any, call: Call, values: dict[str, Any]) -> Any:
    """Make one call; what it returns is compared."""
    given = {n: v() if callable(v) and n == "optimizer" else v for n, v in values.items()}
    match call.method:
        case "fit":
            asked = itertools.count(1)
            return net.fit(**given, callbacks=[lambda _: next(asked) >= 2])
        case "call":
            return net.predictor()(given["X"])
        case "predictor":
            return net.predictor(**given).parameters()
        case "assign":
            first, *others = net.weights
            net.weights = [0.5 * first if given["weights"] is None else given["weights"], *others]
            return list(net.weights)
        case "copy":
            net = pickle.loads(pickle.dumps(copy.deepcopy(net)))
            return net.predict(given["X"])
        case method:
            return getattr(net, method)(**given)


def clean(name: str, value: Any, net: Any) -> Any:
    """Return an accepted argument as a plain C-order array of the model's dtype."""
    if name == "validation_data" and value is not None:
        names = ("X", "y", "sample_weight")
        return tuple(clean(n, v, net) for n, v in zip(names, value, strict=False))
    if name not in ("X", "y", "sample_weight") or value is None:
        return value
    array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    labels = name == "y" and array.ndim == 1 and net.loss.target_kind == "class"
    with np.errstate(all="ignore"):
        return np.array(array.astype(np.int64 if labels else net.dtype), order="C")


def check_complaint(error: Exception, arguments: dict[str, Argument], what: str) -> None:
    """Fail if a message does not say what is wrong."""
    if isinstance(error, MemoryError):
        return
    message, strange = str(error), {n: a for n, a in arguments.items() if a.is_odd}
    if FUNCTIONS & set(strange):
        return
    assert EXPECTATION.search(message), f"{what}: {message!r} says no expectation"
    assert len(message) < 2000, f"{what}: a message of {len(message)} characters"
    shown = {n: a for n, a in strange.items() if n in SHOWN and a.value is not None}
    if len(strange) == len(shown) == 1:
        ((name, argument),) = shown.items()
        assert name in message, f"{what}: {message!r} does not name {name}"
        value = repr(argument.value)[:20]
        is_short = isinstance(argument.value, int | float | str | None)
        assert not is_short or value in message, f"{what}: {message!r} does not say {value}"


def check_near(native: Any, textbook: Any, net: Any, call: Call) -> None:
    """Fail if two results that are ordinary numbers are not near each other."""
    native, textbook = numbers(native), numbers(textbook)
    assert native.shape == textbook.shape
    largest = max(1.0, float(np.abs(textbook).max(initial=0.0)))
    if not np.isfinite(textbook).all() or largest > 1e4:
        return  # once numbers run away, differences prove nothing more
    # Of two sums of factors in bfloat16, one may round the other way; a CPU may not round at all.
    is_rounded = any(network_of(net).spec.rounded) and call.method in (
        "fit",
        "partial_fit",
        "gradients",
    )
    if is_rounded or call.method in ("fit", "partial_fit"):
        near = 0.1 if is_rounded else {"float32": 2e-2, "float64": 1e-6}[net.dtype.name]
        assert np.linalg.norm(native - textbook) <= near * max(1.0, np.linalg.norm(textbook))
    else:
        # Outputs y of a layer have rounding errors of about eps |y|. A normalisation divides by the
        # deviation of a row, which is at least sqrt(EPSILON), and near that if all y of the row are
        # nearly equal, as sigmoids of inputs near 0 are: then it amplifies errors so much.
        amplified = EPSILON**-0.5 if any(net.layer_norm) else 1.0
        tolerances.assert_close(native, textbook, "gradient", net.dtype, scale=largest * amplified)


def numbers(value: Any) -> np.ndarray:
    """Return all numbers of a result as one vector."""
    if isinstance(value, fastmlp.History):
        return np.array([*value.loss, *value.val_loss])
    if isinstance(value, list | tuple):
        return np.concatenate([numbers(item) for item in value]) if value else np.zeros(0)
    return np.ravel(np.asarray(value, np.float64))


def check(case: Case) -> int:
    """Make all calls of a case; return how many."""
    trials.note(repr(case))
    kinds = (fastmlp.MLP, fastmlp.MLP, fastmlp.reference.MLP)
    given = value_of(case.parameters)
    found = [attempt(lambda kind=kind: kind(**given)) for kind in kinds]
    errors = {str(error) if not isinstance(error, MemoryError) else "" for _, error in found}
    assert len(errors) == 1, f"native and reference disagree: {errors}"
    (native, error), (twin, _), (textbook, _) = found
    if error is not None:
        check_complaint(error, case.parameters, "MLP")
        return 1
    textbook.weights = list(native.weights)
    # The data of the calls do not fit the sizes of an odd network: who complains first is open.
    fits = not case.parameters["layer_sizes"].is_odd
    for call in case.calls:
        check_call(native, twin, textbook, call, fits)
    return 1 + len(case.calls)


def said(error: BaseException | None) -> str:
    """Return the message, without the addresses of objects that were built for one call."""
    return re.sub("0x[0-9a-f]+", "0x", str(error))


def check_call(native: Any, twin: Any, textbook: Any, call: Call, fits: bool) -> None:
    """Make one call of all three."""
    result, error = called(native, twin, call, do, clean)
    other, complaint = attempt(lambda: do(textbook, call, value_of(call.arguments)))
    if error is not None and not diverged(error):
        assert (type(complaint), said(complaint)) == (type(error), said(error)), call
        check_complaint(error, call.arguments if fits else {}, str(call))
        return
    weights, others = ([*net.weights, *net.biases] for net in (native, textbook))
    assert finite(weights), f"{call} has left non-finite weights"
    if error is complaint is None and not any(a.is_odd for a in call.arguments.values()):
        check_near(result, other, native, call)
        check_near(weights, others, native, call)
    elif error is None and not isinstance(complaint, fastmlp.DivergenceError):
        assert complaint is None, f"{call}: only the reference complains, {complaint}"
    textbook.weights, textbook.biases = list(native.weights), list(native.biases)
    network_of(textbook).rng.bit_generator.state = network_of(native).rng.bit_generator.state


def calls_of(strategy: Any, judge: Any) -> trials.Trial:
    """Return a trial that draws cases until there were CALLS calls."""

    done: list[int] = []

    @SETTINGS
    @hypothesis.given(strategy)
    def run(case: Any) -> None:
        done.append(judge(case))

    def trial(rng: np.random.Generator) -> Iterator[float]:
        count = 0
        while count < CALLS:
            done.clear()
            hypothesis.seed(int(rng.integers(2**32)))(run)()
            count += sum(done)
            yield from [0.0] * sum(done)

    return trial


TRIALS: dict[str, trials.Trial] = {"MLP": calls_of(cases_of_mlp(), check)}
