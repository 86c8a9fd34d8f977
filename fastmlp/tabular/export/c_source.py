"""Export to C: a file with one function per recipe, and the members' data as constants."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

import fastmlp._export.c_text as text
from fastmlp._export import c
from fastmlp._export.c import arithmetic, layers_of
from fastmlp._export.c_source import Body, Source, largest
from fastmlp._export.layers import stacked
from fastmlp._network.activations import Array
from fastmlp._network.exported import SURROGATES, Layer
from fastmlp.tabular.export.exported import ExportedTable, exported
from fastmlp.tabular.fitted.fitted_table import FittedTable
from fastmlp.tabular.outcome.conformal import offsets_of
from fastmlp.tabular.outcome.temperature import SMALLEST
from fastmlp.tabular.recipe.blend import blended
from fastmlp.tabular.recipe.members import Members
from fastmlp.tabular.table.columns import MISSING, Column, Table
from fastmlp.tabular.table.encoding import NARROWEST, SHARED, Encoding
from fastmlp.tabular.table.rows import DERIVED

MEANINGS = {
    "largest": "Predict probabilities.",
    "each": "Predict probabilities.",
    "hazards": "Predict hazards.",
    None: "Predict.",
}
UNKNOWN = -2  # code of an unknown value; MISSING may be the code of a known one
DOUBLE = np.dtype(np.float64)
# Units of numbers that are no plain ones.
UNITS = {
    "date": "seconds since 1970-01-01 00:00",
    "instant": "seconds since 1970-01-01 00:00 UTC",
    "duration": "seconds",
}
LONGEST = 4095  # bytes of the longest string that all compilers support
RARELY = 0.1  # share of missing values in random rows

C = text.templates("c_table_templates.txt")
# Numbers of the encoding and of the temperature, and the softmax of networks, in these templates.
FIELDS: dict[str, Any] = {
    "largest": "1.7976931348623157e308",
    "narrowest": repr(NARROWEST),
    "shared": SHARED,
    "equal_share": repr(SHARED**-0.5),
    "turn": repr(2 * math.pi),
    "smallest": repr(SMALLEST),
    "softmax": text.C["function"].format(name="softmax", body=text.LINKS["softmax"]),
}
TIMES = """ Dates are seconds since 1970-01-01 00:00, in UTC if
   they had a time zone; time differences are seconds."""


class TableSource(Source):
    """Source and header of a fitted table; ``layers`` are those of each group's members."""

    defined, predict = C["defined"].rstrip(), C["predict"]

    def __init__(
        self,
        model: ExportedTable,
        name: str,
        dtype: np.dtype[Any],
        layers: list[list[list[Layer]]],
        levels: Sequence[float],
    ) -> None:
        kind = None if model.labels is None else model.labels.kind
        self._levels, self._is_regressor = levels, kind is None
        self._categories = [column for _, column in model.columns.categories]
        macro, n_numbers = name.upper(), model.columns.n_numbers
        columns = model.outputs * (2 if model.has_variances else 1)
        recipes = [
            f"{len(net.nets)} of {'-'.join(map(str, net.spec.layer_sizes))}"
            for net in model.networks
        ]
        super().__init__(
            model,
            name,
            dtype,
            DOUBLE,
            title=f"Multi-layer perceptrons of a table, {' and '.join(recipes)} units, written by "
            "fastmlp.",
            parameters="const double *numbers, const int *codes",
            arguments="numbers, codes",
            meaning=MEANINGS[kind],
            outputs=model.outputs,
            columns=columns,
            levels=len(levels),
            and_quantiles=", double *quantiles" if levels else "",
            and_levels=f", and {len(levels)} quantiles at {name}_levels" if levels else "",
            temperature=repr(float(model.temperature)),
            lowest=repr(model.lowest) if np.isfinite(model.lowest) else "-HUGE_VAL",
            rounded="floor" if model.are_counts else "",
            n_inputs=len(model.columns.numbers),
            n_derived=n_numbers - len(model.columns.numbers),
            times=TIMES if any(c.form for _, c in model.columns.numbers) else "",
            n_numbers=n_numbers,
            n_scaled=max(n_numbers, 1),
            n_with_missing=len(model.encoding.with_missing),
            n_categories=len(self._categories),
            numbers=enumerators(f"{macro}_NUMBER", model.columns.numbers),
            categories=enumerators(f"{macro}_CATEGORY", model.columns.categories),
            **FIELDS,
        )
        if levels:
            self.values = [f"const double {name}_levels[{len(levels)}]", *map(repr, levels)]
        if self._is_regressor:
            self.declared.append(C["distribution"])
        if self._categories:
            self.declared.append(C["code"])
            self._texts()
        self._measured()
        fields = self.fields
        part = "each" if kind == "hazards" else kind or "numbers"  # a part of the code
        self._conversions(part, is_stepped=layers[0][0][0].kind == "entries")
        bodies = [
            self._recipe(group, nets, title)
            for group, nets, title in zip(model.groups, layers, recipes, strict=True)
        ]
        groups = "".join(
            C["group"].format(number=g, n=len(nets), share=repr(share), **fields)
            for g, (share, nets) in enumerate(zip(model.shares, layers, strict=True))
        )
        size = C["size_along"]
        if model.has_variances:
            power = model.residuals[0].trust / 2
            size = C["size_of_variances"].format(power=power, **fields)
        quantiles = C["levels"].format(**fields) if levels else ""
        derived = C["derived"].format(**fields) if model.columns.derived else ""
        ends = [text.C["mix"], C["blend"].format(derived=derived, groups=groups, **fields)]
        finish = C[f"finish_{part}"]
        ends.append(finish.format(size=size, quantiles=quantiles, **fields))
        ends += [C["lookup"].format(**fields)] if self._categories else []
        self.write("\n".join(ends), DOUBLE)
        doubles = fields["n_scaled"] + 3 * columns + n_numbers * bool(derived)
        self.stack_bytes = max(body.stack_bytes for body in bodies) + doubles * DOUBLE.itemsize

    @property
    def unit(self) -> float:
        """Scale of network errors: the target's deviation, or 1 for probabilities."""
        scales = [group.scale for group in self.model.groups if group.scale is not None]
        return max((float(scale.factor.max()) for scale in scales), default=1.0)

    def described(self) -> dict[str, Any]:
        """Return the columns in their order, with the values of categories, and the levels."""
        columns = self.model.columns
        texts = (texts_of(column) for column in self._categories)
        return {
            "numbers": [
                {"name": column.name, "unit": unit_of(column)} for _, column in columns.numbers
            ],
            "categories": [
                {
                    "name": column.name,
                    "values": [
                        None if one is None else one.decode(errors="replace") for one in values
                    ],
                }
                for column, values in zip(self._categories, texts, strict=True)
            ],
            "levels": list(self._levels),
        }

    def _conversions(self, part: str, is_stepped: bool) -> None:
        """Add the functions from columns to inputs, and from outputs to predictions."""
        is_divided = part == "largest" and self.model.groups[0].scale is not None
        derive = [C["derive"]] if self.model.columns.derived else []
        put, binned = ("listed", "steps") if is_stepped else ("inputs", "places")
        fields = {"put": C[put], "binned": C[binned], **self.fields}
        for piece in (*derive, C["encode"], C[f"decode_{'divided' if is_divided else part}"]):
            self.code.append(text.with_real(piece.format(**fields), self.dtype))

    # ------------------------------------------------------------ constants

    def _measured(self) -> None:
        """Add the constants of columns and residuals."""
        values = [column.values or () for column in self._categories]
        categories = self.model.encoding.categories
        signs = [column.signs > 0 for column in categories]
        # The signs of a rare value, one bit for each of its `SHARED` inputs, are a 16-bit number.
        bits = [np.packbits(sign, axis=1, bitorder="little") for sign in signs if sign.size]
        self._ends("value_ends", map(len, values))
        for name in ("width", "frequent"):
            of_columns = [getattr(column, name) for column in categories]
            self.array(f"{name}_of", np.array(of_columns, np.int32))
        self._ends("sign_ends", map(len, signs))
        missing = [column.index(None) if None in column else MISSING for column in values]
        self.array("missing_codes", np.array(missing, np.int32))
        shorts = [packed.view("<u2").ravel() for packed in bits]
        self.array("signs", np.concatenate([np.empty(0, np.uint16), *shorts]))
        self.array("with_missing", self.model.encoding.with_missing.astype(np.int32))
        if derived := self.model.columns.derived:
            kinds = [np.full(len(at.of), DERIVED.index(at.kind)) for at in derived]
            self.array("derived_kind", np.concatenate(kinds).astype(np.int32))
            for key, dtype in (("of", np.int32), ("by", float), ("phase", float)):
                values_of = [getattr(at, key) for at in derived]
                self.array(f"derived_{key}", np.concatenate(values_of).astype(dtype))
        residuals = self.model.residuals
        if residuals:
            self.array("rms", np.array([output.rms for output in residuals]))
        if self._levels:
            self.array("offsets", offsets_of(residuals, self._levels))
        if residuals and not self.model.has_variances:
            self._ends("place_ends", (len(output.places) for output in residuals))
            self.array("places", np.concatenate([output.places for output in residuals]))
            self.array("sizes", np.concatenate([output.sizes for output in residuals]))

    def _ends(self, name: str, counts: Iterable[int]) -> None:
        """Add the offsets of parts of an array, and its end."""
        self.array(name, np.cumsum([0, *counts]).astype(np.int32))

    def _texts(self) -> None:
        """Add the texts of category values, and their order by text in each column."""
        texts: list[bytes | None] = []
        order: list[int] = []
        for column in self._categories:
            of_column = texts_of(column)
            keys = [(value is None, value or b"") for value in of_column]
            by_text = sorted(range(len(keys)), key=keys.__getitem__)
            order += [len(texts) + k for k in by_text]  # None is the last
            texts += of_column
        self.constant_bytes += sum(len(value) + 1 for value in texts if value is not None)
        written = ",\n    ".join("0" if value is None else text.string(value) for value in texts)
        array = f"static const char *const texts[{len(texts)}] = {{\n    {written}\n}};\n"
        self.constants |= {
            "texts": array,
            "sorted": text.constants("int", "sorted", np.array(order)),
        }

    def _recipe(self, group: Members, nets: list[list[Layer]], title: str) -> Body:
        """Add the function of one recipe, for its k-th member, and return its body."""
        number = self.model.groups.index(group)
        spec = self.model.networks[number].spec
        body = Body(self, "p", is_many=True, suffix=f"_{number}")
        inputs = spec.layer_sizes[0]
        body.buffers |= {"x": inputs, "p": spec.shapes[-1][1]}

        def constants(kind: str, measured: Any) -> list[str]:
            fields = measured._asdict().items()
            return [body.constant(f"{kind}_{key}", values) for key, values in fields]

        encoding = group.encoding
        layout = encoding.layout
        self.array(f"bins_{number}", encoding.bins.astype(np.int32))
        self.array(f"places_{number}", np.array([*layout.categories, layout.bins], np.int32))
        clips = [f"clip_{number}", f"far_{number}"]
        for name, limits in zip(clips, encoding.limits, strict=True):
            self.array(name, limits)
        measured = [*constants("number", encoding.numbers), *clips, f"bins_{number}"]
        measured.append(body.constant("known", encoding.seen.astype(np.uint8)))
        measured.append(f"places_{number}")
        layers = stacked(nets)
        is_listed = layers[0].kind == "entries"
        call = f"encode(numbers, codes, {', '.join(measured)}, x, {'at' if is_listed else '0'});"
        body.calls.append(f"const int listed = {call}" if is_listed else call)
        body.network(layers, inputs)
        scale = [] if group.scale is None else constants("target", group.scale)
        body.calls.append(f"decode({', '.join(['p', *scale, 'y'])});")
        member = {"of": f"{title} units", "suffix": f"_{number}", "real": "double", "more": ""}
        self.write(text.C["member"].format(body=body.text(), **member, **self.fields), self.dtype)
        return body

    def main(self, table: Table, few: Array, expected: Array) -> str:
        """Return the self-check for a few of the rows, with their expected predictions."""
        rows, m = table.take(few), self.fields["outputs"]
        codes = np.where(rows.codes == MISSING, UNKNOWN, rows.codes)
        numbers = rows.numbers[:, : self.fields["n_inputs"]]
        arrays = text.constants("double", "numbers", numbers)
        arrays += text.constants("int", "codes", codes.astype(np.int32))
        name, more = "predict", ""
        if self._is_regressor:
            name = "distribution"
            more = f", y + {m}" + (f", y + {2 * m}" if self._levels else "")
        places = "numbers + i * {n_inputs}, codes + i * {n_categories}"
        unit = max(self.unit, largest(expected - expected[:1]))  # ranges may be wider
        return self.self_check(arrays, f"{{name}}_{name}({places}, y{more});", expected, unit)


