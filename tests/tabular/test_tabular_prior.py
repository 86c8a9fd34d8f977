"""Weights of classes: the probabilities that they make, and those without them."""

import re

import numpy as np
import pytest
from sklearn import metrics
from tiny_tables import N, classifier, regressor

import fastmlp

RNG = np.random.default_rng(3)
ROWS = 1200
X = RNG.normal(size=(ROWS, 2))
TRUTH = 1 / (1 + np.exp(3.5 - 2 * X[:, 0]))  # one row of ten is of the second class
RARE = np.where(RNG.random(ROWS) < TRUTH, "rare", "usual")
WEIGHTS = RNG.uniform(0.5, 2, ROWS)
TRUE = {"class_weight": "balanced", "prior": "true"}
LONG = {"preset": "fast", "random_state": 0, "epochs": 40}


def scores_of(report):
    """Return the lines of a report with log losses: their metric and value by their name."""
    lines = re.findall(r"^(.*?)  +.*?(log loss.*?) ([.0-9]+)(?:,|$)", str(report), re.MULTILINE)
    return {name: (metric, float(value)) for name, metric, value in lines}


@pytest.mark.parametrize("class_weight", ["balanced", {"rare": 20.0}])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_true_probabilities_are_near_the_truth_and_scored_unweighted(class_weight, weights):
    given = {"class_weight": class_weight, **LONG}
    true = fastmlp.TabMLPClassifier(prior="true", **given).fit(X, RARE, weights)
    weighted = fastmlp.TabMLPClassifier(prior="weighted", **given).fit(X, RARE, weights)
    away = [np.abs(m.predict_proba(X)[:, 0] - TRUTH).mean() for m in (true, weighted)]
    assert away[0] < 0.05 < 0.15 < away[1]
    loss = metrics.log_loss(RARE, true.oof_prediction_, sample_weight=weights)
    metric = "log loss" if weights is None else "log loss (weighted by sample_weight)"
    assert scores_of(true.report())["temperature"] == (metric, pytest.approx(loss, rel=1e-3))
    heavy = 20.0 if class_weight != "balanced" else 1 / np.mean(RARE == "rare") - 1
    factor = np.where(RARE == "rare", heavy, 1.0)
    both = factor * (1 if weights is None else weights)
    loss = metrics.log_loss(RARE, weighted.oof_prediction_, sample_weight=both)
    names = "class_weight" if weights is None else "sample_weight and class_weight"
    expected = f"log loss (weighted by {names})", pytest.approx(loss, rel=1e-3)
    assert scores_of(weighted.report())["temperature"] == expected
    # Either follows nearly from the other: each has a temperature of its own.
    p = true.predict_proba(X) * [heavy, 1]
    again = p / p.sum(axis=1, keepdims=True)
    assert np.abs(again - weighted.predict_proba(X)).mean() < 0.07


def test_a_report_says_which_rows_its_scores_weight(tiny):
    rows = {"X_val": X[:N], "y_val": RARE[:N]}
    found = scores_of(
        classifier(prior="weighted", class_weight="balanced").fit(X, RARE, **rows).report()
    )
    weighted = "log loss (weighted by class_weight)"
    assert {name: metric for name, (metric, _) in found.items()} == {
        **dict.fromkeys(("out of fold", "baseline", "temperature"), weighted),
        "validation": "log loss (unweighted)",
    }
    found = scores_of(classifier(**TRUE).fit(X, RARE, **rows).report())
    assert {metric for metric, _ in found.values()} == {"log loss"}
    assert len(found) == 4
    text = str(regressor().fit(X, X[:, 0], WEIGHTS, X_val=X, y_val=X[:, 0]).report())
    assert "out of fold  root mean squared error (weighted by sample_weight) " in text
    assert "validation   root mean squared error (unweighted) " in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weight": "balanced"}, "prior='true'"),
        ({"class_weight": {"rare": 2}}, "prior='weighted' if these are meant"),
        ({"class_weight": "balanced", "prior": "weighted"}, ""),
        (TRUE, ""),
        ({"prior": "true"}, ""),
        ({}, ""),
    ],
)
def test_one_warning_says_whose_probabilities_they_are(options, words, tiny, recwarn):
    classifier(**options).fit(X, RARE)
    assert len(recwarn) == bool(words)
    for warning in recwarn:
        assert words in str(warning.message)
        assert warning.filename == __file__


def test_without_weights_of_classes_there_is_nothing_to_divide(tiny):
    plain = classifier().fit(X, RARE)
    model = classifier(prior="true").fit(X, RARE)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert (
        str(model.report()).partition("seconds")[0] == str(plain.report()).partition("seconds")[0]
    )


def test_the_default_is_the_weighted_prior(tiny):
    with pytest.warns(UserWarning, match="with class_weight"):
        model = classifier(class_weight="balanced").fit(X, RARE)
    other = classifier(class_weight="balanced", prior="weighted").fit(X, RARE)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    ("options", "y", "words"),
    [
        (
            {"class_weight": {"rare": 0}},
            RARE,
            "prior is 'true' but class_weight of 'rare' is 0, and weights are",
        ),
        ({"class_weight": "balanced"}, (X > 0).astype(int), "but rows have several labels"),
        ({"prior": "false"}, RARE, "The 'prior' parameter of TabMLPClassifier must be"),
    ],
)
def test_priors_that_are_refused(options, y, words, tiny):
    with pytest.raises(ValueError, match=words):
        classifier(**{"prior": "true", **options}).fit(X, y)
