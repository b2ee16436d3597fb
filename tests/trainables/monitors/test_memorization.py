"""The family's columns against plain evaluations, and what is null, with the reason."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import blobs, config, fresh_model, noisy_set, pack_of
from trainables import monitors, noise, streams
from trainables.measure import final_weights, snapshot_rows
from trainables.monitors.memorization import measure
from trainables.probe import Probe, blocks
from trainables.quantities import lass
from trainables.quantities.sensitivity import gini
from trainables.step import update

MLP = {"name": "mlp", "width": 8, "depth": 1}


def options(**given):
    return monitors.find("memorization", None).resolve({"iterations": 0, **given})


def trained(configs, data, steps, **kwargs):
    pack = pack_of(configs, data, **kwargs)
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return pack, state


def table(pack, state):
    wanted = torch.ones(pack.width, dtype=torch.bool)
    return snapshot_rows(pack, state, wanted)


@pytest.mark.parametrize("noisy", [{"label": 0.5}, {"input": 0.5}, {"label": 0.4, "input": 0.4}],
                         ids=["labels", "inputs", "both"])
def test_accuracies_of_either_part(noisy):
    data = blobs(train=60)
    configs = [config(MLP, seed=s, noisy=noisy) for s in range(2)]
    pack, state = trained(configs, data, 9)
    found = measure(Probe(pack, state, slice(0, 2)), options())
    victims = np.zeros(60, dtype=bool)
    for kind, (rank, _) in (("label", noise.label_noise(data.y_train, 3, 0)),
                            ("input", noise.input_noise(data.x_train, 0))):
        victims |= rank < round(noisy.get(kind, 0) * 60)
    assert 0 < victims.sum() < 60
    weights = final_weights(pack, state)
    for r, cfg in enumerate(configs):
        module, (x, y) = fresh_model(cfg, data), noisy_set(cfg, data)
        module.load_state_dict(weights[f"r{r}"])
        predicted = module(x).argmax(1).numpy()
        parts = {"clean_accuracy": (~victims, y.numpy()),
                 "corrupted_accuracy": (victims, y.numpy()),
                 "corrupted_true_accuracy": (victims, data.y_train)}
        for column, (part, labels) in parts.items():
            assert found[column][r].item() == pytest.approx((predicted == labels)[part].mean())


def test_a_label_redrawn_alike_counts_as_corrupted():
    data = blobs(train=60)
    pack = pack_of([config(MLP, noisy={"label": 1.0})], data)
    assert pack.label_victims.all()
    assert (pack.labels[0] == pack.clean_labels).any()
    found = measure(Probe(pack, pack.init(), slice(0, 1)), options())
    assert found["clean_accuracy"].isnan()


# (why, noise, null columns, reason)
EMPTY = [("no noise", {}, ["corrupted_accuracy", "corrupted_true_accuracy"],
          "corrupted_accuracy: no training example is noisy"),
         ("nothing but noise", {"label": 1.0}, ["clean_accuracy"],
          "clean_accuracy: every training example is noisy")]


@pytest.mark.parametrize(("why", "noisy", "null", "reason"), EMPTY, ids=[e[0] for e in EMPTY])
def test_an_empty_part_is_null_with_a_reason(why, noisy, null, reason):
    cfg = config(MLP, noisy=noisy, monitors=[("memorization", options())])
    row = table(*trained([cfg], blobs(), 3))["snapshots"][0]
    names = ("clean_accuracy", "corrupted_accuracy", "corrupted_true_accuracy")
    assert [n for n in names if row[n] is None] == null
    assert reason in row["measure_notes"]


def test_convergence_is_the_first_snapshot_at_the_target_and_is_remembered():
    """Run 0 learns and then is spoilt; run 1 does not move."""
    data = blobs(train=40)
    chosen = [("memorization", options(target=0.9))]
    configs = [config(MLP, seed=3, lr=lr, epochs=40, monitors=chosen) for lr in (0.5, 1e-9)]
    pack = pack_of(configs, data)
    state, rows, accuracies = pack.init(), [], []
    for _ in range(40):
        snapshot = table(pack, state)["snapshots"]
        rows.append(snapshot)
        accuracies.append(snapshot[0]["train_accuracy"])
        update(pack, state)
    first = next(i for i, a in enumerate(accuracies) if a >= 0.9)
    assert 0 < first < 40
    for i, (one, other) in enumerate(rows):
        assert one["converged_epoch"] == (None if i < first else first / 5)
        assert one["convergence_censored"] == (i < first)
        assert other["converged_epoch"] is None
        assert other["convergence_censored"] == 1
        assert f"accuracy 0.9 not reached by epoch {i / 5:.4g}" in other["measure_notes"]
    for p in state.params.values():
        p[0] = 0.0
    again = table(pack, state)["snapshots"][0]
    assert again["train_accuracy"] < 0.9
    assert again["converged_epoch"] == first / 5


def test_convergence_at_the_first_snapshot_is_epoch_zero():
    pack = pack_of([config(MLP)], blobs())
    found = measure(Probe(pack, pack.init(), slice(0, 1)), options(target=0.01))
    assert found["converged_epoch"].item() == 0
    assert found["convergence_censored"].item() == 0


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize("which", ["test", "train"])
def test_critical_samples_are_searched_in_units_of_the_datas_range(which, engine):
    """The same search set up by hand."""
    data = blobs(train=50, test=30)
    configs = [config(MLP, seed=s, noisy={"input": 0.3}) for s in range(2)]
    pack, state = trained(configs, data, 8, engine=engine)
    given = options(iterations=20, radius=0.05, examples=1000, set=which)
    for block in blocks(pack):
        probe = Probe(pack, state, block)
        found = measure(probe, given)
        for i, r in enumerate(range(block.start, block.stop)):
            cfg, module = configs[r], fresh_model(configs[r], data)
            module.load_state_dict(final_weights(pack, state)[f"r{r}"])
            x = noisy_set(cfg, data)[0] if which == "train" else torch.tensor(data.x_test).double()
            clean = torch.tensor(data.x_train).double()
            low, high = clean.min(0).values, clean.max(0).values
            box = lass.Box(0.05 * (high - low), low, high)
            seen = lass.critical_samples(
                lambda a, m=module: m(a[0])[None], x[None], box,
                lambda s, c=cfg, x=x: streams.normal([c["seed"]], f"lass_{s}", 8, x.shape, x),
                sweeps=20, chunk=99)
            assert found["critical_sample_ratio"][i].item() == pytest.approx(
                seen.found.double().mean().item())
            assert 0 < seen.found.double().mean() < 1
            assert found["critical_sample_sweeps"][i].item() == seen.sweeps.item()
            spent = 50 / 50 / 3 + (seen.sweeps.item() + 1) * len(x) / 50 * 2 / 3
            assert probe.ge[i].item() == pytest.approx(spent)


@pytest.mark.parametrize("given", [{"iterations": 100}, {"iterations": 4}, {"iterations": 0},
                                   {"iterations": 100, "patience": 2}])
def test_steady_spends_what_is_declared(given):
    """Whether a search finds something to the last or nothing at all, as far as there is one."""
    monitor = monitors.find("memorization", None)
    asked = options(examples=60, **given)
    steady = monitor.steady(asked, monitors.Sizes(80, 60, 80, 8))
    pack, state = trained([config(MLP, seed=s, precision="fp32") for s in range(2)],
                          blobs(train=80, test=60), 30)
    for p in state.params.values():
        p[1] = 0.0  # looks at nothing
    spent = {}
    for kind, chosen in (("as given", asked), ("steady", steady)):
        probe = Probe(pack, state, slice(0, 2))
        measure(probe, {**chosen, "radius": 0.02})
        spent[kind] = probe.ge
        declared = monitor.cost(chosen, monitors.Sizes(80, 60, 80, 8))
        assert declared == monitor.cost(asked, monitors.Sizes(80, 60, 80, 8))
    assert spent["steady"].tolist() == pytest.approx([declared] * 2)
    if given["iterations"] == 100:
        assert spent["as given"][0] != spent["as given"][1]


def test_a_larger_radius_finds_more():
    pack, state = trained([config(MLP)], blobs(train=80, test=60), 30)
    found = [measure(Probe(pack, state, slice(0, 1)), options(iterations=30, radius=r))[
        "critical_sample_ratio"].item() for r in (0.003, 0.03, 0.3, 1.0)]
    assert found == sorted(found)
    assert found[0] < 0.2 < 0.8 < found[-1]


def test_sensitivity_columns_and_classes():
    data = blobs(train=30)
    cfg = config(MLP, batch_size=6, monitors=[("memorization", options(
        sensitivity=True, sensitivity_class=True, steps=4, every=2, sensitivity_examples=30))])
    pack = pack_of([cfg], data)
    rows = table(pack, pack.init())
    row = rows["snapshots"][0]
    total = np.zeros(30)
    x, y = (t.requires_grad_() if t.is_floating_point() else t for t in noisy_set(cfg, data))
    parts = np.zeros((3, 30))
    for t in (2, 4):  # the whole training with one graph
        params = {n: p[0].requires_grad_() for n, p in pack.init().params.items()}
        for batch in pack.epoch(0)[0, :t]:
            out = torch.func.functional_call(pack.template, params, (x[batch],))
            grads = torch.autograd.grad(F.cross_entropy(out, y[batch]), list(params.values()),
                                        create_graph=True)
            params = {n: p - 0.1 * g for (n, p), g in zip(params.items(), grads, strict=True)}
        losses = F.cross_entropy(torch.func.functional_call(pack.template, params, (x,)), y,
                                 reduction="none") / 30
        by_class = [torch.autograd.grad(losses[y == c].sum(), x, retain_graph=True)[0]
                    for c in range(3)]
        total += sum(by_class).abs().sum(1).numpy() / 2
        parts += np.stack([g.abs().sum(1).numpy() for g in by_class]) / 2
    assert row["sensitivity_mean"] == pytest.approx(total.mean(), rel=1e-10)
    assert row["sensitivity_gini"] == pytest.approx(gini(torch.tensor(total)[None]).item())
    matrix = {(c["series"], c["x"]): c["value"] for c in rows["curves"]
              if c["quantity"] == "sensitivity_class"}
    for a in range(3):
        for b in range(3):
            assert matrix[str(a), b] == pytest.approx(parts[a, (y == b).numpy()].mean(), rel=1e-10)
    # predictions, gradients, and as declared
    declared = monitors.find("memorization", None).cost(
        cfg["measure"]["monitors"][0][1] | {"sensitivity_class": False},
        monitors.Sizes(30, 12, 30, 6))
    assert declared == pytest.approx(1 / 3 + 2 * 4 * 0.2 + (2 + 4) * 2 * 0.2 + 2 * (2 / 3 + 1 / 3))


def test_a_run_that_is_not_finite_is_null_and_harms_no_other():
    given = options(iterations=9, radius=0.05, sensitivity=True, steps=3, every=1)
    configs = [config(MLP, seed=s, noisy={"label": 0.3}) for s in range(2)]
    pack, state = trained(configs, blobs(), 5)
    sound = measure(Probe(pack, state, slice(0, 2)), given)
    for p in state.params.values():
        p[0] = torch.nan
    probe = Probe(pack, state, slice(0, 2))
    found = measure(probe, given)
    for name, values in found.items():
        torch.testing.assert_close(values[1], sound[name][1], rtol=1e-12, atol=0, equal_nan=True)
        known = {"convergence_censored": 1.0, "critical_sample_sweeps": 0.0}
        assert probe.known(name, 0, 7.0) == (7.0 if name in known else None), name
        assert values[0].isnan() or values[0] == known[name]
    assert "outputs are not finite" in probe.notes(0)
    assert "the loss is not finite" in probe.notes(0)


def test_a_model_that_looks_at_nothing_has_no_critical_samples():
    """Dead units: outputs are constant, and the prediction the same everywhere."""
    pack = pack_of([config(MLP)], blobs())
    state = pack.init()
    for p in state.params.values():
        p.zero_()
    probe = Probe(pack, state, slice(0, 1))
    found = measure(probe, options(iterations=30, sensitivity=True, steps=1, every=1))
    assert found["critical_sample_ratio"].item() == 0
    assert found["critical_sample_sweeps"].item() == lass.PATIENCE
    assert found["sensitivity_mean"].item() == 0
    assert probe.known("sensitivity_gini", 0, 1.0) is None


def test_one_class_and_fewer_examples_than_asked_for():
    data = blobs()
    data = dataclasses.replace(data, y_train=data.y_train * 0, y_test=data.y_test * 0)
    pack = pack_of([config(MLP, set_size=7)], data)
    found = measure(Probe(pack, pack.init(), slice(0, 1)), options(
        iterations=5, set="train", sensitivity=True, sensitivity_class=True, steps=2, every=1))
    assert found["critical_sample_ratio"].isfinite()
    assert found["sensitivity_gini"].isfinite()
    assert [c.value[0].isnan().tolist() for c in found["sensitivity_class"]] == [
        [False, True, True]] * 3


def test_measuring_changes_no_gradient_and_no_mode():
    pack, state = trained([config({**MLP, "batch_norm": True, "dropout": 0.5})], blobs(), 2)
    before = {n: p.clone() for n, p in state.params.items()}
    measure(Probe(pack, state, slice(0, 1)), options(iterations=4, sensitivity=True, steps=2))
    assert pack.trainer.training
    assert not pack.evaluator.training
    for module in (pack.trainer, pack.evaluator, pack.template):
        assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in state.params.items())


@pytest.mark.parametrize("momenta", [(0.0, 0.9), (0.9, 0.9)], ids=["one of two", "both"])
def test_runs_that_are_no_plain_sgd_have_no_sensitivity(momenta):
    """Null with the reason, and no rows; the plain neighbour has what it has by itself."""
    given = options(sensitivity=True, sensitivity_class=True, sensitivity_examples=10, steps=2,
                    every=2)
    configs = [config(MLP, seed=s, momentum=m, monitors=[("memorization", given)])
               for s, m in enumerate(momenta)]
    rows = table(*trained(configs, blobs(), 3))
    alone = [config(MLP, seed=0, monitors=[("memorization", given)])] * 2
    before = table(pack_of(alone, blobs()), pack_of(alone, blobs()).init())["snapshots"][0]
    for row, momentum in zip(rows["snapshots"], momenta, strict=True):
        curves = [c for c in rows["curves"] if c["subject_id"] == row["run_id"]]
        for column in ("sensitivity_mean", "sensitivity_gini"):
            told = f"{column}: it unrolls plain SGD, and the run has momentum"
            assert (row[column] is None) == (told in row["measure_notes"]) == (momentum > 0)
        assert any(c["quantity"] == "sensitivity_class" for c in curves) == (momentum == 0)
    # spent only where something is unrolled
    for row, momentum in zip(rows["snapshots"], momenta, strict=True):
        assert (row["measure_ge"] == pytest.approx(before["measure_ge"])) == (momentum == 0)


def test_batches_that_grow_are_counted_as_they_are():
    """S = 8 in the first epoch (5 steps), 16 in the second (2 steps)."""
    given = options(sensitivity=True, sensitivity_examples=10, steps=4, every=2)
    cfg = config(MLP, monitors=[("memorization", given)],
                 batch_schedule={"name": "cyclic", "period": 2, "factor": 2})
    pack, state = trained([cfg], blobs(), 4)
    seen = {2: 8 + 16, 4: 8 + 16 + 16 + 8}
    spent = 2 * seen[4] + sum(2 * n + 2 / 3 * 40 + 40 / 3 for n in seen.values())
    # losses of both sets, the gradient, the predictions
    rest = 52 / 3 + 40 + 40 / 3
    assert table(pack, state)["snapshots"][0]["measure_ge"] == pytest.approx((rest + spent) / 40)
