"""Training and evaluation forms: equal to plain PyTorch, vectorised, masks of a counter."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from trainables.layers import KeyedDropout, evaluation_form, training_form

MASK64 = (1 << 64) - 1


def conv_net():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.3), nn.Flatten(),
        nn.Linear(6 * 16, 12), nn.BatchNorm1d(12, affine=False), nn.Tanh(), nn.Dropout(0.5),
        nn.Linear(12, 3)).double()


def keys_of(module):
    return [n for n, _ in module.named_buffers() if n.endswith("key")]


def splitmix64(key, salt, call, index):
    """The mask's 53 random bits, in Python integers."""
    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    place = mix((((salt << 20) + call) * golden) & MASK64)
    start = mix((key + place) & MASK64)
    return mix((start + (index + 1) * golden) & MASK64) >> 11


def test_mask_is_the_stated_hash():
    layer = KeyedDropout(0.4, salt=3)
    layer.key.fill_(0x7123456789ABCDEF)
    mask = layer.mask(torch.zeros(4, 50), call=2).flatten()
    expected = [splitmix64(0x7123456789ABCDEF, 3, 2, i) >= 0.4 * 2**53 for i in range(200)]
    assert mask.tolist() == expected


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate(p):
    n = 200_000
    kept = KeyedDropout(p, salt=1).mask(torch.zeros(n)).double().mean().item()
    assert abs(kept - (1 - p)) < 4 * np.sqrt(p * (1 - p) / n)


def masks(keys, salts, calls, n):
    """(…, n) masks of 0 and 1 of p = 0.5 for all combinations."""
    rows = []
    for key in keys:
        for salt in salts:
            layer = KeyedDropout(0.5, salt)
            layer.key.fill_(key)
            rows += [layer.mask(torch.zeros(n), call) for call in calls]
    return torch.stack(rows).double()


def test_masks_are_independent_over_keys_layers_calls_and_elements():
    # Neighbouring keys and salts, and keys that differ in one high bit, are the hard cases.
    n = 20_000
    rows = masks([0, 1, 2, 1 << 62, (1 << 62) + 1], [1, 2, 3], [0, 1], n)
    r = torch.corrcoef(rows) - torch.eye(len(rows))
    assert r.abs().max() < 5 / np.sqrt(n)
    for lag in (1, 2, 7, 64, 512):
        shifted = torch.corrcoef(torch.stack([rows[0][lag:], rows[0][:-lag]]))[0, 1]
        assert shifted.abs() < 5 / np.sqrt(n)


def test_kept_values_are_scaled_and_the_mean_is_kept():
    layer = KeyedDropout(0.25, salt=1).train()
    out = layer(torch.ones(100_000, dtype=torch.float64))
    assert set(out.unique().tolist()) == {0.0, 1 / 0.75}
    assert abs(out.mean().item() - 1) < 0.01
    layer.eval()
    assert torch.equal(layer(torch.ones(5)), torch.ones(5))


@pytest.mark.parametrize(("p", "value"), [(0.0, 1.0), (1.0, 0.0)])
def test_degenerate_rates(p, value):
    out = training_form(nn.Sequential(nn.Dropout(p))).train()(torch.ones(3, 4))
    assert torch.equal(out, torch.full((3, 4), value))


def test_whole_channels_drop_together():
    out = training_form(nn.Sequential(nn.Dropout2d(0.5))).train()(torch.ones(20, 8, 3, 3))
    assert ((out == out[..., :1, :1]).all())
    assert 0 < (out[..., 0, 0] == 0).sum() < 160


class Twice(nn.Module):
    """One dropout module that serves two places, as users write it."""

    def __init__(self):
        super().__init__()
        self.drop, self.linear = nn.Dropout(0.5), nn.Linear(3, 3)

    def forward(self, x):
        return self.drop(x), self.drop(x)


def test_a_dropout_used_twice_draws_twice_and_a_forward_repeats():
    form = training_form(Twice()).train()
    a, b = form(torch.ones(40, 9))
    again = form(torch.ones(40, 9))
    assert not torch.equal(a, b)
    assert torch.equal(a, again[0])
    assert torch.equal(b, again[1])


