"""Training with products in bfloat16: gradients, threads, predictions, other CPUs, files."""

import cases
import numpy as np
import pytest
import ranks
from models import saved
from test_blocks import WAYS, engines

import fastmlp
from fastmlp._engine import cpu, native_engine
from fastmlp._engine.numpy.numpy_engine import flat
from fastmlp._models.network import network_of
from fastmlp._network import spec as spec_module

LEVEL = native_engine.level()
HAS_DOT = LEVEL == "avx512" and "avx512_bf16" in cpu.features()
# The instruction: AVX512-BF16 also where it is slower than float32, and AMX.
WAYS_TO_MULTIPLY = {"dot": (1, HAS_DOT), "tiles": (2, HAS_DOT and cpu.bfloat16_products() == 2)}
each_instruction = pytest.mark.parametrize("instruction", WAYS_TO_MULTIPLY)
WIDE = ((40, 97, 64, 1), (33, 300, 2), (129, 64, 64, 31, 33), (64, 64, 64, 64, 2))
OPTIONS = {
    "plain": {},
    "dropout": {"dropout": 0.4},
    "one kept slope": {"activation": "gelu"},
    "all": {"layer_norm": "before", "scale": True, "linear_path": True, "parametric": True},
    "blocks": {"skip": 1, "layer_norm": "after"},
}


@pytest.fixture(autouse=True)
def use(request, monkeypatch):
    """Let the engine multiply by the instruction of a test's row, or skip the row."""
    name = (
        request.node.callspec.params.get("instruction")
        if hasattr(request.node, "callspec")
        else None
    )
    if name is not None:
        number, has = WAYS_TO_MULTIPLY[name]
        if not has:
            pytest.skip("this CPU lacks the instruction")
        monkeypatch.setattr(cpu, "bfloat16_products", lambda: number)
        monkeypatch.setattr(spec_module, "ROUNDED_WEIGHTS", 1)


def differences(found, wanted):
    """Return the largest difference of each pair of arrays, relative to the largest element."""
    pairs = zip(flat(found), flat(wanted), strict=True)
    return [np.abs(a - b).max() / (np.abs(b).max() or 1) for a, b in pairs if b.size]


@each_instruction
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("sizes", [*cases.NETWORKS, *WIDE], ids=lambda s: "-".join(map(str, s)))
def test_gradients_are_those_of_rounded_factors(sizes, options, instruction):
    """A sum that rounds the other way in the last digit moves later factors by 1/256."""
    hidden = sizes[1:-1]
    has_block = len(hidden) > 1 and len(set(hidden)) == 1
    if ("skip" in options and not has_block) or ("linear_path" in options and not hidden):
        options = {"scale": True}
    for n in (1, 31, 33, 70):
        spec, fast, slow = engines(
            LEVEL, "float32", "squared_error", sizes=sizes, compute="bfloat16", **options
        )
        exact = engines(LEVEL, "float32", "squared_error", sizes=sizes, **options)[1]
        data = cases.data(spec, n, np.random.default_rng(n), weighted=n > 1)
        _, *wanted = slow.gradients(data, 0.1)
        _, *found = fast.gradients(data, 0.1)
        _, *unrounded = exact.gradients(data, 0.1)
        assert max(differences(found, wanted)) < (0.01 if hidden else 1e-5)
        if n > 1 and sizes[-1] > 1:
            assert max(differences(unrounded, wanted)) > 1e-4  # rounding can be seen


@each_instruction
@pytest.mark.parametrize("case", cases.LOSSES, ids=str)
def test_gradients_of_every_loss(case, instruction):
    """Of a few outputs, whose panels have room for more: losses may leave anything there."""
    sizes = (7, 33, 3 if case.loss.target_kind == "class" else 5)
    options = {"sizes": sizes, "compute": "bfloat16"}
    spec, fast, slow = engines(LEVEL, "float32", case.loss, **options)
    data = cases.data(spec, 40, np.random.default_rng(1), case.labels)
    (value, *found), (expected, *wanted) = fast.gradients(data), slow.gradients(data)
    assert abs(value - expected) < 1e-3 * abs(expected)
    assert max(differences(found, wanted)) < 0.01
    assert fast.evaluate(data) == engines(LEVEL, "float32", case.loss, sizes=sizes)[1].evaluate(
        data
    )


@each_instruction
@pytest.mark.parametrize("way", WAYS)
def test_training_has_the_same_bits_on_any_threads(way, instruction):
    n, batch_size, options, kind = WAYS[way]

    def trained(compute, n_threads, which=1):
        made = engines(LEVEL, "float32", dropout=0.2, compute=compute, **kind)
        data = cases.data(made[0], n, np.random.default_rng(3), weighted=True)
        return cases.train(made[which], data, batch_size, fastmlp.SGD(), n_threads, **options)

    (objectives, found), *others = [trained("bfloat16", k) for k in (1, 2, 3)]
    for other in others:
        np.testing.assert_equal(other, (objectives, found))
    wanted = trained("bfloat16", 1, which=2)
    np.testing.assert_allclose(objectives, wanted[0], rtol=2e-3)
    assert np.abs(found - wanted[1]).max() < 2e-3


