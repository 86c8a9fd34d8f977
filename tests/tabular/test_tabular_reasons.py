"""Contributions of columns in the page about a fit: beside the importance, and in words."""

import html
import re

import numpy as np
import pytest
from tiny_tables import LABELS, N, X, Y, classifier, frame_of, regressor

from fastmlp.tabular.report import page, reasons

pytestmark = pytest.mark.usefixtures("tiny")
HOSTILE = "<b>red</b>"


@pytest.fixture(scope="module", params=[regressor, classifier])
def fitted(request):
    model = request.param()
    is_regressor = request.param is regressor
    frame = frame_of(colour=np.where(X[:, 1] > 0, HOSTILE, "blue"), same=1.0)
    return model.fit(frame, Y if is_regressor else LABELS), frame


def section(text, name):
    return re.search(f"<h2>{name}</h2>(.*?)</section>", text, re.DOTALL).group(1)


def test_the_page_says_why_typical_and_worst_rows_have_their_predictions(fitted, tmp_path):
    model, frame = fitted
    model.report().save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    why = section(text, "Why")
    rows = re.findall(r"<tr><th>([^<]*)</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", why)
    assert [kind for kind, *_ in rows] == ["typical"] * 3 + ["among the worst"] * 3
    assert HOSTILE not in text
    assert f"colour = {html.escape(HOSTILE)}" in why
    evidence = page.evidence_of(model, model._fitted, "y")
    worst = np.argsort(-evidence.errors, kind="stable")[:3]
    assert [row for _, row, *_ in rows[3:]] == [str(place) for place in worst]
    for _, row, truth, sentence in rows:
        place = int(row)
        assert truth == (
            page.number(Y[place]) if model._fitted.target.kind == "numbers" else LABELS[place]
        )
        predicted = float(re.search(r"(?:prediction|probability of \w+) (\S+), mean", sentence)[1])
        of_row = frame[place : place + 1]
        expected = model.predict(of_row)[0]
        if hasattr(model, "predict_proba"):
            expected = model.predict_proba(of_row).max()
        assert predicted == pytest.approx(expected, rel=1e-3, abs=1e-6)
        terms = [float(term) for term in re.findall(r"([+-]\S+) by", sentence)]
        mean = float(re.search(r"mean (\S+):", sentence)[1])
        assert mean + sum(terms) == pytest.approx(predicted, abs=2e-3 * (1 + abs(predicted)))


def test_mean_contributions_are_those_of_explain(fitted):
    model, frame = fitted
    evidence = page.evidence_of(model, model._fitted, "y")
    found = evidence.contributions
    assert set(found) == set(evidence.importance.names)
    rows = np.sort(np.random.default_rng(0).permutation(N)[: reasons.MOST])
    expected = model.explain(frame.iloc[rows], frame.iloc[rows])
    for name, value in found.items():
        assert value == pytest.approx(expected.mean_absolute[expected.names.index(name)], rel=1e-9)


def test_many_columns_are_explained_for_fewer_rows():
    model = regressor(epochs=1, members=1).fit(np.random.default_rng(0).normal(size=(N, 150)), Y)
    table = model._fitted.rows[0]
    assert len(reasons.some_rows(table, model._fitted)) == 20


def test_typical_rows_are_at_the_quarters_and_the_worst_have_the_largest_errors():
    predictions, errors = np.arange(8.0)[::-1], np.array([0, 5, 1, 9, 2, 7, 3, 4.0])
    assert reasons.typical_and_worst(predictions, errors) == ([5, 3, 1], [3, 5, 1])
    assert reasons.typical_and_worst(np.ones(1), np.ones(1)) == ([0], [0])
