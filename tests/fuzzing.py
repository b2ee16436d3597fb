"""Broken specs and broken files from seeds: the same ones on every machine."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path

from tests.orchestrator.test_spec import FULL, paths

ROOT = Path(__file__).parents[1]
TOKENS = [
    "a", "b: ", "- ", "? ", ": ", "{", "}", "[", "]", ",", "\n", "  ", "\t", "&x ", "*x", "!!int ",
    "!!python/name:os ", "<<: ", "'", '"', "|", ">", "%YAML 1.2\n", "---\n", "...\n", "# ", "010",
    "1e5", "yes", ".nan", "\\x", "\r", "\u2028", "\x85", "@", "`", "null", "0x1", "~", "1:2",
    "\ufeff", "\0", "1e400", "9" * 50, "name: a\n", "data: {name: digits}\n",
    "model: {name: mlp}\n",
    "train: {epochs: 2, lr: 0.1, batch_size: 8}\n", "sweep:\n  axes:\n", "    lr: [0.1, 0.2]\n",
    "    seed: {count: 3}\n", "    x: {log: [1, 2], n: 3}\n", "  derived: {lr: ratio * 2}\n",
    "  search: {sampler: tpe, runs: 8}\n", "measure: {monitors: [spectrum]}\n", "claims: [a]\n",
    "probes: [wedge]\n", "compute: {pack: 3}\n", "save: {weights: final}\n", "storage: x\n"]
VALUES = [
    None, True, False, 0, -1, 1, 2.5, -0.0, 1e-320, 1e300, 10**39, "", "x", "full", "lr", "seed",
    "mlp", "npz:x", "a:b", "1/0", "lr > 0", "x" * 600, "..", "~x/y", "\u2028", "\ud800", [], {},
    [1], [0.1, True], [[]], [["lr"]], [None], {"a": 1}, {"name": 3}, {"name": []}, {"log": [1, 2]},
    {"log": [0, 1], "n": 2}, {"count": 3}, {"count": 10**6}, {"linear": [1, 1e9], "n": 3},
    {"spectrum": {"k": []}}, [{"lr": 0.1}], {"lr": "batch_size / 10"}, {"lr": "momentum +"},
    {"": 1}, {"a.b": [1]}, "lr ** 9 ** 9", "((((((lr))))))", "-" * 300 + "lr"]


def documents(count: int, seed: int) -> Iterator[bytes]:
    """Random bytes, soups of tokens, good and bad specs with bytes changed, trees with values
    changed; a quarter each."""
    luck = random.Random(seed)
    texts = [p.read_bytes() for folder in ("orchestrator/presets", "tests/bad")
             for p in sorted((ROOT / folder).glob("*.yaml"))]
    makers = (lambda: luck.randbytes(luck.randrange(120)),
              lambda: "".join(luck.choices(TOKENS, k=luck.randrange(1, 30))).encode(),
              lambda: broken(_cut(luck.choice(texts), luck), luck, texts),
              lambda: json.dumps(_changed(luck)).encode())
    for i in range(count):
        yield makers[i % len(makers)]()


def broken(content: bytes, luck: random.Random, others: list[bytes]) -> bytes:
    """The bytes with one to three faults: flipped bits, cuts, holes, zeros, what is elsewhere."""
    data = bytearray(content)
    for _ in range(luck.randrange(1, 4)):
        at = luck.randrange(len(data) + 1)
        end = min(len(data), at + luck.randrange(1, 64))
        fault = luck.randrange(7)
        if fault == 0 and at < len(data):
            data[at] ^= 1 << luck.randrange(8)
        elif fault == 1:
            del data[at:]
        elif fault == 2:
            del data[at:end]
        elif fault == 3:
            data[at:end] = bytes(end - at)
        elif fault == 4:
            data[at:at] = luck.randbytes(luck.randrange(1, 32))
        elif fault == 5:
            data[at:at] = data[at:end]
        else:
            other = luck.choice(others)
            data[at:end] = other[at:end]
    return bytes(data)


def _cut(text: bytes, luck: random.Random) -> bytes:
    """A preset is long: its comments go, so that faults meet what counts."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(b"#")]
    return b"".join(lines if luck.random() < 0.8 else lines[: luck.randrange(len(lines) + 1)])


def _changed(luck: random.Random) -> object:
    tree = json.loads(json.dumps(FULL))
    places = [place for place in paths(FULL) if place]
    for _ in range(luck.randrange(1, 4)):
        *parents, last = luck.choice(places)
        node = tree
        for name in parents:
            known = (isinstance(node, dict) and name in node) or (
                isinstance(node, list) and isinstance(name, int) and name < len(node))
            node = node[name] if known else None
        if isinstance(node, dict):
            if luck.random() < 0.2:
                node.pop(last, None)
            else:
                key = last if luck.random() < 0.7 else luck.choice(places)[-1]
                node[str(key)] = copy.deepcopy(luck.choice(VALUES))
        elif isinstance(node, list) and isinstance(last, int) and last < len(node):
            node[last] = copy.deepcopy(luck.choice(VALUES))
    return tree
