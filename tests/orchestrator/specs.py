"""A small valid spec, and ways to write variants of it."""

import json

from orchestrator.spec import load_spec

BASE = {
    "name": "a", "data": {"name": "digits"}, "model": {"name": "mlp", "width": 8, "depth": 1},
    "train": {"epochs": 2, "lr": 0.1, "batch_size": 8},
}


def write(folder, tree):
    """The tree as a spec file (JSON is YAML)."""
    path = folder / "spec.yaml"
    path.write_text(json.dumps(tree))
    return str(path)


def spec(folder, *, sweep=None, without=(), **sections):
    """The Spec of BASE with sections extended, and ``train`` keys taken away."""
    tree = {**BASE, **({"sweep": sweep} if sweep is not None else {})}
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values} if isinstance(values, dict) else values
    tree["train"] = {k: v for k, v in tree["train"].items() if k not in without}
    return load_spec(write(folder, tree))


TINY = {
    "name": "tiny", "data": {"name": "digits", "train_size": 100}, "model": {"name": "linear"},
    "train": {"epochs": 2, "batch_size": 10}, "sweep": {"axes": {"lr": [0.01, 0.1]}},
    "measure": {"when": {"initial": False}, "set_size": 50, "monitors": [
        {"spectrum": {"k": 1, "lambda_min": False, "trace": False, "tolerance": 0.1}}]},
}


def tiny(folder, **sections):
    """TINY, of which a run takes milliseconds, as a file; its storage lies beside it."""
    return write(folder, {**TINY, "storage": str(folder / "sweeps"), **sections})


def tree(folder):
    """Every file below a folder with its bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file()}


def failing(folder):
    """A spec of two packs, of which the one with batch size 16 raises in training."""
    (folder / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        if self.training and len(x) == 16:\n"
        "            raise RuntimeError('sixteen is too many')\n"
        "        return super().forward(x)\n\n\n"
        "def net(input_shape, classes):\n"
        "    return Net(nn.Flatten(), nn.Linear(64, classes))\n")
    return tiny(folder, model={"name": "mine:net"}, train={"epochs": 1, "lr": 0.1},
                sweep={"axes": {"batch_size": [16, 20]}})


def untraceable(folder, **sections):
    """A spec of compiled steps, of a model that no graph can be made of: it holds a tensor."""
    (folder / "holding.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    scale = torch.tensor(2.0)\n\n"
        "    def forward(self, x):\n"
        "        return super().forward(x * self.scale)\n\n\n"
        "def net(input_shape, classes):\n"
        "    return Net(nn.Flatten(), nn.Linear(64, classes))\n")
    return tiny(folder, **{"model": {"name": "holding:net"}, "compute": {"compile": True},
                           **sections})
