"""Export to C: a file with one function per recipe, and the members' data as constants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import fastmlp._export.c_text as text
import fastmlp.tabular.export.c_text as table_text
from fastmlp._export.c import ROWS, CFiles, arithmetic, finish, kind_of, layers_of, some, source_of
from fastmlp._export.c_emitter import SEVERAL, Emitter
from fastmlp._export.c_layers import outputs
from fastmlp._export.c_source import label_names, largest, self_check
from fastmlp._export.layers import SURROGATES, Array, Exported
from fastmlp.tabular.blend import Blend
from fastmlp.tabular.columns import MISSING, MOST_CATEGORIES, Column, Table
from fastmlp.tabular.export.exported import ExportedGroup, ExportedTable
from fastmlp.tabular.members import TrainedMembers
from fastmlp.tabular.rows import EncodedRows

MEANINGS = {"largest": "Predict probabilities.", "each": "Predict probabilities.", None: "Predict."}
UNKNOWN = -2  # code of an unknown value; MISSING may be the code of a known one
DOUBLE = np.dtype(np.float64)
LONGEST = 4095  # bytes of the longest string that all compilers support
RARELY = 0.1  # share of missing values in random rows


class RecipeFunction(Emitter):
    """Writes the C function of one recipe; member k uses the k-th part of each constant array."""

    def __init__(
        self, number: int, group: ExportedGroup, each: list[list[Any]], dtype: np.dtype[Any]
    ) -> None:
        super().__init__(dtype, SEVERAL)
        sizes = group.networks[0].spec.layer_sizes
        self.fields = {"number": number, "n": len(each), "sizes": "-".join(map(str, sizes))}
        self.share = group.share
        self.buffers["x"] = sizes[0]
        self._number, self._stacks = number, dict[str, list[Array]]()
        known = np.concatenate([np.empty((len(each), 0)), *group.known], axis=1)
        for k, layers in enumerate(each):
            self._k = -1
            measured = self._of_member("number", group.numbers, k)
            measured += [str(group.bins), self.constant("known", known[k].astype(np.uint8))]
            self.calls = [f"encode(numbers, codes, {', '.join(measured)}, x);"]
            self.network(layers, sizes[0])
            scale = [] if group.target is None else self._of_member("target", group.target, k)
            self.calls.append(f"decode({', '.join([SEVERAL, *scale, 'y'])});")
        for name, stack in self._stacks.items():
            self.array(f"{name}_{number}", np.concatenate(stack))

    def constant(self, name: str, values: Array) -> str:
        """Add a layer's constant for member k, and return the expression of its address."""
        name = f"{name}_{max(self._k, 0)}"
        self._stacks.setdefault(name, []).append(values.ravel())
        return f"{name}_{self._number} + k * {values.size}"

    def _of_member(self, kind: str, measured: Any, k: int) -> list[str]:
        return [self.constant(f"{kind}_{key}", a[k]) for key, a in measured._asdict().items()]


