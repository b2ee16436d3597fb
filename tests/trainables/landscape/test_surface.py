"""Losses and gradients of many points are those of the plain module, one at a time."""

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.landscapes import MLP, random_points, subject
from tests.trainables.runs import blobs, config, fresh_model, noisy_set
from trainables.errors import InputError
from trainables.landscape.surface import Surface, batches

BN = {"name": "mlp", "width": 5, "depth": 1, "batch_norm": True, "dropout": 0.5}
# (why, model, options)
CASES = [
    ("plain", MLP, {}),
    ("mse", MLP, {"loss": "mse"}),
    ("the first run's noisy labels", MLP, {"noisy": {"label": 0.5}}),
    ("and noisy inputs", MLP, {"noisy": {"input": 0.5}}),
    ("BatchNorm is recalibrated at each point, dropout is off", BN, {}),
    ("convolutions, one after another", {"name": "simple_cnn", "width": 2, "dense": 3}, {}),
]


def placed(module, flat):
    """The module at those parameters."""
    torch.nn.utils.vector_to_parameters(flat, module.parameters())
    return module


def loss_of(cfg, out, y):
    if cfg["train"]["loss"] == "mse":
        return 0.5 * (out - F.one_hot(y, out.shape[1])).square().sum(1).mean()
    return F.cross_entropy(out, y)


def plain(cfg, data, flat):
    """Train and test loss and accuracy; BatchNorm by train mode's sums over the whole set."""
    module, (x, y) = placed(fresh_model(cfg, data), flat), noisy_set(cfg, data)
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 1.0
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    module.train()(x)
    module.eval()
    found = []
    with torch.no_grad():
        for inputs, labels in ((x, y), (torch.tensor(data.x_test, dtype=x.dtype),
                                        torch.tensor(data.y_test))):
            out = module(inputs)
            found += [float(loss_of(cfg, out, labels)),
                      float((out.argmax(1) == labels).double().mean())]
    return found


@pytest.mark.parametrize(("why", "model", "options"), CASES, ids=[c[0] for c in CASES])
def test_heights_and_gradients_are_those_of_the_plain_module(why, model, options):
    data = blobs(shape=(1, 8, 8), train=24) if model["name"] == "simple_cnn" else blobs()
    cfg = config(model, **options)
    surface = Surface(subject([cfg], data))
    points = 0.5 * random_points(11, surface.dim)  # more than one block
    heights = surface.heights(points)
    index = torch.arange(3, 19)
    gradients = surface.gradients(points, index)
    for k in (0, 7, 10):
        found = [heights.train_loss[k], heights.train_accuracy[k],
                 heights.test_loss[k], heights.test_accuracy[k]]
        assert torch.tensor(found).tolist() == pytest.approx(
            plain(cfg, data, points[k]), rel=1e-6, abs=1e-6)
        module, (x, y) = placed(fresh_model(cfg, data), points[k]), noisy_set(cfg, data)
        for layer in module.modules():
            layer.p = 0.0
        loss = loss_of(cfg, module.train()(x[index]), y[index])
        wanted = torch.cat([g.flatten() for g in torch.autograd.grad(loss, module.parameters())])
        torch.testing.assert_close(gradients[k], wanted, rtol=1e-10, atol=1e-12)


def test_gradients_do_not_depend_on_how_they_are_cut(monkeypatch):
    surface = Surface(subject([config(MLP)], blobs()))
    points, index = random_points(5, surface.dim), torch.arange(40)
    whole = surface.gradients(points, index)
    monkeypatch.setattr("trainables.landscape.surface.GRAPH_BYTES", 1)
    torch.testing.assert_close(surface.gradients(points, index), whole, rtol=1e-12, atol=1e-14)


def test_a_point_of_nan_harms_no_other():
    surface = Surface(subject([config(MLP)], blobs()))
    points = random_points(4, surface.dim)
    alone = surface.losses(points)
    points[1] = torch.nan
    found = surface.losses(points)
    assert found[1].isnan()
    assert torch.equal(found[[0, 2, 3]], alone[[0, 2, 3]])


def test_weights_of_another_model_are_refused():
    surface = Surface(subject([config(MLP)], blobs()))
    with pytest.raises(InputError, match="no parameter"):
        surface.point({"0.weight": torch.zeros(2, 2)})


def test_batches_partition_every_epoch():
    surface = Surface(subject([config(MLP)], blobs()))
    drawn = list(batches(surface, 3, 10, 8))
    assert sorted(torch.cat(drawn[:5]).tolist()) == list(range(40))
    assert not torch.equal(drawn[0], drawn[5])
    assert [len(b) for b in batches(surface, 3, 2, None)] == [40, 40]