@each_instruction
def test_a_row_of_weight_zero_may_overflow(instruction):
    x = np.ones((40, 5), np.float32)
    x[3] = 3e38
    share = (np.arange(40) != 3).astype(float)
    nets = [fastmlp.MLP([5, 40, 2], rng=0, compute="bfloat16") for _ in range(2)]
    nets[0].fit(x, np.ones((40, 2)), sample_weight=share, epochs=3, shuffle=False)
    x[3] = 1
    nets[1].fit(x, np.ones((40, 2)), sample_weight=share, epochs=3, shuffle=False)
    np.testing.assert_equal([*nets[0].weights], [*nets[1].weights])


@each_instruction
def test_predictions_are_exact(instruction):
    x = np.random.default_rng(0).normal(size=(300, 9)).astype(np.float32)
    net = fastmlp.MLP([9, 70, 33, 3], rng=0, compute="bfloat16")
    net.fit(x, x[:, :3], epochs=2)
    plain = fastmlp.MLP([9, 70, 33, 3], rng=1)
    plain.load_state_dict(net.state_dict())
    assert net.compute == "bfloat16"
    np.testing.assert_equal(net.predict(x), plain.predict(x))
    np.testing.assert_equal(net.jacobian(x[:5]), plain.jacobian(x[:5]))
    assert net.evaluate(x, x[:, :3]) == plain.evaluate(x, x[:, :3])
    for weights in (None, "bfloat16", "int8"):
        found, wanted = (each.predictor(weights=weights)(x) for each in (net, plain))
        np.testing.assert_equal(found, wanted)


@pytest.mark.parametrize("level", native_engine.available_levels())
def test_other_cpus_train_in_float32(level, monkeypatch):
    monkeypatch.setattr(cpu, "bfloat16_products", lambda: 0 if level == "avx512" else 2)
    (spec, rounded, _), (_, plain, _) = (
        engines(level, "float32", compute=c) for c in ("bfloat16", None)
    )
    data = cases.data(spec, 150, np.random.default_rng(0))
    results = [cases.train(each, data, 64, fastmlp.Adam()) for each in (rounded, plain)]
    np.testing.assert_equal(*results)


@pytest.mark.skipif(LEVEL != "avx512", reason="no other level lays weights out for bfloat16")
def test_weights_of_another_cpu_are_refused(monkeypatch):
    """The layout is another: snapshots would be misread, and ranks would add up unlike weights."""
    nets = []
    for number in (0, 2):
        monkeypatch.setattr(cpu, "bfloat16_products", lambda number=number: number)
        nets.append(ranks.net(sizes=(3, 40, 40, 1), compute="bfloat16"))
    plain, tiled = (network_of(net).engine for net in nets)
    for one, other in ((plain, tiled), (tiled, plain)):
        with ranks.unchanged(*nets), pytest.raises(ValueError, match="bytes but .* are expected"):
            one.restore(other.snapshot())
    told = ranks.told(ranks.run(2, lambda each: ranks.train(nets[each.rank], each)), ValueError)
    assert "number of summed values of rank 1 is" in told


@each_instruction
def test_a_fit_goes_on_from_files_and_in_ensembles(instruction, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)

    def fitted(epochs):
        net = fastmlp.MLP([4, 40, 1], rng=0, compute="bfloat16")
        for _ in range(epochs):
            net.partial_fit(x, x[:, :1])
        return net

    net = fitted(2)
    again = saved(net, tmp_path / "net.fastmlp")
    assert again.compute == "bfloat16"
    again.partial_fit(x, x[:, :1])
    np.testing.assert_equal([*again.weights], [*fitted(3).weights])
    together = fastmlp.Ensemble(
        fastmlp.MLP([4, 40, 1], rng=k, compute="bfloat16") for k in range(3)
    )
    together.fit(x, x[:, :1], epochs=3, n_threads=2)
    alone = fastmlp.MLP([4, 40, 1], rng=1, compute="bfloat16")
    alone.fit(x, x[:, :1], epochs=3)
    np.testing.assert_equal([*together[1].weights], [*alone.weights])


def test_small_layers_are_not_rounded():
    """Their products take less time than the rounding of their factors."""
    sizes = [3, 5, 256, 4, 255, 4, 1024, 1]
    assert fastmlp.MLP(sizes).compute is None
    assert cases.build(sizes, dtype="float32", compute="bfloat16").rounded == [
        *(False, True, True, False, False, True, False)
    ]
    assert not any(cases.build(sizes, dtype="float32").rounded)
    layers = fastmlp.MLP(sizes, compute="bfloat16").summary().splitlines()[1:-1]
    assert [k for k, layer in enumerate(layers) if "compute=bfloat16" in layer] == [1, 2, 5]
