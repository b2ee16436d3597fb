"""A loop over single runs as a careful user writes it: eager, and its whole step compiled.

Everything that can be made before the loop is: batches of indices, the data on the device. No
DataLoader, no optimiser class, no ``.item()``. Needs torch alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.modules.batchnorm import _BatchNorm

from bench.shapes import CLASSES, ROOT, Shape, config, dataset
from trainables import models

Step = Callable[[int], None]
_BATCHES = 256  # of indices, used over and over


class _Begun:
    """A run's net, data and batches."""

    def __init__(self, shape: Shape, device: str, *, channels_last: bool):
        train = config(shape)["train"]
        torch.manual_seed(0)
        net = models.build(models.resolve(shape.model), shape.input, CLASSES, ROOT)
        dtype = torch.float64 if shape.precision == "fp64" else torch.float32
        self.net: nn.Module = net.to(device, dtype).train()
        for layer in net.modules():
            if isinstance(layer, _BatchNorm):  # our packs keep no running statistics either
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        data = dataset(shape)
        self.x = torch.as_tensor(data.x_train).to(device, dtype)
        self.y = torch.as_tensor(data.y_train).to(device)
        if channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)
            self.x = self.x.to(memory_format=torch.channels_last)
        self.rate, self.momentum = train["lr"], train["momentum"]
        self.adam = train["optimizer"] if train["optimizer"]["name"] == "adam" else None
        per_epoch = shape.examples // shape.batch_size
        epochs = [torch.randperm(shape.examples)[: per_epoch * shape.batch_size]
                  for _ in range(-(-_BATCHES // per_epoch))]
        self.batches = torch.cat(epochs).view(-1, shape.batch_size).to(device).unbind()


def eager(shape: Shape, device: str = "cpu", *, channels_last: bool = False) -> Step:
    """One run's step, made of torch's own kernels."""
    run = _Begun(shape, device, channels_last=channels_last)
    net, x, y, batches = run.net, run.x, run.y, run.batches
    params = list(net.parameters())
    advance = _advance(run, params)

    def step(t: int) -> None:
        index = batches[t % len(batches)]
        loss = F.cross_entropy(net(x.index_select(0, index)), y.index_select(0, index))
        advance(torch.autograd.grad(loss, params))

    return step


def _advance(run: _Begun, params: list[Tensor]) -> Callable[[Sequence[Tensor]], None]:
    """The update in as few calls as torch offers."""
    rate, momentum = run.rate, run.momentum
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    if run.adam is not None:
        steps = [torch.zeros((), device=p.device) for p in params]
        a: dict[str, Any] = {"beta1": run.adam["beta1"], "beta2": run.adam["beta2"],
                             "eps": run.adam["epsilon"]}

        @torch.no_grad()
        def adam(grads: Sequence[Tensor]) -> None:
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(params, list(grads), first, second, [], steps, lr=rate,
                               weight_decay=0.0, amsgrad=False, maximize=False, **a)
        return adam

    @torch.no_grad()
    def heavy_ball(grads: Sequence[Tensor]) -> None:
        torch._foreach_mul_(first, momentum)
        torch._foreach_add_(first, grads)
        torch._foreach_add_(params, first, alpha=-rate)

    @torch.no_grad()
    def sgd(grads: Sequence[Tensor]) -> None:
        torch._foreach_add_(params, grads, alpha=-rate)

    return heavy_ball if momentum else sgd


def compiled(shape: Shape, device: str = "cpu", *, channels_last: bool = False) -> Step:
    """The same step, from the gathering of its batch to its update, as one compiled graph."""
    run = _Begun(shape, device, channels_last=channels_last)
    net, adam, momentum = run.net, run.adam, run.momentum
    params = {n: p.detach().clone() for n, p in net.named_parameters()}
    first, second = ({n: torch.zeros_like(p) for n, p in params.items()} for _ in range(2))
    rate = torch.tensor(run.rate, device=device, dtype=run.x.dtype)
    count = torch.zeros((), device=device)

    def whole(params, first, second, count, rate, x, y, index):
        grads = grad(lambda p: F.cross_entropy(
            functional_call(net, p, (x[index],)), y[index]))(params)
        if adam is not None:
            count += 1
        for n, p in params.items():
            if adam is not None:
                b1, b2 = adam["beta1"], adam["beta2"]
                first[n].lerp_(grads[n], 1 - b1)
                second[n].mul_(b2).addcmul_(grads[n], grads[n], value=1 - b2)
                root = (second[n] / (1 - b2**count)).sqrt() + adam["epsilon"]
                p.sub_(rate / (1 - b1**count) * first[n] / root)
            elif momentum:
                first[n].mul_(momentum).add_(grads[n])
                p.sub_(rate * first[n])
            else:
                p.sub_(rate * grads[n])

    fast = torch.compile(whole, dynamic=False, fullgraph=True)

    def step(t: int) -> None:
        fast(params, first, second, count, rate, run.x, run.y, run.batches[t % len(run.batches)])

    return step