def test_pack_equals_separate_runs_and_plain_pytorch():
    torch.manual_seed(0)
    runs, size = 3, 5
    net = conv_net()
    form = training_form(net).train()
    params = {n: torch.randn(runs, *p.shape, dtype=p.dtype) * 0.4
              for n, p in form.named_parameters()}
    buffers = {n: torch.tensor([11, 22, 2**61]) for n in keys_of(form)}
    x, y = torch.randn(runs, size, 2, 6, 6).double(), torch.randint(0, 3, (runs, size))

    def loss(p, b, x, y):
        return nn.functional.cross_entropy(functional_call(form, (p, b), (x,)), y)

    grads, losses = vmap(grad_and_value(loss))(params, buffers, x, y)
    for r in range(runs):
        plain = copy.deepcopy(net).train()      # its dropout replaced by the masks themselves
        for i, layer in enumerate(plain):
            if isinstance(layer, nn.Dropout | nn.Dropout2d):
                form[i].key.copy_(buffers[f"{i}.key"][r])
                plain[i] = Times(form[i], 1 / (1 - layer.p))
        plain.load_state_dict({n: p[r] for n, p in params.items()}, strict=False)
        value = nn.functional.cross_entropy(plain(x[r]), y[r])
        value.backward()
        torch.testing.assert_close(losses[r], value, rtol=1e-12, atol=1e-12)
        for n, p in plain.named_parameters():
            torch.testing.assert_close(grads[n][r], p.grad, rtol=1e-11, atol=1e-12)


class Times(nn.Module):
    """Multiplies by a mask that is known beforehand."""

    def __init__(self, dropout, scale):
        super().__init__()
        self.masks, self.scale = [dropout], scale  # in a list: not a submodule

    def forward(self, x):
        return x * self.masks[0].mask(x) * self.scale


def test_forms_have_equal_parameters_and_leave_the_model_alone():
    net = conv_net()
    state = copy.deepcopy(net.state_dict())
    train, evaluate = training_form(net), evaluation_form(net)
    train.train()(torch.randn(4, 2, 6, 6).double())
    names = [n for n, _ in net.named_parameters()]
    assert [n for n, _ in train.named_parameters()] == names
    assert [n for n, _ in evaluate.named_parameters()] == names
    assert len(keys_of(train)) == 2
    assert [n for n, _ in train.named_buffers()] == keys_of(train)
    assert not [n for n in train.state_dict() if n.endswith("key")]
    torch.testing.assert_close(dict(net.state_dict()), dict(state), rtol=0, atol=0)
    assert not any(isinstance(m, nn.Dropout | nn.Dropout2d) for m in evaluate.modules())


@pytest.mark.parametrize("norm", [
    nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4, momentum=None),
    nn.BatchNorm1d(4, track_running_stats=False),  # must get statistics all the same
])
def test_one_forward_sets_the_statistics_of_the_evaluation_form(norm):
    torch.manual_seed(1)
    form = evaluation_form(nn.Sequential(norm, nn.Dropout(0.5)).double())
    calibration, x = 3 + 2 * torch.randn(50, 4).double(), torch.randn(7, 4).double()
    form.train()(torch.full((9, 4), 1e6).double() * torch.randn(9, 4))   # must be forgotten
    form.train()(calibration)
    form.eval()
    expected = (x - calibration.mean(0)) / (calibration.var(0) + 1e-5).sqrt()
    torch.testing.assert_close(form(x), expected, rtol=1e-12, atol=1e-12)


def test_calibration_works_on_a_pack():
    form = evaluation_form(conv_net()).train()
    params = {n: torch.randn(2, *p.shape).double() for n, p in form.named_parameters()}
    stats = {n: torch.stack([b.detach()] * 2) for n, b in form.named_buffers()}
    x = torch.randn(30, 2, 6, 6).double()
    vmap(lambda p, b: functional_call(form, (p, b), (x,)))(params, stats)
    for r in range(2):
        alone = {n: b.clone() for n, b in form.named_buffers()}
        functional_call(form, ({n: p[r] for n, p in params.items()}, alone), (x,))
        for n in alone:
            torch.testing.assert_close(stats[n][r], alone[n], rtol=1e-12, atol=1e-12)


def test_instance_norm_keeps_no_state():
    net = nn.Sequential(nn.InstanceNorm2d(2, track_running_stats=True))
    for form in (training_form(net), evaluation_form(net)):
        assert not list(form.named_buffers())
