"""The scale layer as a user sees it; the rest is in test_operators.py."""

import numpy as np
import pytest
from models import X, Y
from test_operators import every_norm, everything, make


@every_norm
def test_what_a_user_sees(mlp, norm):
    net, plain = make(mlp, layer_norm=norm, scale=True), make(mlp, layer_norm=norm)
    assert len(plain.scales) == 0
    assert "scale" not in repr(plain)
    assert "scale=True" in repr(net)
    assert net.scales[0].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(net.predict(X), plain.predict(X))
    factors = np.array([2.0, -0.5, 0.0])
    net.scales = [factors]
    np.testing.assert_array_equal(net.predict(X), plain.predict(X * factors))
    np.testing.assert_allclose(net.jacobian(X), plain.jacobian(X * factors) * factors)
    _, *gradients = net.gradients(X, Y)
    assert [g.shape for kind in gradients for g in kind] == [p.shape for p in everything(net)]
    for bad in ([[1.0, 2.0]], [np.full(3, np.nan)], []):
        with pytest.raises(ValueError, match="scales"):
            net.scales = bad
    frozen = net.predictor()
    np.testing.assert_array_equal(frozen(X), net.predict(X))
    np.testing.assert_array_equal(frozen.jacobian(X), net.jacobian(X))
    assert len(frozen.parameters()) == (5 if norm else 3)
    with pytest.raises(TypeError, match="scale is 'yes'"):
        make(mlp, scale="yes")