class TableSource(Emitter):
    """Source and header of a fitted table; ``each`` lists the layers of each group's members."""

    def __init__(
        self,
        model: ExportedTable,
        name: str,
        dtype: np.dtype[Any],
        each: list[list[list[Any]]],
        levels: Sequence[float],
    ) -> None:
        super().__init__(dtype, SEVERAL)
        self.model, self._levels = model, levels
        self._kind = None if model.labels is None else model.labels.kind
        pairs = zip(model.groups, each, strict=True)
        self._recipes = [
            RecipeFunction(g, group, own, dtype) for g, (group, own) in enumerate(pairs)
        ]
        self._categories = [column for _, column in model.columns.categories]
        n_numbers = len(model.columns.numbers)
        sizes = " and ".join("{n} of {sizes}".format(**each.fields) for each in self._recipes)
        self.fields: dict[str, Any] = {
            "title": f"Multi-layer perceptrons of a table, {sizes} units, written by fastmlp.",
            "name": name,
            "macro": name.upper(),
            "parameters": table_text.PARAMETERS,
            "arguments": "numbers, codes",
            "meaning": MEANINGS[self._kind],
            "outputs": model.outputs,
            "columns": model.outputs * (2 if model.has_variances else 1),
            "levels": len(levels),
            "and_quantiles": ", double *quantiles" if levels else "",
            "and_levels": f", and {len(levels)} quantiles at {name}_levels" if levels else "",
            "temperature": repr(float(model.temperature)),
            "lowest": repr(model.lowest) if np.isfinite(model.lowest) else "-HUGE_VAL",
            "n_numbers": n_numbers,
            "n_scaled": max(n_numbers, 1),
            "n_with_missing": len(model.with_missing),
            "n_categories": len(self._categories),
        }
        self._array = label_names(model.labels, name)  # a declaration, then the values
        if levels:
            self._array = [f"const double {name}_levels[{len(levels)}]", *map(repr, levels)]
        self._measured()
        self._texts = self._written() if self._categories else ""
        for recipe in self._recipes:
            self.constants += recipe.constants
            self.functions |= recipe.functions
            self.constant_bytes += recipe.constant_bytes

    @property
    def stack_bytes(self) -> int:
        """Bytes of stack for the largest recipe and one row in double."""
        doubles = self.fields["n_scaled"] + 3 * self.fields["columns"]
        buffers = max(each.stack_bytes for each in self._recipes)
        return int(buffers + doubles * DOUBLE.itemsize)

    @property
    def unit(self) -> float:
        """Scale of network errors: the target's deviation, or 1 for probabilities."""
        scales = [group.target for group in self.model.groups if group.target is not None]
        return max((float(scale.factor.max()) for scale in scales), default=1.0)

    # ------------------------------------------------------------ constants

    def _measured(self) -> None:
        """Add the constants of columns and residuals."""
        values = [column.values or () for column in self._categories]
        signs = [
            each[MOST_CATEGORIES:, MOST_CATEGORIES:] > 0 for each in self.model.inputs_of_values
        ]
        # The `SHARED` signs of a value are the bits of a short.
        bits = [np.packbits(each, axis=1, bitorder="little") for each in signs if each.size]
        self._ends("value_ends", map(len, values))
        self._ends("input_ends", (each.shape[1] for each in self.model.inputs_of_values))
        self._ends("sign_ends", map(len, signs))
        missing = [each.index(None) if None in each else MISSING for each in values]
        self.array("missing_codes", np.array(missing, np.int32))
        shorts = [each.view("<u2").ravel() for each in bits]
        self.array("signs", np.concatenate([np.empty(0, np.uint16), *shorts]))
        self.array("with_missing", self.model.with_missing.astype(np.int32))
        residuals = self.model.residuals
        if residuals:
            self.array("rms", np.array([each.rms for each in residuals]))
        if self._levels:
            offsets = [[each.quantile(level) for level in self._levels] for each in residuals]
            self.array("offsets", np.array(offsets))
        if residuals and not self.model.has_variances:
            self._ends("place_ends", (len(each.places) for each in residuals))
            self.array("places", np.concatenate([each.places for each in residuals]))
            self.array("sizes", np.concatenate([each.sizes for each in residuals]))

    def _ends(self, name: str, counts: Iterable[int]) -> None:
        """Add the offsets of parts of an array, and its end."""
        self.array(name, np.cumsum([0, *counts]).astype(np.int32))

    def _written(self) -> str:
        """Return the texts of category values, and their order by text in each column."""
        texts: list[bytes | None] = []
        order: list[int] = []
        for column in self._categories:
            own = texts_of(column)
            by_text = sorted(range(len(own)), key=lambda k: (own[k] is None, own[k] or b""))
            order += [len(texts) + k for k in by_text]  # None is the last
            texts += own
        self.constant_bytes += sum(len(each) + 1 for each in texts if each is not None)
        written = ",\n    ".join("0" if each is None else text.string(each) for each in texts)
        return (
            f"static const char *const texts[{len(texts)}] = {{\n    {written}\n}};\n\n"
            + text.constants("int", "sorted", np.array(order))
        )

    # ------------------------------------------------------------ texts

    def header(self) -> str:
        """Return the text of the header."""
        fields = self.fields
        enums = {}
        for kind, word in (("numbers", "NUMBER"), ("categories", "CATEGORY")):
            names = [column.name for _, column in getattr(self.model.columns, kind)]
            own = enumerators(f"{fields['macro']}_{word}", names)
            enums[kind] = "\n    ".join(f"{each}," for each in own)
        declared = [table_text.PREDICT]
        if self._kind is None:
            declared.append(table_text.DISTRIBUTION)
        declared += [f"{text.LABELS[self._kind][0]}\n"] if self._kind else []
        declared += [table_text.CODE] if self._categories else []
        return text.HEADER.format(
            defined=table_text.DEFINED.format(**enums, **fields),
            declared="".join(declared).format(**fields)
            + "".join(f"extern {array};\n" for array in self._array[:1]),
            **fields,
        )

    def source(self, main: str) -> str:
        """Return the text of the source file; ``main`` is the self-check at its end."""
        fields = self.fields
        name = fields["name"]
        functions = [text.typed(each, self.dtype) for each in self.functions.values()]
        pieces = [table_text.ENCODE, table_text.DECODE[self._kind]]
        own = [text.with_real(each.format(**fields), self.dtype) for each in pieces]
        groups = ""
        for each in self._recipes:
            every = {**fields, **each.fields, "share": repr(each.share)}
            body = text.typed(each.body(), self.dtype)
            own.append(table_text.MEMBER.format(body=body, **every))
            groups += table_text.GROUP.format(**every)
        ends = [text.MIX, table_text.BLEND.format(groups=groups, **fields)]
        power = self.model.residuals[0].trust / 2 if self.model.has_variances else None
        more = {
            "size": table_text.SIZE[self.model.has_variances].format(power=power, **fields),
            "quantiles": table_text.LEVELS.format(**fields) if self._levels else "",
        }
        ends.append(table_text.FINISH[self._kind].format(**more, **fields))
        ends += [text.LABELS[self._kind][1].format(**fields)] if self._kind else []
        ends += [table_text.LOOKUP.format(**fields)] if self._categories else []
        code = [self._texts, *self.constants, *functions, *own]
        code += [text.typed(each, DOUBLE) for each in ends]
        code += [f"{self._array[0]} = {{{', '.join(self._array[1:])}}};\n"] if self._array else []
        head = f'/* {fields["title"]} */\n#include "{name}.h"\n\n#include <math.h>\n'
        return "\n".join([head, *filter(None, code), main])

    def main(self, rows: Table, expected: Array) -> str:
        """Return the self-check for some rows and their expected predictions."""
        fields = self.fields
        finite = np.isfinite(expected).all(axis=1)
        numbers, codes = rows.numbers[finite], rows.codes[finite]
        codes = np.where(codes == MISSING, UNKNOWN, codes)
        arrays = text.constants("double", "numbers", numbers)
        arrays += text.constants("int", "codes", codes.astype(np.int32))
        places = f"numbers + i * {fields['n_numbers']}, codes + i * {fields['n_categories']}"
        predict = f"{fields['name']}_predict({places}, y);"
        if self._kind is None:
            m = fields["outputs"]
            more = f", y + {2 * m}" if self._levels else ""
            predict = f"{fields['name']}_distribution({places}, y, y + {m}{more});"
        expected = expected[finite]
        unit = max(self.unit, largest(expected - expected[:1]))  # ranges may be wider
        return self_check(arrays, expected, predict, fields, DOUBLE, self.dtype, unit)


