"""Which engine and width a model gets, and when compiling pays."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables.choice import (
    Work,
    _Products,
    can_compile,
    choose,
    compiled,
    cost,
    saving,
    work_of,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
DENSE, CONV = Work(20_000, 6, False, True), Work(900_000, 12, True, True)
LARGE = Work(200_000, 4, False, True)
LOOPED = Work(20_000, 6, False, False)

# (why, work, batch size, device, engine, width limit)
RULES = [
    ("small batches leave a core idle", DENSE, 16, CPU, "vmap", 64),
    ("the next", DENSE, 17, CPU, "vmap", 32),
    ("the border", DENSE, 64, CPU, "vmap", 32),
    ("large batches fill a core sooner", DENSE, 65, CPU, "vmap", 16),
    ("larger dense nets gain nothing from width", LARGE, 8, CPU, "vmap", 16),
    ("small convolutions", CONV, 55, CPU, "vmap", 16),
    ("convolutions that fill a core by themselves", CONV, 56, CPU, "loop", 4),
    ("accelerators pack them too", CONV, 256, GPU, "vmap", 64),
    ("accelerators, large batches", DENSE, 257, GPU, "vmap", 16),
    ("what cannot be vectorised is looped over", LOOPED, 8, CPU, "loop", 4),
    ("anywhere", LOOPED, 8, GPU, "loop", 4),
]


@pytest.mark.parametrize(("why", "work", "batch_size", "device", "engine", "limit"), RULES,
                         ids=[r[0] for r in RULES])
def test_choose(why, work, batch_size, device, engine, limit):
    assert choose(work, batch_size=batch_size, device=device) == (engine, limit)


@pytest.mark.parametrize(("why", "work", "batch_size", "device", "engine"), [
    ("small nets", DENSE, 128, CPU, "vmap-compiled"),
    ("weights that fill the cache", LARGE, 32, CPU, "loop-compiled"),
    ("small batches leave more to gain", LARGE, 16, CPU, "vmap-compiled"),
    ("accelerators", LARGE, 32, GPU, "vmap-compiled"),
    ("large convolutions", CONV, 128, CPU, "loop-compiled"),
    ("what cannot be vectorised may hold anything", LOOPED, 8, CPU, None),
])
def test_compiled(why, work, batch_size, device, engine):
    plain, _ = choose(work, batch_size=batch_size, device=device)
    assert compiled(work, plain, batch_size=batch_size, device=device) == engine


def test_work_is_counted_a_example():
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Flatten(), nn.Linear(3 * 16, 5))
    found = work_of(net, torch.zeros(4, 1, 4, 4), vectorises=True)
    assert found == Work(2 * 16 * 27 + 2 * 48 * 5, 4, True, True)


class _Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x)[0]


class _Multiplies(nn.Linear):
    def forward(self, x):
        return x @ self.weight.T


@pytest.mark.parametrize(("net", "shape", "plain"), [
    (nn.Sequential(nn.Conv1d(2, 4, 3, stride=2, groups=2), nn.ReLU()), (2, 9), True),
    (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2)), (3, 8, 8),
     True),
    (nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3, bias=False)), (5, 6), True),
    (_Attends(), (4, 8), False),       # its products are made within one function
    (_Multiplies(6, 4), (6,), False),
    (nn.ConvTranspose2d(2, 3, 2), (2, 4, 4), False),
], ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "")
def test_work_is_what_torch_counts(net, shape, plain):
    x = torch.zeros(2, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    with _Products() as products, torch.no_grad():
        net(x)
    assert products.plain == plain
    assert work_of(net, x, vectorises=True).flops == counter.get_total_flops() // 2 > 0


def test_counting_does_not_import_the_compiler():
    code = ("import sys, torch; from trainables.choice import work_of;"
            "work_of(torch.nn.Linear(2, 2), torch.zeros(1, 2), vectorises=True);"
            "print('torch._dynamo' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                          cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "False"


def test_compiling_pays_in_proportion_to_the_steps_and_costs_by_the_size_of_the_graph():
    of = {"engine": "vmap", "batch_size": 8}
    assert saving(DENSE, width=32, **of) > saving(DENSE, width=8, **of) > 5e-4
    assert saving(DENSE, engine="loop", width=8, batch_size=8) == pytest.approx(
        8 * saving(DENSE, engine="loop", width=1, batch_size=8))
    assert cost(CONV) > cost(DENSE) > 5


def test_a_compiler_is_looked_for_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert not can_compile()
    (tmp_path / "clang++").touch(mode=0o755)
    assert can_compile()