def enumerators(prefix: str, columns: Iterable[tuple[int, Column]]) -> str:
    """Return distinct C identifiers for columns, as lines: "per cent" becomes PREFIX_per_cent."""
    identifiers: dict[str, None] = {}
    for _, column in columns:
        identifier = prefix + "_" + re.sub(r"\W", "_", column.name, flags=re.ASCII)
        while identifier in identifiers:
            identifier += "_"
        identifiers[identifier] = None
    return "\n    ".join(f"{identifier}," for identifier in identifiers)


def unit_of(column: Column) -> str:
    """Return the unit in which C takes a number: of dates and time differences, or of its text."""
    if column.form is None:
        return ""
    return UNITS.get(column.form.kind, column.form.unit)


def texts_of(column: Column) -> list[bytes | None]:
    """Return a category's values as bytes, None if missing; raise ValueError if C has no form."""
    texts: dict[bytes | None, None] = {}
    for value in column.values or ():
        written = _text(value, column.name)
        if written in texts:
            raise ValueError(
                f"{column.name} has {value!r} and another category of the same text, which C "
                "cannot tell apart: give the column values of one type, and fit again"
            )
        texts[written] = None
    return list(texts)


def _text(value: object, name: str) -> bytes | None:
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None:
        return None
    encoded = plain if isinstance(plain, bytes) else str(plain).encode(errors="replace")
    if SURROGATES.search(str(plain)) or b"\0" in encoded or len(encoded) > LONGEST:
        raise ValueError(
            f"{name} has the category {str(plain)[:40]!r} but text of at most {LONGEST:,} bytes in "
            "UTF-8, none of them 0, is expected: rename it, and fit again"
        )
    return encoded


