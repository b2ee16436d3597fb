"""What a pack takes of memory: counted by hand, and against the peak of real processes."""

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.trainables.runs import config
from trainables import memory
from trainables.memory import Need, budget, need, widest, widest_pack

CPU, GiB, LINEAR = torch.device("cpu"), 1 << 30, {"name": "linear"}


def a_config(model, *, train_size=200, test_size=50, set_size=100, **options):
    """A run's config with the sizes of its data in it."""
    cfg = config(model, set_size=set_size, precision="fp32", **options)
    return {**cfg, "data": {**cfg["data"], "train_size": train_size, "test_size": test_size}}


@pytest.mark.parametrize(("budget", "most", "expected"), [
    (1000, 64, 8),   # 100 + 8·100 fits, 16 does not
    (900, 64, 8),    # exactly
    (899, 64, 4),
    (1 << 40, 64, 64),
    (1 << 40, 48, 32),  # only rungs of the ladder
    (0, 64, 1),      # one run is tried, whatever is counted
    (1 << 40, 1, 1),
])
def test_the_widest_rung_that_fits(budget, most, expected):
    assert widest(lambda width: 100 + 100 * width, budget, most) == expected


def test_a_peak_is_what_is_held_and_the_greatest_that_comes_on_top():
    base = {"data": 7, "held": 10, "step": 1, "single": 0, "commit": 1, "ahead": 1, "block": 1,
            "block_runs": 2, "traced": 0}
    assert Need(**base).of(4) == 7 + 40 + 4 + 4            # the updates ahead
    assert Need(**base | {"commit": 50}).of(4) == 7 + 40 + 200
    assert Need(**base | {"block": 50}).of(4) == 7 + 40 + 4 + 100  # two at once
    assert Need(**base | {"block": 50, "traced": 9}).of(1) == 7 + 10 + 1 + 50 + 9
    assert Need(**base | {"step": 0, "single": 90}).of(4) == 7 + 40 + 4 + 90


