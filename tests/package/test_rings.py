"""Leaves: what a reader of networks and tables may ignore, see docs/architecture.md.

A leaf uses public names alone, and is loaded when a user asks for it, never with another module.
"""

import ast
import functools
from pathlib import Path

import fastmlp

PACKAGE = Path(fastmlp.__file__).parent

# Paths in fastmlp/ with which the files of each leaf begin, and the functions of other modules that
# load the leaf: what users call, or what such a method calls for it.
LEAVES = {
    "_cli": "",
    "_export": "exported Exportable.to_onnx Exportable.to_c",
    "_models/checkpoint": "",
    "_models/conversion": "",
    "_models/lr_find": "",
    "_models/summary": "MLP.summary MLP._repr_html_ MLP.__repr__ Ensemble.summary",
    "_pyinstaller": "",
    "_training/arrow": "",
    "_training/distributed": "joined",
    "_training/loggers": "",
    "_training/parquet": "",
    "_training/shuffle_file": "BlockShuffle.__init__ BlockShuffle.begin",
    "_training/stores": "",
    "dask": "",
    "sklearn/from_sklearn": "",
    "tabular/fitted/distilled": "BaseTabMLP.distill",
    "tabular/fitted/explained": "BaseTabMLP._explained_as RowPredictor._explained",
    "tabular/export": "BaseTabMLP.to_c BaseTabMLP.to_onnx",
    "tabular/fitted/inspection": (
        "BaseTabMLP.importance BaseTabMLP._pictures BaseTabMLP._importance_of_fit "
        "plot_importance plot_history TabMLPClassifier.plot_calibration "
        "TabMLPClassifier.plot_confusion_matrix TabMLPRegressor.plot_calibration"
    ),
    "tabular/parts": "",
    "tabular/report": "BaseTabMLP.report plot_partial_dependence evidence_for",
    "tabular/fitted/report": "Report._repr_html_ Report.save",
    "tabular/sources": "BaseTabMLP._predicted Reader.source Reader._source_once Reader._of_source",
    "tabular/outcome/survival_": "_hazards",
    "tabular/survival": "",
    "tabular/teachers": "",
    "tabular/fit/updates": "BaseTabMLP._update",
}
# Modules whose business is to load public names on their first use.
FRONTS = {"__init__.py", "__main__.py"}
# Of named tuples, and of scikit-learn.
OF_OTHERS = {"_replace", "_asdict", "_fields", "_make", "_validate_params"}


@functools.cache
def trees():
    """Return the syntax of each file of the package, by its path."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def leaf_of(path):
    """Return the leaf to which a file belongs, or None."""
    return next((leaf for leaf in LEAVES if path.startswith(leaf)), None)


def loaded(tree, inside=""):
    """Yield names that code imports, and the class and function that does; not for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.expr):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", inside) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        is_named = isinstance(node, ast.ClassDef | ast.FunctionDef)
        yield from loaded(node, f"{inside}.{node.name}".strip(".") if is_named else inside)


def test_a_leaf_is_loaded_by_those_alone_who_need_it():
    found = {leaf: set() for leaf in LEAVES}
    for path, tree in trees().items():
        for name, inside in loaded(tree) if path not in FRONTS and not leaf_of(path) else ():
            leaf = leaf_of(name.removeprefix("fastmlp.").replace(".", "/"))
            if leaf and name.startswith("fastmlp."):
                found[leaf].add(inside or path)
    assert found == {leaf: set(doors.split()) for leaf, doors in LEAVES.items()}


def made(tree):
    """Return the private attributes that classes make: methods, fields, and those of objects."""
    nodes = [n for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for n in ast.walk(c)]
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_a_leaf_reads_no_private_attribute_of_others():
    private, leaves = {path: made(tree) for path, tree in trees().items()}, set()
    every, wrong = set().union(*private.values()) - OF_OTHERS, []
    for path, tree in trees().items():
        leaves.add(leaf_of(path))
        for node in ast.walk(tree) if leaf_of(path) else ():
            if isinstance(node, ast.Attribute) and node.attr in every - private[path]:
                owner = ast.unparse(node.value)
                if owner not in {"self", "cls", "super()"}:
                    wrong.append(f"{path}:{node.lineno} {owner}.{node.attr}")
    assert not wrong
    assert leaves - {None} == {*LEAVES}