def write(
    fitted: FittedTable,
    path: str | os.PathLike[str],
    weights: str | None,
    table: Table | None,
    levels: Sequence[float],
) -> c.CFiles:
    """Write the files of a fitted table; arguments are those of the estimators' ``to_c``."""
    model, blend = exported(fitted), fitted.blend
    kind, source = c.kind_of(weights, table, model), c.source_of(path)
    dtype = arithmetic(kind)
    rows = _made_up(model) if table is None else table
    written: list[list[list[Layer]]] = []
    predictions = []  # NumPy computes the layers as they are written
    for group, networks in zip(blend.groups, model.networks, strict=True):
        inputs = [np.asarray(group.encoding.rows(rows, k)) for k in range(len(networks.nets))]
        nets = networks.nets
        if kind not in c.NARROW:  # sums of rounded weights would lose more
            columns = bin_columns(group.encoding)
            nets = tuple(summed(layers, columns) for layers in nets)
            inputs = [steps(x, columns) for x in inputs]
        pairs = [*zip(nets, inputs, strict=True)]
        written.append([layers_of(layers, kind, x) for layers, x in pairs])
        pairs = [*zip(written[-1], inputs, strict=True)]
        z = np.stack([c.outputs(networks.spec, layers, x, dtype) for layers, x in pairs])
        predictions.append(group.joint(z))
    made = TableSource(model, source.stem, dtype, written, levels)
    finish = partial(fitted.calibration.exported, levels=levels)
    in_c = finish(blended(blend.weights.tolist(), predictions))
    return c.finish(made, source, rows, in_c, finish(blend.predict(rows)), made.unit)


