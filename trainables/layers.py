"""The two forms of a model, with equal parameter names: one to train in a pack, one to measure."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from trainables.packed import packed_form

# SplitMix64 (Steele, Lea and Flood 2014): increment and multipliers, as signed 64-bit integers.
GOLDEN, FIRST, SECOND = (
    c - (1 << 64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
INVERSE = pow(GOLDEN, -1, 1 << 64) - (1 << 64)  # of GOLDEN modulo 2^64, as a signed integer
RANDOM_BITS = 53


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser: a bijection of the 64-bit integers that spreads every bit."""
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


class KeyedDropout(nn.Module):
    """Dropout whose mask is a pure function of (key, salt, call in this forward, element index).

    ``key`` is an int64 scalar buffer, so that each run of a vmapped pack brings its own. Kept
    values are scaled by 1 / (1 - p). ``whole_channels`` drops channels, as nn.Dropout2d does.
    """

    key: Tensor

    def __init__(self, p: float, salt: int, *, whole_channels: bool = False):
        super().__init__()
        self.p, self.salt, self.whole_channels = p, salt, whole_channels
        self.calls = 0  # uses in the present forward: a module may serve several places
        self.register_buffer("key", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x with a share p of its elements 0, in train mode; else x."""
        if not self.training or self.p == 0:
            return x
        kept = self.mask(x, self.calls)
        self.calls += 1
        return torch.where(kept, x * (1 / (1 - self.p) if self.p < 1 else 0.0), 0.0)

    def mask(self, x: Tensor, call: int = 0) -> Tensor:
        """Booleans of x's shape (or its first two dimensions): which elements are kept."""
        shape = tuple(x.shape)
        if self.whole_channels:
            shape = shape[:2] + (1,) * (x.dim() - 2)
        place = torch.full((), (self.salt << 20) + call, dtype=torch.int64, device=x.device)
        start = _mix(self.key + _mix(place * GOLDEN))
        index = torch.arange(1, math.prod(shape) + 1, device=x.device).view(shape)
        # start + index·GOLDEN, but no compiler can take the product for an index and overflow
        drawn = _shifted(_mix((start * INVERSE + index) * GOLDEN), 64 - RANDOM_BITS)
        return drawn >= round(self.p * (1 << RANDOM_BITS))


def training_form(module: nn.Module, *, packed: bool = False) -> nn.Module:
    """A deep copy for training in a pack.

    nn.Dropout* draw from the buffer ``key``; BatchNorm uses the batch's statistics and holds none.
    ``packed``: with layers of images in the form that is fastest when a vmapped step is compiled.
    """
    salts = iter(range(1, 1 << 30))

    def form(layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, _DropoutNd) and not isinstance(
            layer, nn.AlphaDropout | nn.FeatureAlphaDropout
        ):
            return KeyedDropout(layer.p, next(salts), whole_channels=type(layer) is not nn.Dropout)
        if isinstance(layer, _BatchNorm | _InstanceNorm):
            _forget(layer)
        return packed_form(layer) if packed else None

    trainer = _replaced(copy.deepcopy(module), form)
    trainer.register_forward_pre_hook(_restart)
    return trainer


def evaluation_form(module: nn.Module) -> nn.Module:
    """A deep copy for measuring: no dropout; BatchNorm with running statistics.

    Momentum is 1, so that one forward in train mode on a calibration batch sets the statistics
    (its mean, and its unbiased variance) whatever they were before.
    """
    def form(layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, _DropoutNd):
            return nn.Identity()
        if isinstance(layer, _BatchNorm):
            _track(layer, next(module.parameters(), torch.zeros(())))
        elif isinstance(layer, _InstanceNorm):
            _forget(layer)
        return None

    return _replaced(copy.deepcopy(module), form)


def _replaced(module: nn.Module, form: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """``module`` with ``form(layer)`` for each layer where it gives one; shared layers stay so."""
    done: dict[nn.Module, nn.Module] = {}

    def visit(layer: nn.Module) -> nn.Module:
        if layer not in done:
            done[layer] = form(layer) or layer
            for name, child in list(done[layer]._modules.items()):
                if child is not None:
                    done[layer]._modules[name] = visit(child)
        return done[layer]

    return visit(module)


def _restart(module: nn.Module, _inputs: object) -> None:
    for layer in module.modules():
        if isinstance(layer, KeyedDropout):
            layer.calls = 0


def _forget(norm: _BatchNorm | _InstanceNorm) -> None:
    norm.track_running_stats = False
    norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def _track(norm: _BatchNorm, model: Tensor) -> None:
    like = next((t for t in (norm.weight, norm.running_mean) if t is not None), model)
    zeros = torch.zeros(norm.num_features, dtype=like.dtype, device=like.device)
    norm.track_running_stats, norm.momentum = True, 1.0
    norm.running_mean, norm.running_var = zeros, zeros + 1
    norm.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=like.device)
