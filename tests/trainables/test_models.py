"""Models: options, sizes, initialisation, and what is refused before a sweep starts."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from trainables import architectures, layers, models
from trainables.architectures import ResidualBlock
from trainables.datasets import load
from trainables.errors import InputError

GREY, COLOUR = (1, 8, 8), (3, 32, 32)

RESOLVED = [
    ({"name": "linear"}, {"init": "default", "init_scale": 1.0}),
    ({"name": "mlp"}, {"width": 64, "depth": 2, "widths": None, "dropout": 0.0}),
    ({"name": "mlp", "width": 8}, {"width": 8, "depth": 2}),
    ({"name": "mlp", "widths": (5, 3)}, {"width": None, "depth": None, "widths": [5, 3]}),
    ({"name": "resnet8"}, {"batch_norm": True, "width": 16}),
    ({"name": "vgg11"}, {"batch_norm": False, "width": 64}),
    ({"name": "simple_cnn", "init_scale": 2}, {"width": 32, "dense": 128, "init_scale": 2.0}),
    ({"name": "mine:net", "width": 3, "init": "he"}, {"width": 3, "init": "he"}),
    ({"name": "torchvision:resnet18", "zero_init_residual": True}, {"zero_init_residual": True}),
]

REFUSED = [
    ({}, "model.name", "model has no name", "simple_cnn"),
    ({"name": "mpl"}, "model.name", "unknown model `mpl`", "did you mean `mlp`?"),
    ({"name": "resnet18"}, "model.name", "unknown model", "resnet"),
    ({"name": "mlp", "widht": 3}, "model.widht", "no option `widht`", "`width`"),
    ({"name": "linear", "width": 3}, "model.width", "no option", "init"),
    ({"name": "mlp", "width": 0}, "model.width", "is 0", "from 1"),
    ({"name": "mlp", "depth": 2.0}, "model.depth", "2.0", "whole"),
    ({"name": "mlp", "widths": []}, "model.widths", "[]", "[500, 300, 100]"),
    ({"name": "mlp", "widths": [3, "4"]}, "model.widths", "'4'", "[500, 300, 100]"),
    ({"name": "mlp", "widths": [3], "depth": 2}, "model.depth", "both", "width and depth"),
    ({"name": "mlp", "activation": "rleu"}, "model.activation", "rleu", "relu"),
    ({"name": "mlp", "dropout": 1}, "model.dropout", "is 1", "below 1"),
    ({"name": "mlp", "init_scale": 0}, "model.init_scale", "is 0", "above 0"),
    ({"name": "mine:net", "init": "xavier"}, "model.init", "xavier", "glorot"),
    ({"name": "mine.py:"}, "model.name", "not of the form module:function", "my_function"),
    ({"name": "torchvision:"}, "model.name", "names no", "torchvision:resnet18"),
]

# Parameters counted by hand or published, over data of 10 classes.
SIZES = [
    ({"name": "linear"}, GREY, 65 * 10),
    ({"name": "mlp", "width": 7, "depth": 3}, (5,), 6 * 7 + 2 * 8 * 7 + 8 * 10),
    ({"name": "mlp", "widths": [500, 300, 100]}, (1, 28, 28), 785 * 500 + 501 * 300 + 301 * 100
     + 101 * 10),
    ({"name": "mlp", "width": 7, "depth": 1, "batch_norm": True}, (5,), 6 * 7 + 14 + 80),
    ({"name": "simple_cnn"}, COLOUR, 28 * 32 + 289 * 32 + 289 * 64 + 577 * 64
     + (64 * 64 + 1) * 128 + 129 * 10),
    ({"name": "simple_cnn", "width": 4, "dense": 6}, GREY, 10 * 4 + 37 * 4 + 37 * 8 + 73 * 8
     + 33 * 6 + 70),
    ({"name": "vgg11", "batch_norm": True}, COLOUR, 9_231_114 - 2752),  # its biases, by 2752 fewer
    ({"name": "resnet20"}, COLOUR, 269_722),   # He et al. 2016: 0.27 M, 0.46 M, 0.85 M
    ({"name": "resnet32"}, COLOUR, 464_154),
    ({"name": "resnet56"}, COLOUR, 853_018),
]


def build(config, shape=GREY, classes=10, base_dir=None, seed=0):
    torch.manual_seed(seed)
    return models.build(config, shape, classes, base_dir)


@pytest.mark.parametrize(("config", "expected"), RESOLVED)
def test_resolve(config, expected):
    resolved = models.resolve(config)
    assert resolved["name"] == config["name"]
    assert {k: resolved[k] for k in expected} == expected
    assert models.resolve(resolved) == resolved


@pytest.mark.parametrize(("config", "key", "what", "fix"), REFUSED)
def test_resolve_refuses(config, key, what, fix):
    with pytest.raises(InputError) as caught:
        models.resolve(config)
    assert caught.value.key == key
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(("config", "shape", "size"), SIZES)
def test_sizes(config, shape, size):
    module = build(config, shape)
    assert sum(p.numel() for p in module.parameters()) == size
    assert module.eval()(torch.zeros(3, *shape)).shape == (3, 10)


EVERY = [
    {"name": "linear"}, {"name": "mlp", "batch_norm": True, "dropout": 0.2, "activation": "elu"},
    {"name": "simple_cnn", "width": 4, "batch_norm": True, "dropout": 0.2, "activation": "gelu"},
    {"name": "resnet8", "width": 4}, {"name": "resnet8", "width": 3, "batch_norm": False},
]


@pytest.mark.parametrize("config", EVERY, ids=lambda c: c["name"])
def test_every_model_trains_vectorised_as_alone(config):
    shape, runs = (2, 9, 10), 2    # neither square nor even, and two channels
    form = layers.training_form(build(config, shape, 3).double()).train()
    params = {n: torch.stack([p.detach(), p.detach() * 0.9]) for n, p in form.named_parameters()}
    buffers = {n: torch.tensor([5, 6]) for n, _ in form.named_buffers()}
    x, y = torch.randn(runs, 4, *shape).double(), torch.randint(0, 3, (runs, 4))

    def loss(p, b, x, y):
        return nn.functional.cross_entropy(torch.func.functional_call(form, (p, b), (x,)), y)

    packed = torch.func.vmap(torch.func.grad(loss))(params, buffers, x, y)
    for r in range(runs):
        alone = torch.func.grad(loss)({n: p[r] for n, p in params.items()},
                                      {n: b[r] for n, b in buffers.items()}, x[r], y[r])
        for n, g in alone.items():
            torch.testing.assert_close(packed[n][r], g, rtol=1e-9, atol=1e-12)


def test_vgg11_is_the_published_one():
    convolutions = [m for m in build({"name": "vgg11"}, COLOUR) if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 256, 512, 512, 512, 512]


def test_option_a_shortcut_by_hand():
    block = ResidualBlock(2, 4, 2, "relu", batch_norm=False)
    for p in block.parameters():
        nn.init.zeros_(p)
    x = torch.rand(1, 2, 5, 6)
    out = block(x)
    assert out.shape == (1, 4, 3, 3)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, [0, 3]].any()


def test_same_seed_same_weights_and_only_the_seed():
    a, b, c = (build({"name": "resnet8"}, seed=s) for s in (1, 1, 2))
    for p, q, r in zip(a.parameters(), b.parameters(), c.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.unique().numel() == 1 or not torch.equal(p, r)


def test_the_trial_forward_leaves_weights_statistics_and_generator_alone():
    options = {"batch_norm": True, "dropout": 0.5, "activation": "relu"}
    module = build({"name": "mlp", "widths": [7], **options})
    after = torch.random.get_rng_state()
    torch.manual_seed(0)
    plain = architectures.mlp(GREY, 10, widths=[7], **options)
    assert torch.equal(after, torch.random.get_rng_state())
    torch.testing.assert_close(module.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_init_scale_multiplies_all_but_normalisation():
    config = {"name": "simple_cnn", "batch_norm": True}
    once, thrice = build(config), build({**config, "init_scale": 3.0})
    norms = {n for n, m in once.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert len(norms) == 5
    for (n, p), q in zip(once.named_parameters(), thrice.parameters(), strict=True):
        factor = 1.0 if n.rpartition(".")[0] in norms else 3.0
        assert torch.equal(q, p * factor)


@pytest.mark.parametrize(("scheme", "variance"), [
    ("default", 1 / (3 * 400)), ("he", 2 / 400), ("glorot", 2 / (400 + 900)),
])
def test_init_variances(scheme, variance):
    weights = build({"name": "mlp", "widths": [400, 900], "init": scheme})[3]
    assert weights.weight.var().item() == pytest.approx(variance, rel=0.02)
    assert bool(weights.bias.any()) == (scheme == "default")


def test_resnet56_without_batch_norm_keeps_its_scale():
    module = build({"name": "resnet56", "batch_norm": False}, COLOUR)
    x = torch.randn(16, *COLOUR)
    with torch.no_grad():
        start, end = module[:2](x), module[:-2](x)
    assert 0.1 < end.square().mean() / start.square().mean() < 10    # he: 2^27


def test_resnet20_without_batch_norm_learns():
    data = load({"name": "digits"}, Path())
    x, y = torch.tensor(data.x_train), torch.tensor(data.y_train)
    module, losses = build({"name": "resnet20", "batch_norm": False}), []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(130):
        index = torch.arange(64) + 64 * (step % 20)
        loss = nn.functional.cross_entropy(module(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_torchvision():
    module = build({"name": "torchvision:shufflenet_v2_x0_5"}, (3, 32, 32), 7)
    assert module.fc.out_features == 7


MINE = """
import torch, torch.nn.functional as F
from torch import nn
def net(shape, classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width),
                         nn.Linear(width, classes))
