"""What a user's monitor may return."""

import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of
from trainables.curves import Curve
from trainables.errors import InputError
from trainables.monitors import Monitor
from trainables.probe import Probe
from trainables.returned import checked, untouched

R = 2
MONITOR = Monitor("mine:mon", "mine:mon", {"a": "1"}, {}, lambda *_: 0.0,
                  spectra={"op": "an operator"}, curves={"curve": "a curve"})
CURVE = Curve(torch.arange(4), torch.zeros(R, 4))
GOOD = {"a": torch.zeros(R), "op": torch.zeros(R, 3), "curve": CURVE}


@pytest.mark.parametrize("found", [
    GOOD, {**GOOD, "curve": Curve(torch.zeros(R, 4), torch.zeros(R, 4), "each run's own x")},
    {**GOOD, "curve": [CURVE, CURVE]}, {**GOOD, "curve": []},
    {**GOOD, "a": torch.tensor([True, False])},   # a flag is a number
    {**GOOD, "a": torch.tensor([3, torch.iinfo(torch.int64).max])},
    {**GOOD, "a": torch.tensor([torch.nan, 1.0], requires_grad=True)},
    {**GOOD, "op": torch.zeros(R, 0)},            # no eigenvalue was found
])
def test_what_is_declared_passes(found):
    assert checked(MONITOR, found, runs=R) == found


@pytest.mark.parametrize(("found", "said"), [
    (None, "mine:mon returned a NoneType"), ([1], "mine:mon returned a list"),
    (torch.zeros(R), "mine:mon returned a tensor of float32"),
    ({}, "mine:mon declares `a` and did not return it"),
    ({"a": GOOD["a"], "op": GOOD["op"]}, "mine:mon declares `curve` and did not return it"),
    ({**GOOD, "b": GOOD["a"]}, "mine:mon returned `b`, which it does not declare"),
    ({**GOOD, 3: GOOD["a"]}, "mine:mon returned `3`, which it does not declare"),
    ({**GOOD, "a": 1.0}, "mine:mon returned a float as `a`"),
    ({**GOOD, "a": [1.0, 2.0]}, "mine:mon returned a list as `a`"),
    ({**GOOD, "a": torch.zeros(R, dtype=torch.complex64)},
     "mine:mon returned a tensor of complex64 as `a`"),
    ({**GOOD, "a": torch.zeros(())}, "a tensor of shape () as `a`, not (2,)"),  # over the runs too
    ({**GOOD, "a": torch.zeros(R + 1)}, "a tensor of shape (3,) as `a`, not (2,)"),
    ({**GOOD, "a": torch.zeros(R, 1)}, "a tensor of shape (2, 1) as `a`, not (2,)"),
    ({**GOOD, "op": torch.zeros(R)}, "a tensor of shape (2,) as `op`, not (2, k)"),
    ({**GOOD, "curve": torch.zeros(R, 4)}, "mine:mon returned a tensor of float32 as `curve`"),
    ({**GOOD, "curve": Curve(torch.arange(4), torch.zeros(4))},
     "mine:mon returned a curve of shape (4,) as `curve`"),
    ({**GOOD, "curve": Curve(torch.arange(4), [1.0, 2.0])},
     "mine:mon returned a curve whose value is a list as `curve`"),
    ({**GOOD, "curve": Curve([1, 2, 3, 4], torch.zeros(R, 4))},
     "mine:mon returned a curve whose x is a list as `curve`"),
    ({**GOOD, "curve": Curve(torch.arange(3), torch.zeros(R, 4))},
     "mine:mon returned a curve whose x is of shape (3,) as `curve`"),
    ({**GOOD, "curve": Curve(torch.zeros(1, 4), torch.zeros(R, 4))},
     "mine:mon returned a curve whose x is of shape (1, 4) as `curve`"),
    ({**GOOD, "curve": Curve(torch.arange(4), torch.zeros(R, 4), series=3)},
     "mine:mon returned a curve whose series is an int as `curve`"),
])
def test_anything_else_is_told_in_one_sentence(found, said):
    with pytest.raises(InputError) as caught:
        checked(MONITOR, found, runs=R)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def probe():
    pack = pack_of([config({"name": "linear"}, seed=s) for s in range(R)], blobs())
    return Probe(pack, pack.init(), slice(0, R))


@pytest.mark.parametrize("write", [
    lambda p: next(iter(p.params.values())).mul_(1.0),
    lambda p: next(iter(p.params.values()))[0].zero_(),  # of one run
    lambda p: next(iter(p._state.params.values()))[:, 0].add_(1),
    lambda p: p.params.update({n: t.clone() for n, t in p.params.items()}),
    lambda p: p.params.clear(),
])
def test_writing_to_the_parameters_is_told(write):
    of = probe()
    with pytest.raises(InputError, match="mine:mon changes the model's parameters"), \
            untouched(MONITOR, of):
        write(of)


def test_reading_and_differentiating_is_no_writing():
    of = probe()
    with untouched(MONITOR, of):
        of.curvature.product(of.gradient)
        of.gradient_of(of.params, torch.arange(3))
        of.flat.add_(1)
        of.updates.mul_(2)
        _ = of.eigenpairs
