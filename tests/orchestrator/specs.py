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
