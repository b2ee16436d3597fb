"""Layers of images that, vmapped over the runs of a pack on a CPU, keep one memory layout.

torch.func.vmap turns R convolutions into one grouped convolution, but every pool and every sum
with a bias puts the runs back in front, so that a compiled step copies each image between the
layouts (…, R, C) and (R, …, C) several times a layer. These layers pass images on as
(S, H, W, R·C), which oneDNN's grouped convolution takes as it is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor, is_gradtrackingtensor

POINTWISE = (nn.ReLU, nn.Tanh, nn.GELU, nn.ELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.LeakyReLU,
             nn.SELU)


class _Rule(torch.autograd.Function):
    """Gives a layer its own batching rule; differentiated only from outside of the vmap."""

    @staticmethod
    def forward(layer, x, *parameters):
        return layer.single(x, *parameters)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def vmap(info, in_dims, layer, x, *parameters):
        _, at, *places = in_dims
        runs = info.batch_size
        if at is None:
            images = x.permute(0, 2, 3, 1)
        else:
            images = x.movedim(at, 0).permute(1, 3, 4, 0, 2).flatten(3)
        rows = [None if p is None else p.expand(runs, *p.shape) if d is None else p.movedim(d, 0)
                for p, d in zip(parameters, places, strict=True)]
        out = layer.joint(images.permute(0, 3, 1, 2), runs if at is not None else 1, *rows)
        return out.permute(0, 2, 3, 1).unflatten(3, (runs, -1)).permute(3, 0, 4, 1, 2), 0


class _Packed(nn.Module):
    """One run's layer ``single`` and, for all runs at once, ``joint``; equal to rounding.

    ``joint(images, groups, *parameters)``: images (S, groups·C, H, W), whose channels are the
    runs' own (or, where groups is 1, shared by all), parameters (R, …); gives (S, R·O, h, w).
    """

    def apply_to(self, x: Tensor, *parameters: Tensor | None) -> Tensor:
        """``single``, by way of ``joint`` where a vmap on a CPU is the innermost transformation."""
        given = [t for t in (x, *parameters) if t is not None]
        if x.device.type == "cpu" and x.dim() == 4 and any(map(is_batchedtensor, given)) and (
                not any(map(is_gradtrackingtensor, given))):
            return _Rule.apply(self, x, *parameters)
        return self.single(x, *parameters)


class PackedConv2d(_Packed):
    """nn.Conv2d without groups and with zero padding; it shares the layer's parameters."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.geometry = layer.stride, layer.padding, layer.dilation

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) -> (S, O, h, w)."""
        return self.apply_to(x, self.weight, self.bias)

    def single(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One run's."""
        return F.conv2d(x, weight, bias, *self.geometry)

    def joint(self, images: Tensor, groups: int, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One grouped convolution."""
        # oneDNN wants the weights too with their channels last: once, not in each pass anew.
        weight = weight.flatten(0, 1).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return F.conv2d(images, weight, None if bias is None else bias.flatten(), *self.geometry,
                        groups)


class PackedBatchNorm2d(_Packed):
    """nn.BatchNorm2d by the batch's statistics; it shares the layer's parameters."""

    def __init__(self, layer: nn.BatchNorm2d):
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        """(S, C, H, W) -> (S, C, H, W)."""
        return self.apply_to(x, self.weight, self.bias)

    def single(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """One run's."""
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)

    def joint(self, images: Tensor, groups: int, weight: Tensor | None,
              bias: Tensor | None) -> Tensor:
        """Each channel is normalised on its own, whosever it is."""
        if weight is not None and groups == 1:
            images = images.repeat(1, len(weight), 1, 1)
        return self.single(images, *(None if p is None else p.flatten() for p in (weight, bias)))


class PackedChannelwise(_Packed):
    """A layer without parameters that treats each channel on its own: activations and pools."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.single = layer.forward  # not the module: it has no parameters to register

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        return self.apply_to(x)

    def joint(self, images: Tensor, groups: int) -> Tensor:  # noqa: ARG002
        """The layer itself: the runs' channels are just more channels."""
        return self.single(images)


def packed_form(layer: nn.Module) -> nn.Module | None:
    """The packed layer equal to ``layer``, or None where there is none.

    Exact types without hooks only: others may do something else. Parameters keep names and shapes.
    """
    kind = type(layer)
    if layer._forward_hooks or layer._forward_pre_hooks:  # weight_norm's, or the user's own
        return None
    if kind is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
        return PackedConv2d(layer)
    if kind is nn.BatchNorm2d and not layer.track_running_stats:
        return PackedBatchNorm2d(layer)
    pools = kind is nn.AvgPool2d or (kind is nn.MaxPool2d and not layer.return_indices)
    if pools or (kind in POINTWISE and not getattr(layer, "inplace", False)):
        return PackedChannelwise(layer)
    return None