def test_what_is_counted_of_a_linear_model():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    weights = 4 * (64 * 10 + 10)
    plain = need(model, a_config(LINEAR), (64,), device=CPU, packed=True)
    assert plain.data == 4 * 64 * (200 + 50)
    assert plain.held == 2 * weights + 17 * 200
    heavy = need(model, a_config(LINEAR, momentum=0.9, noisy={"input": 0.1}), (64,),
                 device=CPU, packed=True)
    assert heavy.held - plain.held == weights + 200  # the velocity, and who is noisy
    assert heavy.data - plain.data == 4 * 64 * 200   # the noise
    adam = {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    nudged = {"name": "nudged_sgd", "k": 5, "gamma": 0.1, "every_epochs": 1, "tolerance": 1e-3}
    for optimizer, moments in ((adam, 2), (nudged, 5)):
        found = need(model, a_config(LINEAR, optimizer=optimizer), (64,), device=CPU,
                     packed=True)
        assert found.held - plain.held == moments * weights
    # what grows with the batch: as many examples twice, and what autograd keeps of them twice
    double = need(model, a_config(LINEAR, batch_size=16), (64,), device=CPU, packed=True)
    growing = {"name": "cyclic", "period": 1.0, "factor": 2.0, "by": "epoch"}
    assert double.step - plain.step == 8 * (2 * 4 * 64 + 2 * 1024)
    assert double == need(model, a_config(LINEAR, batch_schedule=growing), (64,), device=CPU,
                          packed=True)
    # a loop evaluates the runs one after the other
    loop = need(model, a_config(LINEAR), (64,), device=CPU, packed=False)
    assert (loop.step + loop.single, loop.block_runs) == (plain.step, 1)
    assert need(model, {**a_config(LINEAR), "precision": "fp64"}, (64,), device=CPU,
                packed=True).data == 2 * plain.data


def test_budgets(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", (str(tmp_path / "max"), str(tmp_path / "absent")))
    monkeypatch.setattr(memory.os, "sysconf", {
        "SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * GiB // 4096}.__getitem__)
    assert budget(CPU, 1) == 8 * GiB
    assert budget(CPU, 4) == 2 * GiB
    (tmp_path / "max").write_text("max\n")
    assert budget(CPU, 1) == 8 * GiB
    (tmp_path / "max").write_text(f"{4 * GiB}\n")  # a container's
    assert budget(CPU, 1) == 2 * GiB
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert budget(torch.device("cuda"), 4) > 1 << 60  # planned where there is no GPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties",
                        lambda _: SimpleNamespace(total_memory=80 * GiB))
    assert budget(torch.device("cuda"), 4) == 16 * GiB


def test_the_widest_pack_of_a_model(monkeypatch):
    monkeypatch.setattr(memory, "_machine", lambda: 4 * GiB)

    def found(hidden, sharing=1):
        model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
        return widest_pack(model, a_config(LINEAR), (64,), device=CPU, sharing=sharing,
                           packed=True, most=64)

    assert found(64) == 64
    widths = [found(100_000, sharing) for sharing in (1, 2, 4, 1000)]
    assert widths == sorted(widths, reverse=True)
    assert 1 < widths[0] < 64
    assert widths[-1] == 1


def test_release_frees_cycles():
    gc.disable()
    try:
        layer = nn.Linear(2, 2)
        layer.own = [layer]
        gone = weakref.ref(layer)
        del layer
        assert gone() is not None
        memory.release()
        assert gone() is None
    finally:
        gc.enable()


PEAKS = """
import json, sys
from pathlib import Path
import torch
from tests.trainables.runs import blobs, pack_of
from tests.trainables.test_memory import a_config
from trainables import memory, snapshot
from trainables.train import Segment, train

torch.set_num_threads(1)

def of_process(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(l for l in lines if l.startswith(field)).split()[1])

def peak(model, width, engine, shape, options):
    data = blobs(shape, classes=10, train=200, test=50)
    configs = [a_config(model, seed=s, steps=3, epochs=None, **options) for s in range(width)]
    memory.release()
    Path("/proc/self/clear_refs").write_text("5")
    before = of_process("VmRSS")
    pack = pack_of(configs, data, engine=engine)
    for event in train(pack, pack.init(), []):
        if isinstance(event, Segment):
            snapshot.dump(event.state)
    found = memory.need(pack.template, configs[0], shape, device=torch.device("cpu"),
                        packed=pack.engine.packed)
    return found.of(width), of_process("VmHWM") - before

peak({"name": "mlp", "width": 64, "depth": 2}, 2, "vmap", [64], {})  # loads the libraries
print(json.dumps([peak(*case) for case in json.loads(sys.argv[1])]))
"""
WIDE = {"name": "mlp", "width": 1024, "depth": 2}
ADAM = {"optimizer": {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}}
SPECTRUM = {"monitors": [["spectrum", {"k": 1, "lambda_min": False, "trace": False,
                                       "tolerance": 0.1, "max_products": 20}]]}
CASES = [
    (WIDE, 4, "vmap", [64], {}),                          # parameters
    (WIDE, 2, "vmap", [64], ADAM),                        # and moments
    ({"name": "simple_cnn", "width": 16}, 2, "loop", [3, 32, 32], {"batch_size": 128}),  # a graph
]
MORE = [
    (WIDE, 4, "vmap", [64], SPECTRUM),                    # vectors of a search
    (WIDE, 16, "vmap", [64], ADAM),
    ({"name": "simple_cnn"}, 4, "loop", [3, 32, 32], {"batch_size": 200}),  # one run's graph
    ({"name": "simple_cnn"}, 4, "vmap", [3, 32, 32], {"batch_size": 128}),  # and all runs'
]


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of a process are read from /proc")
@pytest.mark.parametrize("cases", [CASES, pytest.param(MORE, marks=pytest.mark.slow)])
def test_within_a_factor_of_two_of_the_peaks_of_a_process(cases):
    said = subprocess.run([sys.executable, "-c", PEAKS, json.dumps(cases)], check=True,
                          cwd=Path(__file__).parents[2], capture_output=True, text=True)
    for case, (counted, peak) in zip(cases, json.loads(said.stdout), strict=True):
        assert 0.5 < counted / peak < 2, (case, counted >> 20, peak >> 20)