def bin_columns(encoding: Encoding) -> list[slice]:
    """Return the inputs that are the bins of each number."""
    ends = encoding.layout.bins + np.cumsum([0, *encoding.bins])
    return [slice(*pair) for pair in itertools.pairwise(ends.tolist())]


def summed(layers: list[Layer], columns: Sequence[slice]) -> list[Layer]:
    """Return layers of which the first has the weights for `steps`, in float64.

    A bin that lies below the number adds its weights, one above it subtracts them. So the bias has
    what all of them subtract, and a bin twice the sum of the weights up to its own.
    """
    first, *others = layers
    weights = first.arrays["weights"].astype(DOUBLE)
    biases = first.arrays["biases"].astype(DOUBLE)
    for bins in columns:
        biases -= weights[bins].sum(axis=0)
        weights[bins] = 2 * weights[bins].cumsum(axis=0)
    arrays = {"weights": weights, "biases": biases}
    return [first._replace(kind="entries", arrays=arrays), *others]


def steps(inputs: Array, columns: Sequence[slice]) -> Array:
    """Return inputs with the steps from the share below a number of each bin to that of the next.

    All but a few are 0, where the places in the bins are mostly -1 or 1.
    """
    result = inputs.astype(DOUBLE)
    for bins in columns:
        shares = (result[:, bins] + 1) / 2
        result[:, bins] = -np.diff(shares, axis=1, append=0)
    return result


def _made_up(model: ExportedTable) -> Table:
    """Return random rows like those of the fit, with some missing and unknown values."""
    rng = np.random.default_rng(0)
    numbers = model.encoding.numbers
    centre, factor = numbers.centre[0], numbers.factor[0]
    unit = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor > 0)
    values = rng.normal(size=(c.ROWS, len(centre))) * np.minimum(unit, 1e300) + centre
    values[rng.random(values.shape) < RARELY] = np.nan
    counts = [len(column.values or ()) for _, column in model.columns.categories]
    codes = rng.integers(MISSING, counts, size=(c.ROWS, len(counts)), dtype=np.int32)
    return model.columns.derive(Table(values, codes))