def text(shape, classes): return "net"
def narrow(shape, classes): return net(shape, classes - 1)
class Functional(nn.Module):
    def __init__(self, classes):
        super().__init__(); self.linear = nn.Linear(64, classes)
    def forward(self, x): return self.linear(F.dropout(x.flatten(1), 0.5, self.training))
def random(shape, classes): return Functional(classes)
class Pair(Functional):
    def forward(self, x): return super().forward(x), x
def pair(shape, classes): return Pair(classes)
"""

UNBUILDABLE = [
    ({"name": "vgg11"}, "vgg11 needs images of at least 32x32; the data's are 8x8", "resnet8"),
    ({"name": "torchvision:resnet18"}, "to have 3 channels", "choose"),
    ({"name": "torchvision:resnet81"}, "no classification model `resnet81`", "did you mean"),
    ({"name": "torchvision:resnet18", "widht": 3}, "refuses its options", "documentation"),
    ({"name": "mine:text"}, "returned str, not a torch.nn.Module", "return the module"),
    ({"name": "mine:narrow"}, "gives (2, 9) for 2 examples, not (2, 10)", "one number a class"),
    ({"name": "mine:pair"}, "gives tuple", "one number a class"),
    ({"name": "mine:random"}, "draws random numbers outside nn.Dropout", "use nn.Dropout"),
    ({"name": "mine:net", "depth": 3}, "unexpected keyword argument 'depth'", "options"),
    ({"name": "absent:net"}, "no module `absent`", "absent.py"),
    ({"name": "mlp", "width": -1}, "model.width is -1", "whole"),   # a sweep's value, say
]


@pytest.mark.parametrize(("config", "what", "fix"), UNBUILDABLE)
def test_build_refuses(tmp_path, config, what, fix):
    (tmp_path / "mine.py").write_text(MINE)
    with pytest.raises(InputError) as caught:
        build(config, base_dir=tmp_path)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.key.startswith("model")


def test_images_are_told_from_tables():
    with pytest.raises(InputError, match=r"needs images .* inputs of shape \(5,\)"):
        build({"name": "simple_cnn"}, (5,))


def test_a_users_model_with_options(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    module = build({"name": "mine:net", "width": 9, "init": "he"}, base_dir=tmp_path)
    assert module[1].out_features == 9
    assert not module[1].bias.any()


def test_modules_do_not_import_torch():
    code = ("import sys, trainables.datasets, trainables.models, trainables.noise as n;"
            "import pathlib; from trainables import datasets as d;"
            "d.describe(d.resolve({'name': 'digits'}), pathlib.Path('.'));"
            "print([m for m in ('torch', 'sklearn', 'pyarrow', 'PIL') if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
