"""The networks of the papers, with PyTorch's default initialisation. Inputs (S, *input_shape)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.errors import InputError

ACTIVATIONS = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "elu": nn.ELU, "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU, "softplus": nn.Softplus, "leaky_relu": nn.LeakyReLU, "selu": nn.SELU,
}
VGG11 = (1, "pool", 2, "pool", 4, 4, "pool", 8, 8, "pool", 8, 8, "pool")


def linear(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Softmax regression: one affine map of the flattened input."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))


def mlp(shape: tuple[int, ...], classes: int, *, widths: Sequence[int], activation: str,
        batch_norm: bool, dropout: float) -> nn.Module:
    """Fully connected: per hidden layer affine, (BatchNorm,) activation (, dropout)."""
    layers: list[nn.Module] = [nn.Flatten()]
    fan_in = math.prod(shape)
    for width in widths:
        layers.append(nn.Linear(fan_in, width))
        layers += _after(nn.BatchNorm1d(width) if batch_norm else None, activation, dropout)
        fan_in = width
    return nn.Sequential(*layers, nn.Linear(fan_in, classes))


def simple_cnn(shape: tuple[int, ...], classes: int, *, width: int, dense: int, activation: str,
               batch_norm: bool, dropout: float) -> nn.Module:
    """SimpleCNN of Jastrzebski et al. 2019: 3x3 convolutions w-w-pool-2w-2w-pool, dense layer.

    Convolutions are padded, so that 8x8 images fit too. Dropout follows each pool and the dense
    layer.
    """
    channels, height, side = _image(shape, "simple_cnn", least=4)
    layers: list[nn.Module] = []
    for wide in (width, 2 * width):
        for _ in range(2):
            layers += _conv(channels, wide, activation, batch_norm=batch_norm)
            channels = wide
        layers.append(nn.MaxPool2d(2))
        layers += [nn.Dropout(dropout)] if dropout else []
    fan_in = channels * (height // 4) * (side // 4)
    norm = nn.BatchNorm1d(dense) if batch_norm else None
    layers += [nn.Flatten(), nn.Linear(fan_in, dense), *_after(norm, activation, dropout)]
    return nn.Sequential(*layers, nn.Linear(dense, classes))


def vgg11(shape: tuple[int, ...], classes: int, *, width: int, activation: str, batch_norm: bool,
          dropout: float) -> nn.Module:
    """VGG-11 in its CIFAR form: eight 3x3 convolutions, five pools, one affine map."""
    channels, height, side = _image(shape, "vgg11", least=32)
    layers: list[nn.Module] = []
    for item in VGG11:
        if item == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += _conv(channels, item * width, activation, batch_norm=batch_norm)
            channels = item * width
    layers += [nn.Flatten()] + ([nn.Dropout(dropout)] if dropout else [])
    return nn.Sequential(*layers, nn.Linear(channels * (height // 32) * (side // 32), classes))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity: He et al. 2016, v1 (activation after the sum).

    Where the shape changes the shortcut is their option A: every second pixel, and zeros for the
    new channels. It has no parameters.
    """

    def __init__(self, channels: int, out: int, stride: int, activation: str, *, batch_norm: bool):
        super().__init__()
        self.stride, self.extra = stride, out - channels
        bias = not batch_norm
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=bias)
        self.norm1 = nn.BatchNorm2d(out) if batch_norm else nn.Identity()
        self.norm2 = nn.BatchNorm2d(out) if batch_norm else nn.Identity()
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(S, channels, h, w) -> (S, out, ⌈h/stride⌉, ⌈w/stride⌉)."""
        branch = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        if self.stride > 1:
            x = x[..., :: self.stride, :: self.stride]
        if self.extra:
            x = F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return self.activation(branch + x)


class GlobalAverage(nn.Module):
    """Mean over the pixels: (S, c, h, w) -> (S, c)."""

    def forward(self, x: Tensor) -> Tensor:
        """(S, c)."""
        return x.mean((-2, -1))


def resnet(shape: tuple[int, ...], classes: int, *, depth: int, width: int, activation: str,
           batch_norm: bool) -> nn.Module:
    """CIFAR ResNet of ``depth`` = 6n + 2 layers: three stages of n blocks, widths w, 2w, 4w.

    Without BatchNorm it trains from PyTorch's default initialisation: a block's branch then adds
    about 1/18 of its input's variance, so that at depth 56 activations keep their scale. With he
    each block doubles it, and depth 56 diverges.
    """
    channels, *_ = _image(shape, f"resnet{depth}", least=4)
    layers = _conv(channels, width, activation, batch_norm=batch_norm)
    channels = width
    for stage, wide in enumerate((width, 2 * width, 4 * width)):
        for block in range((depth - 2) // 6):
            stride = 2 if stage and not block else 1
            layers.append(
                ResidualBlock(channels, wide, stride, activation, batch_norm=batch_norm))
            channels = wide
    return nn.Sequential(*layers, GlobalAverage(), nn.Linear(channels, classes))


def _conv(channels: int, out: int, activation: str, *, batch_norm: bool) -> list[nn.Module]:
    norm = nn.BatchNorm2d(out) if batch_norm else None
    return [nn.Conv2d(channels, out, 3, padding=1, bias=not batch_norm),
            *_after(norm, activation, 0.0)]


def _after(norm: nn.Module | None, activation: str, dropout: float) -> list[nn.Module]:
    """What follows an affine map: normalisation, activation, dropout; each only if wanted."""
    tail = [norm] if norm is not None else []
    return [*tail, ACTIVATIONS[activation](), *([nn.Dropout(dropout)] if dropout else [])]


def _image(shape: tuple[int, ...], name: str, *, least: int) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise InputError(
            f"{name} needs images (channels, height, width); the data has inputs of shape {shape}",
            key="model.name", fix="use `mlp` or `linear`, or image data")
    if min(shape[1:]) < least:
        raise InputError(
            f"{name} needs images of at least {least}x{least}; the data's are "
            f"{shape[1]}x{shape[2]}", key="model.name",
            fix="use a smaller network (simple_cnn, resnet8) or larger images")
    return shape[0], shape[1], shape[2]


@torch.no_grad()
def initialise(module: nn.Module, scheme: str) -> None:
    """Draws the weights of all affine and convolutional layers anew, biases 0.

    he: normal of variance 2 / fan_in; glorot: uniform of variance 2 / (fan_in + fan_out).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            if scheme == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()


@torch.no_grad()
def rescale(module: nn.Module, factor: float) -> None:
    """Multiplies all parameters outside normalisation layers by ``factor``."""
    norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    kept = {id(p) for m in module.modules() if isinstance(m, norms) for p in m.parameters()}
    for parameter in module.parameters():
        if id(parameter) not in kept:
            parameter.mul_(factor)
