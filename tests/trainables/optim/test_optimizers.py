"""Every optimiser resumes bit for bit, and its state is part of the pack's."""

import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of
from tests.trainables.test_train import drive, steady
from trainables import snapshot
from trainables.step import update

MLP = {"name": "mlp", "width": 6, "depth": 1}
ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
NUDGED = {"name": "nudged_sgd", "k": 2, "gamma": 0.1, "every_epochs": 1, "tolerance": 1e-3}
CYCLIC = {"name": "cyclic", "period": 2.0, "factor": 4.0}
GEOMETRY = [("geometry", {})]

# (why it is here, options)
CASES = [
    ("both moments", {"optimizer": ADAM}),
    ("noise in the moments", {"optimizer": ADAM, "noisy": {"gradient": 0.1}}),
    ("directions from before the border", {"optimizer": NUDGED, "momentum": 0.9, "lr": 0.02}),
    ("draws of labels", {"fisher_penalty": 0.1, "fisher_every": 2}),
    ("epochs of different lengths", {"batch_schedule": CYCLIC}),
    ("epochs of different lengths, judged at their ends",
     {"batch_schedule": CYCLIC, "epochs": None, "until": {"train_accuracy": 0.9,
                                                          "max_epochs": 3}}),
    ("the rate held within an epoch", {"lr_schedule": CYCLIC | {"by": "epoch"}}),
]


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "options"), CASES, ids=[c[0] for c in CASES])
def test_a_resumed_run_writes_what_an_unbroken_one_writes(why, options, engine):
    model = MLP | {"dropout": 0.3} if engine == "loop" else MLP
    configs = [config(model, seed=s, precision="fp32", when={"every_steps": 3}, **options)
               for s in range(2)]
    borders = [3, 7, 10]
    unbroken = drive(pack_of(configs, blobs(), engine=engine), borders)
    assert len(unbroken) >= 2
    for k, (_, content, _) in enumerate(unbroken[:-1]):
        pack = pack_of(configs, blobs(), engine=engine)
        resumed = drive(pack, borders, snapshot.load(content, pack))
        assert [steady(r) for r, _, _ in resumed] == [steady(r) for r, _, _ in unbroken[k + 1 :]]
        assert load(pack, resumed[-1][1]).keys() == load(pack, unbroken[-1][1]).keys()
        ours, theirs = load(pack, resumed[-1][1]), load(pack, unbroken[-1][1])
        assert all(torch.equal(t, theirs[n]) for n, t in ours.items())


def load(pack, content):
    """All tensors of a state, by name."""
    state = snapshot.load(content, pack)
    tensors = {f"{f}/{n}": t for f in ("params", "velocity", "second")
               for n, t in (getattr(state, f) or {}).items()}
    return tensors | {"extra_ge": state.extra_ge} | (
        {} if state.directions is None else {"directions": state.directions})


@pytest.mark.parametrize("options", [{"optimizer": ADAM}, {"optimizer": NUDGED, "momentum": 0.5}])
def test_its_state_is_saved_whole_and_refused_by_others(options):
    pack = pack_of([config(MLP, seed=s, **options) for s in range(2)], blobs())
    state = pack.init()
    for _ in range(3):
        update(pack, state)
    content = snapshot.dump(state)
    assert snapshot.dump(snapshot.load(content, pack)) == content
    other = pack_of([config(MLP, seed=s) for s in range(2)], blobs())
    for bytes_, reader in ((content, other), (snapshot.dump(other.init()), pack)):
        with pytest.raises(ValueError, match="state of another pack"):
            snapshot.load(bytes_, reader)


@pytest.mark.parametrize(("options", "extra"), [
    ({}, 0.0), ({"fisher_penalty": 0.1}, 10 * 3 * 8 / 40), ({"batch_schedule": CYCLIC}, 0.0)])
def test_what_training_costs(options, extra):
    """Two epochs of all 40 examples are 2 GE; a penalty costs 3 GE of each minibatch more."""
    pack = pack_of([config(MLP, **options)], blobs())
    (rows, _, _), = drive(pack, [pack.steps])
    assert rows["runs"][0]["epochs"] == 2
    seen = 40 + 40 // 32 * 32 if "batch_schedule" in options else 80
    assert rows["runs"][0]["train_ge"] == pytest.approx(seen / 40 + extra, rel=1e-12)
