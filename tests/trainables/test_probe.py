"""What the monitors of a snapshot share, in float64 against plain PyTorch."""

import gc

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import blobs, config, fresh_model, noisy_set, pack_of
from trainables import probe as probes
from trainables.monitors import spectrum
from trainables.probe import Probe

MLP = {"name": "mlp", "width": 7, "depth": 2, "activation": "tanh"}

def test_chunks_change_nothing(monkeypatch):
    pack = pack_of([config(MLP), config(MLP, seed=1)], blobs())
    v = torch.randn(2, pack.parameters, dtype=torch.float64)
    whole = Probe(pack, pack.init(), slice(0, 2))
    expected = whole.curvature.product(v), whole.gradient
    monkeypatch.setattr(probes, "GRAPH_BYTES", 3 * 2 * 9 * probes.graph_bytes(pack))
    monkeypatch.setattr(probes, "EVALUATION_BYTES", 2 * 9 * probes.graph_bytes(pack))
    parts = Probe(pack, pack.init(), slice(0, 2))
    assert len(parts.curvature._chunks) == 5
    torch.testing.assert_close(parts.curvature.product(v), expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.gradient, expected[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.evaluate_train()[0], whole.evaluate_train()[0])


def test_losses_and_accuracies_are_of_the_whole_sets():
    data, cfg = blobs(), config(MLP, seed=4, noisy={"label": 0.3})
    module, (x, y) = fresh_model(cfg, data), noisy_set(cfg, data)
    probe = Probe(pack_of([cfg], data), pack_of([cfg], data).init(), slice(0, 1))
    loss, accuracy = probe.evaluate_train()
    out = module(x)
    assert loss.item() == pytest.approx(F.cross_entropy(out, y).item(), rel=1e-12)
    assert accuracy.item() == (out.argmax(1) == y).double().mean().item()
    test_x = torch.tensor(data.x_test, dtype=torch.float64)
    clean = F.cross_entropy(module(test_x), torch.tensor(data.y_test)).item()
    assert probe.evaluate_test()[0].item() == pytest.approx(clean, rel=1e-12)


def test_batch_norm_is_measured_with_the_calibration_batchs_statistics():
    data, model = blobs(), {"name": "mlp", "width": 6, "depth": 1, "batch_norm": True}
    cfg = config(model)
    pack = pack_of([cfg], data)
    probe = Probe(pack, pack.init(), slice(0, 1))
    module = fresh_model(cfg, data).train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.momentum = 1.0
    x = torch.tensor(data.x_train, dtype=torch.float64)
    module(x[pack.calibration_set])
    expected = F.cross_entropy(module.eval()(x), torch.tensor(data.y_train)).item()
    assert probe.evaluate_train()[0].item() == pytest.approx(expected, rel=1e-12)


def test_gradient_equivalents_are_counted_from_what_was_computed():
    options = {"k": 5, "lambda_min": True, "trace": True, "tolerance": 1e-3, "max_products": 400}
    pack = pack_of([config(MLP, set_size=20, monitors=[("spectrum", options)])], blobs())
    probe = Probe(pack, pack.init(), slice(0, 1))
    probe.evaluate_train()
    assert probe.ge.item() == pytest.approx(40 / 20 / 3)
    _ = probe.gradient
    _ = probe.gradient
    assert probe.ge.item() == pytest.approx(40 / 20 / 3 + 1)
    found = spectrum.measure(probe, options)
    assert probe.ge.item() == pytest.approx(40 / 20 / 3 + 1 + 2 * found["hessian_products"].item())


def test_what_a_users_monitor_remembers_and_draws_is_its_own():
    """Not ours of the same name; but the eigenpairs are everybody's, whoever asks first."""
    pack = pack_of([config(MLP, seed=s) for s in range(2)], blobs())
    state = pack.init()
    state.memory = {"z": torch.ones(2, 1), "mine:mon z": torch.zeros(2, 1)}
    one, other = (Probe(pack, state, slice(0, 2)) for _ in range(2))
    drawn = one.normals("a", 1), one.signs("a", 1)
    with one.owned_by("mine:mon"):
        assert one.recall("z").tolist() == [[0.0], [0.0]]
        one.remember("z", torch.tensor([[2.0], [3.0]], requires_grad=True))
        assert not torch.equal(one.normals("a", 1), drawn[0])
        assert not torch.equal(one.signs("a", 1), drawn[1])
        pairs = one.eigenpairs
    assert one.recall("z").tolist() == [[1.0], [1.0]]
    assert torch.equal(one.normals("a", 1), drawn[0])
    assert torch.equal(pairs.values, other.eigenpairs.values)
    assert one.remembered.pop("mine:mon z").tolist() == [[2.0], [3.0]]
    assert one.remembered.keys() == other.remembered.keys()


@pytest.mark.parametrize(("value", "said"), [
    (3.0, "is float, not"), (torch.ones(()), r"is a tensor of shape \(\), not"),
    (torch.ones(3, 1), r"is a tensor of shape \(3, 1\), not"),
    (torch.ones(2, 2), r"has the shape \(2, 2\), and had \(2, 1\)")])
def test_what_cannot_be_remembered(value, said):
    pack = pack_of([config(MLP, seed=s) for s in range(2)], blobs())
    state = pack.init()
    state.memory = {"z": torch.ones(2, 1)}
    with pytest.raises(ValueError, match=f"`z` to remember {said}"):
        Probe(pack, state, slice(0, 2)).remember("z", value)


def test_counting_what_autograd_keeps_keeps_nothing():
    """A saved result of its own node is a cycle through C++, which no collector sees."""
    pack = pack_of([config({"name": "mlp", "width": 97, "depth": 3})], blobs())
    probes.graph_bytes(pack)
    gc.collect()
    kept = [t for t in gc.get_objects() if type(t) is torch.Tensor and t.requires_grad
            and t.shape == (97, 97)]
    assert not kept
