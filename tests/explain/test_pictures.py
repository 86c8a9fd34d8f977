"""Pictures, words, frames and HTML of explanations."""

import datetime
import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

import fastmlp
from fastmlp import Explanation
from fastmlp._explain import pictures

VALUES = np.array([[0.5, -0.25, 0.0625], [-0.5, 0.25, 0.0], [1.0, 0.0, 0.125]])
DAYS = [datetime.datetime(2026, 1, day) for day in (3, 1, 2)]
DATA = np.array([[1.5, "red", DAYS[0]], [2.5, "blue", DAYS[1]], [0.5, "red", DAYS[2]]], object)


def one_output():
    zero = np.zeros_like(VALUES)
    return Explanation(VALUES, np.float64(2.0), zero, DATA, ("size", "colour", "day"), ("y",))


def two_outputs():
    values = np.stack([-VALUES, VALUES], axis=2)
    base, names = np.array([0.25, 0.75]), ("size", "colour", "day")
    return Explanation(values, base, 0 * values, DATA, names, ("no", "yes"), unit="probability")


def drawn(draw, *args, **options):
    ax = Figure().subplots()
    assert draw(*args, ax=ax, **options) is ax
    return ax


def texts(labels):
    return [label.get_text() for label in labels]


def test_a_row_in_words():
    assert one_output().in_words(0) == (
        "prediction 2.312, mean 2: +0.5 by size = 1.5, -0.25 by colour = red, "
        "+0.0625 by day = 2026-01-03"
    )
    assert one_output().in_words(0, most=2).endswith("+0.5 by size = 1.5, -0.1875 by 2 others")
    assert two_outputs().in_words(1).startswith("probability of yes 0.5, mean 0.75: -0.5 by size")
    assert two_outputs().in_words(1, output="no").startswith("probability of no 0.5, mean 0.25")


def test_the_plot_of_a_row_leads_from_the_base_to_the_prediction():
    ax = drawn(one_output().plot, 0)
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert bars[0][0] == 2.0
    assert bars[-1][1] == one_output().predictions[0]
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(bars))
    assert texts(ax.get_yticklabels()) == ["day = 2026-01-03", "colour = red", "size = 1.5"]
    low, high = ax.get_xlim()
    assert low < 1.8125  # the lowest end of a bar
    assert high > 2.3125
    ax = drawn(two_outputs().plot, 0, most=2)
    assert texts(ax.get_yticklabels()) == ["2 others", "size = 1.5"]
    assert ax.get_xlabel() == "probability of yes"


def test_the_plot_of_all_rows_has_a_point_for_each_row_and_column():
    ax = drawn(one_output().plot)
    assert texts(ax.get_yticklabels()) == ["day", "colour", "size"]
    points = [collection.get_offsets()[:, 0].tolist() for collection in ax.collections]
    assert points == [VALUES[:, k].tolist() for k in (2, 1, 0)]
    assert ax.collections[2].get_array().tolist() == [0.5, 1.0, 0.0]  # colours of the size
    assert ax.collections[0].get_array().tolist() == [1.0, 0.0, 0.5]  # colours of the day
    assert ax.collections[1].get_array().tolist() == [0.5] * 3  # colours have no order
    assert len(drawn(one_output().plot, most=1).get_yticks()) == 1


def test_the_scatter_plot_has_contributions_by_values():
    ax = drawn(one_output().plot_scatter, "size")
    np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 0], [1.5, 2.5, 0.5])
    np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 1], VALUES[:, 0])
    ax = drawn(one_output().plot_scatter, 1)
    assert texts(ax.get_xticklabels()) == ["blue", "red"]
    assert ax.collections[0].get_offsets()[:, 0].tolist() == [1, 0, 1]
    assert drawn(one_output().plot_scatter, "day").get_xlabel() == "day"


def test_wrong_rows_columns_and_outputs_are_named():
    found = two_outputs()
    with pytest.raises(ValueError, match="row is 3 but there are 3: pass a place from 0 to 2"):
        found.plot(3)
    with pytest.raises(TypeError, match="row is 'a'"):
        found.in_words("a")
    with pytest.raises(ValueError, match="output is 'maybe'.* but one of no, yes is expected"):
        found.plot(0, output="maybe")
    with pytest.raises(ValueError, match="column is 'weight'.* the columns are size, colour, day"):
        found.plot_scatter("weight")


def test_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"Explanation.plot needs matplotlib"):
        one_output().plot(0)


def test_shap_takes_the_values():
    shap = pytest.importorskip("shap")
    found = two_outputs().to_shap()
    assert isinstance(found, shap.Explanation)
    np.testing.assert_array_equal(found.values, two_outputs().values)
    np.testing.assert_array_equal(found.base_values, [[0.25, 0.75]] * 3)
    assert found.feature_names == ["size", "colour", "day"]
    assert found[:, :, 1].values.shape == (3, 3)
    assert one_output().to_shap().base_values.tolist() == [2.0] * 3


def test_notebooks_show_a_sentence_and_bars_and_no_markup_of_the_data():
    net = fastmlp.MLP([2, 1], rng=0)
    one = net.explain([[1.0, 2.0]], background=np.zeros((1, 2)))
    assert one.in_words().replace("-", "") in one._repr_html_().replace("-", "")
    assert one._repr_html_().count("<rect") >= 2
    names = ("<b>", "colour", "day")
    many = Explanation(VALUES, np.float64(2.0), 0 * VALUES, DATA, names, ("y",))
    page = many._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "mean absolute contribution" in page


def test_long_values_and_control_characters_are_cut_and_escaped():
    assert pictures.shown("x" * 100) == "x" * 21 + "..."
    assert pictures.shown("a\nb") == "a\\nb"
    assert pictures.shown(np.float32(1 / 3)) == "0.3333"
