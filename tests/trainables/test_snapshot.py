"""States to bytes and back: every bit, and nothing that is not this pack's."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from tests.trainables.runs import blobs, config, pack_of
from trainables import snapshot
from trainables.step import update

MLP = {"name": "mlp", "width": 5, "depth": 1}
ODD = [0.0, -0.0, torch.nan, -torch.nan, torch.inf, -torch.inf, 5e-324, 0.1]


def pack(model=MLP, width=2, **options):
    return pack_of([config(model, seed=s, **options) for s in range(width)], blobs())


def advanced(of):
    state = of.init()
    for _ in range(3):
        update(of, state)
    state.observed, state.seconds = 2, {"train": 0.1, "measure": 1e-17}
    state.final = {"r1": {"step": 2, "train_loss": 0.1, "hessian_trace": float("nan")}}
    return state


def bits(tensor):
    wide = {torch.float64: torch.int64, torch.float32: torch.int32}
    return tensor.view(wide.get(tensor.dtype, tensor.dtype))


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"precision": "fp32"}])
def test_every_bit_comes_back(options):
    ours = pack(**options)
    state = advanced(ours)
    first = next(iter(state.params.values()))
    first.view(-1)[: len(ODD)] = torch.tensor(ODD, dtype=torch.float64).to(first.dtype)
    state.end_loss[:] = torch.tensor([torch.nan, -0.0])
    content = snapshot.dump(state)
    back = snapshot.load(content, ours)
    assert (back.velocity is None) == ("momentum" not in options)
    for name in ("params", "velocity"):
        theirs = getattr(back, name) or {}
        assert list(theirs) == list(getattr(state, name) or {})
        assert all(torch.equal(bits(t), bits(getattr(state, name)[n])) for n, t in theirs.items())
    for name in ("outcome", "end_step", "end_loss", "measure_ge"):
        assert torch.equal(bits(getattr(back, name)), bits(getattr(state, name)))
    assert (back.step, back.observed, back.seconds) == (3, 2, state.seconds)
    assert repr(back.final) == repr({"r1": dict(sorted(state.final["r1"].items()))})
    assert isinstance(back.final["r1"]["step"], int)
    assert snapshot.dump(back) == content


def test_what_is_loaded_can_be_trained_on():
    ours = pack(momentum=0.9)
    state = advanced(ours)
    back = snapshot.load(snapshot.dump(state), ours)
    update(ours, state)
    update(ours, back)
    assert snapshot.dump(back) == snapshot.dump(state)


# (why, the other pack)
OTHERS = [
    ("another width of layers", {"model": MLP | {"width": 6}}),
    ("more layers", {"model": MLP | {"depth": 2}}),
    ("another model", {"model": {"name": "linear"}}),
    ("another number of runs", {"width": 3}),
    ("another precision", {"precision": "fp32"}),
    ("momentum", {"momentum": 0.9}),
]


@pytest.mark.parametrize(("why", "options"), OTHERS, ids=[o[0] for o in OTHERS])
def test_another_packs_state_is_refused(why, options):
    ours, other = pack(), pack(**options)
    for content, reader in ((snapshot.dump(other.init()), ours),
                            (snapshot.dump(ours.init()), other)):
        with pytest.raises(ValueError, match="state of another pack"):
            snapshot.load(content, reader)


def test_memories_are_of_the_packs_runs():
    ours = pack()
    state = ours.init()
    state.memory = {"mine:mon z": torch.ones(2, 3), "path_length": torch.arange(2.0)}
    back = snapshot.load(snapshot.dump(state), ours)
    assert all(torch.equal(back.memory[n], t) for n, t in state.memory.items())
    for other in (torch.ones(3, 3), torch.tensor(1.0)):
        state.memory = {"z": other}
        with pytest.raises(ValueError, match="state of another pack: memory/z is"):
            snapshot.load(snapshot.dump(state), ours)


def stripped(content, **changes):
    """The same file without one tensor, or with another header."""
    tensors = load_tensors(content)
    tensors.pop("outcome" if "outcome" in changes else "", None)
    return save(tensors, metadata=changes.get("metadata"))


# (why, what becomes of the bytes of a good state)
BROKEN = [
    ("empty", lambda c: b""),  # noqa: ARG005
    ("a pickle", lambda c: pickle.dumps({"params": c})),
    ("a header that is no mapping", lambda c: (2).to_bytes(8, "little") + b"[]" + c),
    ("cut in the header", lambda c: c[:40]),
    ("cut in the numbers", lambda c: c[:-1]),
    ("bytes behind the end", lambda c: c + b"\0"),
    ("weights, not a state", lambda c: snapshot.dump_weights({"a": torch.ones(2)})),  # noqa: ARG005
    ("no outcomes", lambda c: stripped(c, outcome=None, metadata={"state": json.dumps(
        {"step": 1, "observed": 1, "seconds": {}, "final": {}})})),
    ("no step", lambda c: stripped(c, metadata={"state": "{}"})),
    ("scalars that are no mapping", lambda c: stripped(c, metadata={"state": "3"})),
]


@pytest.mark.parametrize(("why", "broken"), BROKEN, ids=[b[0] for b in BROKEN])
def test_what_is_no_state_is_refused(why, broken):
    ours = pack()
    content = snapshot.dump(ours.init())
    snapshot.load(content, ours)
    with pytest.raises(ValueError, match="state"):
        snapshot.load(broken(content), ours)


def test_weights_are_plain_safetensors():
    weights = {"b": torch.tensor(ODD).double()[::2], "a": torch.arange(6).view(2, 3).T}
    back = load_tensors(snapshot.dump_weights(weights))
    assert back.keys() == weights.keys()
    assert torch.equal(bits(back["b"]), bits(weights["b"].contiguous()))
    assert torch.equal(back["a"], weights["a"])
