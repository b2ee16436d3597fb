"""Run configs, packs and a plain PyTorch training loop to hold them against."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from trainables import models, noise
from trainables.datasets import Dataset
from trainables.linalg.products import flatten
from trainables.losses import per_example
from trainables.pack import Member, Pack
from trainables.sampling import epoch_indices
from trainables.streams import derive

HERE = Path(__file__).parent


def blobs(shape=(6,), classes=3, train=40, test=12, seed=0) -> Dataset:
    """Gaussian classes: small, learnable, any input shape."""
    source = np.random.default_rng(seed)
    centres = source.normal(size=(classes, *shape))
    y = np.arange(train + test) % classes
    x = (centres[y] + 0.7 * source.normal(size=(train + test, *shape))).astype(np.float32)
    return Dataset(x[:train], y[:train], x[train:], y[train:], classes, "0" * 64)


def config(model, *, seed=0, lr=0.1, batch_size=8, precision="fp64", monitors=(), when=None,
           set_size=None, noisy=None, **train):
    """A run's whole config, as the orchestrator would write it."""
    full = {"lr": lr, "batch_size": batch_size, "epochs": 2, "steps": None, "until": None,
            "loss": "cross_entropy", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0,
            "lr_schedule": {"name": "constant"}, "sampling": "without_replacement",
            "max_loss": 1e4, "optimizer": {"name": "sgd"}, "batch_schedule": {"name": "constant"},
            "fisher_penalty": 0.0, "fisher_every": 1, **train}
    return {
        "data": {"name": "blobs", "seed": 0}, "model": models.resolve(model), "train": full,
        "noise": {"label": 0.0, "input": 0.0, "gradient": 0.0, **(noisy or {})},
        "measure": {"when": when or {"early": None, "final": True, "initial": True},
                    "set_size": set_size, "monitors": [list(m) for m in monitors]},
        "seed": seed, "precision": precision,
    }


def pack_of(configs, data, *, width=None, engine="vmap") -> Pack:
    """A pack on the CPU; run ids are r0, r1, …"""
    members = [Member(f"r{i}", c) for i, c in enumerate(configs)]
    return Pack(members, data, width=width or len(members), engine=engine,
                device=torch.device("cpu"), base_dir=HERE)


def fresh_model(cfg, data):
    """The plain module at the run's initial weights, in the run's precision."""
    torch.manual_seed(derive(cfg["seed"], "init"))
    built = models.build(cfg["model"], data.x_train.shape[1:], data.classes, HERE)
    return built.to(torch.float64 if cfg["precision"] == "fp64" else torch.float32)


def noisy_set(cfg, data):
    """The training set as this run sees it: its victims replaced."""
    x, y = data.x_train.copy(), data.y_train.copy()
    for kind, (rank, drawn), target in (
            ("label", noise.label_noise(data.y_train, data.classes, 0), y),
            ("input", noise.input_noise(data.x_train, 0), x)):
        victims = np.asarray(rank) < round(cfg["noise"][kind] * len(y))
        target[victims] = np.asarray(drawn)[victims]
    dtype = torch.float64 if cfg["precision"] == "fp64" else torch.float32
    return torch.tensor(x, dtype=dtype), torch.tensor(y)


def plain_optimizer(module, t):
    """torch's own optimiser for a section ``train``."""
    if t["optimizer"]["name"] == "adam":
        o = t["optimizer"]
        return torch.optim.Adam(module.parameters(), lr=t["lr"], betas=(o["beta1"], o["beta2"]),
                                eps=o["epsilon"], weight_decay=t["weight_decay"])
    return torch.optim.SGD(module.parameters(), lr=t["lr"], momentum=t["momentum"],
                           nesterov=t["nesterov"], weight_decay=t["weight_decay"])


def plain_training(cfg, data, steps):
    """The run in a plain separate PyTorch loop with torch.optim; the module at the end."""
    module, (x, y), t = fresh_model(cfg, data).train(), noisy_set(cfg, data), cfg["train"]
    rate = plain_optimizer(module, t)
    per_epoch = len(x) // t["batch_size"]
    for step in range(steps):
        epoch, batch = divmod(step, per_epoch)
        index = epoch_indices([cfg["seed"]], epoch, train_size=len(x), batch_size=t["batch_size"])
        i = index[0, batch]
        out = module(x[i])
        if t["loss"] == "cross_entropy":
            loss = F.cross_entropy(out, y[i])
        else:
            loss = 0.5 * (out - F.one_hot(y[i], out.shape[1])).square().sum(1).mean()
        rate.zero_grad()
        loss.backward()
        _add_gradient_noise(module, cfg, step)
        rate.step()
    return module


def _add_gradient_noise(module, cfg, step):
    if not cfg["noise"]["gradient"]:
        return
    source = torch.Generator().manual_seed(derive(cfg["seed"], "gradient_noise", step))
    flat = torch.randn(sum(p.numel() for p in module.parameters()), generator=source,
                       dtype=torch.float64)
    at = 0
    for p in module.parameters():
        p.grad += cfg["noise"]["gradient"] * flat[at : at + p.numel()].view_as(p).to(p.dtype)
        at += p.numel()


def dense_hessian(cfg, data, index, weights=None):
    """The Hessian of the run's mean loss, at its initial weights or the given ones."""
    module, (x, y) = fresh_model(cfg, data).eval(), noisy_set(cfg, data)
    if weights is not None:
        module.load_state_dict(weights)
    names = [n for n, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]

    def loss(flat):
        parts = flat.split([s.numel() for s in shapes])
        params = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        out = torch.func.functional_call(module, params, (x[index],))
        if cfg["train"]["loss"] == "mse":
            return 0.5 * (out - F.one_hot(y[index], out.shape[1])).square().sum(1).mean()
        return F.cross_entropy(out, y[index])

    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    return torch.func.hessian(loss)(flat), torch.func.grad(loss)(flat), flat


def example_gradients(probe, index):
    """(R, m, P) gradient of each training example's own loss, at positions ``index`` (m,)."""
    pack = probe.pack
    x, y, shared = pack.examples(index, probe.runs)

    def loss(params, buffers, x, y):
        out = torch.func.functional_call(pack.evaluator, (params, buffers), (x[None],))
        return per_example(pack.train["loss"], out, y[None]).sum()

    each, found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, None, 0, 0)), []
    for r in range(len(probe.seeds)):
        params = {n: p[r] for n, p in probe.params.items()}
        buffers = {n: b[r] for n, b in probe.buffers.items()}
        found.append(flatten(each(params, buffers, x if shared else x[r], y[r])))
    return torch.stack(found)
