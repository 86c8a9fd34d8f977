"""Numbers that are not clipped, and predictions without limits, follow a line beyond the rows."""

from dataclasses import replace

import numpy as np
import pytest
from models import saved
from tiny_tables import regressor

import fastmlp
from fastmlp._models.network import Network
from fastmlp._network import initializers
from fastmlp._network.spec import build
from fastmlp.sklearn.fitted import fitted_of
from fastmlp.tabular.outcome.targets import TargetScale
from fastmlp.tabular.recipe.blend import Blend
from fastmlp.tabular.recipe.members import Members
from fastmlp.tabular.table.encoding import UNCLIPPED, Encoding

X = np.linspace(0, 20, 81)[:, np.newaxis]
ROWS = np.arange(len(X))
FAR = np.array([[-40.0], [0.0], [20.0], [40.0], [4e6], [-4e12]])
MEMBERS = 6  # the tiny preset trains so many
ONES = np.ones((MEMBERS, 1))
FREE = TargetScale(10 * ONES, 6 * ONES, -np.inf * ONES, np.inf * ONES)
KINDS = {"scaled": {"unclipped": [0]}, "raw": {"unclipped": [0], "raw": [0]}}

pytestmark = pytest.mark.usefixtures("tiny")


def line(scale=FREE, **kinds):
    """Return an estimator each of whose members is the line from a number to itself."""
    model = regressor().fit(X, X[:, 0])
    fitted = fitted_of(model)
    encoding = Encoding.of(fitted.columns.read(X), fitted.columns, [ROWS] * MEMBERS, 0, **kinds)
    centre, factor = encoding.numbers.centre[0, 0], encoding.numbers.factor[0, 0]
    spec, rng = build([1, 1], loss=fitted.target.loss), np.random.default_rng(0)
    parameters = initializers.draw(spec, rng, ["zeros"])
    (weights,), (bias,), *_ = parameters
    weights[:], bias[:] = 1 / (6 * factor), (centre - 10) / 6
    networks = [Network.of(spec, parameters, rng) for _ in range(MEMBERS)]
    group = Members(networks, encoding, scale, fitted.target)
    model._fitted = replace(fitted, blend=Blend([group], np.ones(1)))
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_goes_on_beyond_the_rows(kind, tmp_path):
    model = line(**KINDS[kind])
    again = saved(model, tmp_path / "model")
    right = model.predict(FAR)
    np.testing.assert_allclose(right, FAR[:, 0], rtol=1e-6, atol=1e-5)
    assert again.predict(FAR).tobytes() == right.tobytes()
    predictors = model.predictor(), again.predictor(), fastmlp.load_predictor(tmp_path / "model")
    for p in predictors:
        assert np.array([p(row) for row in FAR.tolist()]).tobytes() == right.tobytes()
        slopes = [p.jacobian(row)[0] for row in FAR.tolist()]
        np.testing.assert_allclose(slopes, 1, rtol=1e-5)


def test_by_default_a_line_ends_near_the_rows():
    model = line()
    assert abs(model.predict([[40.0]])[0] - 40) > 5
    encoding = fitted_of(model).blend.groups[0].encoding
    assert encoding.unclipped.size == 0
    limited = line(FREE._replace(low=0 * ONES, high=20 * ONES), unclipped=[0])
    np.testing.assert_allclose(limited.predict(FAR), [0, 0, 20, 20, 20, 0], atol=1e-5)


def test_a_distilled_network_has_no_limit_either():
    model = line(unclipped=[0])
    small = model.distill(X)
    (student,) = fitted_of(small).blend.groups
    assert student.encoding.unclipped.tolist() == [0]
    assert np.isneginf(student.scale.low)
    assert np.isposinf(student.scale.high)
    assert small.predict([[-1e9]])[0] < -1 or small.predict([[1e9]])[0] > 21
    (student,) = fitted_of(line(FREE._replace(low=0 * ONES)).distill(X)).blend.groups
    assert student.encoding.unclipped.size == 0
    assert np.isfinite(student.scale.low)
    assert np.isposinf(student.scale.high)


def test_later_targets_leave_limits_infinite():
    model = line(unclipped=[0]).partial_fit(X, X[:, 0])
    (group,) = fitted_of(model).blend.groups
    assert np.isneginf(group.scale.low).all()
    assert np.isposinf(group.scale.high).all()
    assert model.predict([[40.0]])[0] > 30


@pytest.mark.parametrize("kind", KINDS)
def test_far_beyond_every_scale_nothing_overflows(kind):
    model, (_, far) = line(**KINDS[kind]), UNCLIPPED
    (member,) = fitted_of(model).blend.groups
    table = fitted_of(model).columns.read(np.array([[1.7e308], [-1.7e308]]))
    inputs = np.asarray(member.encoding.rows(table)).ravel()
    assert inputs.tolist() == [np.float32(far), -np.float32(far)]
    slopes = [member.encoding.slopes(np.array([x])).ravel()[0] for x in (1e9, -1e300)]
    assert slopes == [member.encoding.numbers.factor[0, 0], 0]
    assert np.isfinite(model.predict([[1.7e308], [-1.7e308]])).all()


def test_limits_at_the_wrong_end_are_refused():
    for scale in (
        FREE._replace(low=np.inf * ONES),
        FREE._replace(high=-np.inf * ONES),
        FREE._replace(low=np.nan * ONES),
    ):
        with pytest.raises(ValueError, match="limits in the wrong order"):
            line(scale)