def enumerators(prefix: str, names: Iterable[str]) -> list[str]:
    """Return distinct C identifiers for names: "per cent" becomes PREFIX_per_cent."""
    found: dict[str, None] = {}
    for name in names:
        identifier = prefix + "_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        while identifier in found:
            identifier += "_"
        found[identifier] = None
    return list(found)


def texts_of(column: Column) -> list[bytes | None]:
    """Return a category's values as bytes, None if missing; raise ValueError if C has no form."""
    texts: dict[bytes | None, None] = {}
    for value in column.values or ():
        each = _text(value, column.name)
        if each in texts:
            raise ValueError(
                f"{column.name} has {value!r} and another category of the same text, which C "
                "cannot tell apart: give the column values of one type, and fit again"
            )
        texts[each] = None
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


class NumpyNetwork:
    """A network with the layers as written to C (cast or quantized), evaluated in NumPy."""

    def __init__(self, network: Exported, layers: list[Any]) -> None:
        self._layers, self._link = layers[:-1], network.spec.loss.link

    def predict(self, x: EncodedRows) -> Array:
        """Return predictions in float64."""
        with np.errstate(all="ignore"):
            return np.asarray(self._link(outputs(self._layers, np.asarray(x))))


def write(
    model: ExportedTable,
    blend: Blend,
    finisher: Callable[[Array], Array],
    path: Any,
    weights: str | None,
    table: Table | None,
    levels: Sequence[float],
) -> CFiles:
    """Write the files; ``finisher`` maps the blend's predictions to all outputs in C."""
    kind, source = kind_of(weights, table, model), source_of(path)
    rows = _made_up(model) if table is None else table
    groups = []
    each: list[list[list[Any]]] = []
    for group, exported in zip(blend.groups, model.groups, strict=True):
        pairs = zip(exported.networks, group.encodings, strict=True)
        each.append([layers_of(net.layers, kind, own.inputs(rows)) for net, own in pairs])
        nets = [NumpyNetwork(*pair) for pair in zip(exported.networks, each[-1], strict=True)]
        groups.append(TrainedMembers(nets, group.encodings, group.scales, group.target))
    made = TableSource(model, source.stem, arithmetic(kind), each, levels)
    own = finisher(Blend(groups, blend.weights).predict(rows))
    few = np.arange(len(rows))[some(rows)]
    main = made.main(rows.take(few), own[few])
    return finish(made, source, main, (own, finisher(blend.predict(rows))), made.unit)


def _made_up(model: ExportedTable) -> Table:
    """Return random rows like those of the fit, with some missing and unknown values."""
    rng = np.random.default_rng(0)
    numbers = model.groups[0].numbers
    centre, factor = numbers.centre[0], numbers.factor[0]
    unit = np.divide(1.0, factor, out=np.zeros_like(factor), where=factor > 0)
    values = rng.normal(size=(ROWS, len(centre))) * np.minimum(unit, 1e300) + centre
    values[rng.random(values.shape) < RARELY] = np.nan
    counts = [len(column.values or ()) for _, column in model.columns.categories]
    codes = rng.integers(MISSING, counts, size=(ROWS, len(counts)), dtype=np.int32)
    return Table(values, codes)
