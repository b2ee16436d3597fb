"""Plans: what is to do against what a folder holds, and the identity of runs."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from analysis.tables import read
from orchestrator import plan, planner
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.packrun import order, run_pack
from orchestrator.planner import check_unchanged, folder_of, identity, resolved_tree
from orchestrator.session import open_folder
from orchestrator.tell import measuring_facts, plan_text
from tests.orchestrator.specs import spec, tiny, tree


def train(planned, *, packs=None):
    """Opens the plan's folder and runs its first packs to their end."""
    open_folder(planned)
    for pack in planned.packs[:packs]:
        for _ in run_pack(order(pack, planned.spec, planned.folder)):
            pass


def ids(runs):
    return [r.run_id for r in runs]


def test_a_new_sweep(tmp_path):
    planned = plan(tiny(tmp_path))
    assert len(planned.runs) == len(planned.missing) == 2
    assert all(len(i) == 16 and int(i, 16) >= 0 for i in ids(planned.runs))
    assert (planned.ended, planned.begun, planned.strangers) == (frozenset(), frozenset(), 0)
    assert planned.parameters == 64 * 10 + 10
    assert planned.folder == tmp_path / "sweeps" / "tiny"
    config = planned.runs[0].config
    assert (config["data"]["train_size"], config["data"]["test_size"]) == (100, 297)
    assert config["measure"]["set_size"] == 50
    assert list(tmp_path.iterdir()) == [tmp_path / "spec.yaml"]  # it reads only


def test_the_measurement_set_is_at_most_the_training_set(tmp_path):
    planned = plan(tiny(tmp_path), overrides=["measure.set_size=5000"])
    assert planned.runs[0].config["measure"]["set_size"] == 100


def test_a_finished_sweep_has_nothing_to_do_and_grows(tmp_path):
    path = tiny(tmp_path)
    train(plan(path))
    again = plan(path)
    assert again.packs == ()
    assert again.ended == set(ids(again.runs))
    more = plan(path, overrides=["sweep.axes.lr=[0.1, 0.3]"])
    assert (len(more.ended), len(more.missing), more.strangers) == (1, 1, 1)
    assert ids(more.packs[0].members) == ids(more.missing)


def test_begun_packs_are_taken_up_with_exactly_their_members(tmp_path):
    path = tiny(tmp_path)
    first = plan(path)
    open_folder(first)
    next(run_pack(order(first.packs[0], first.spec, first.folder)))  # begun, and left
    wider = plan(path, overrides=["sweep.axes.lr=[0.3, 0.01]", "compute.pack=1"])
    assert wider.packs[0] == first.packs[0]  # 0.1 is no longer asked for, and comes along
    assert wider.begun == {first.packs[0].pack_id}
    assert [ids(p.members) for p in wider.packs[1:]] == [[wider.runs[0].run_id]]
    other = plan(path, overrides=["sweep.axes.lr=[0.5]"])
    assert other.begun == frozenset()  # none of its members is wanted
    assert len(other.packs) == 1


def test_a_pack_that_ends_while_another_plans_is_not_packed_anew(tmp_path, monkeypatch):
    path, look = tiny(tmp_path), Ledger.open_packs
    first = plan(path)
    open_folder(first)
    next(run_pack(order(first.packs[0], first.spec, first.folder)))

    def late(ledger):
        train(first)
        return look(ledger)

    monkeypatch.setattr(Ledger, "open_packs", late)
    other = plan(path, overrides=["compute.pack=1"])
    assert (other.packs, len(other.ended)) == ((), 2)


def test_equal_cells_are_one_run(tmp_path):
    planned = plan(tiny(tmp_path), overrides=["sweep.axes.batch_size=[full, 100]"])
    assert len(planned.runs) == 2


def test_where_data_lies_is_no_part_of_a_run_but_its_content_is():
    config = {"data": {"name": "npz", "path": "a.npz"}, "train": {"lr": 0.1}}
    moved = {**config, "data": {"name": "npz", "path": "/b/c.npz"}}
    assert identity(config, "x") == identity(moved, "x")
    assert identity(config, "x") != identity(config, "y")
    assert identity(config, "x") != identity({**config, "train": {"lr": 0.2}}, "x")


def test_a_run_id_is_for_ever():
    config = {"data": {"name": "digits"}, "train": {"lr": 0.1}, "seed": 0}
    assert identity(config, "x") == identity(dict(reversed(config.items())), "x")
    text = '{"data":{"name":"digits","sha256":"x"},"numerics":1,"seed":0,"train":{"lr":0.1}}'
    assert identity(config, "x") == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("budget", [None, 200.0])
def test_runs_that_share_what_is_equal_have_the_ids_of_their_own_configs(tmp_path, budget):
    # a grid of 10,000 runs is planned in a second because text and checks are made once a cell
    found = plan(tiny(
        tmp_path, measure={"budget": budget, "set_size": 50, "monitors": ["spectrum"]},
        model={"name": "mlp", "width": 8, "depth": 1},
        sweep={"axes": {"lr": [0.1, 1.0], "momentum": [0, 0.0, 0.9], "width": [8, 16],
                        "label_noise": [0, 0.5], "seed": {"count": 3}}}))
    assert len(found.runs) == 2 * 2 * 2 * 2 * 3
    for run in found.runs:
        alone = json.loads(json.dumps(run.config))
        assert identity(alone, found.data.sha256) == run.run_id
        data = {k: v for k, v in alone["data"].items() if k not in ("root", "download", "path")}
        whole = {**alone, "data": {**data, "sha256": found.data.sha256}, "numerics": 1}
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == run.run_id
    assert len({id(r.config["train"]) for r in found.runs}) <= 16  # shared, whatever the seed
    values = {(c["train"]["lr"], c["train"]["momentum"], c["model"]["width"], c["noise"]["label"],
               c["seed"]) for c in (r.config for r in found.runs)}
    assert len(values) == 48


def test_training_sets_of_several_sizes(tmp_path):
    """Each is described once; its runs have its sizes and hash, and packs of their own."""
    path = tiny(tmp_path, measure={"monitors": ["spectrum"]}, sweep={
        "axes": {"train_size": [40, 100, 200], "lr": [0.01, 0.1]}})
    found = plan(path)
    sizes = [(r.config["data"]["train_size"], r.config["measure"]["set_size"]) for r in found.runs]
    assert sizes == [(n, n) for n in (40, 100, 200) for _ in range(2)]
    assert {len({r.config["data"]["train_size"] for r in p.members}) for p in found.packs} == {1}
    for size in (40, 200):  # what a sweep of that size alone would have run
        alone = plan(path, overrides=[f"data.train_size={size}", "sweep.axes.train_size="])
        assert ids(alone.runs) == [r.run_id for r in found.runs
                                   if r.config["data"]["train_size"] == size]
    costs = measuring_facts(found)
    assert costs["train_ge"] == 2 * 3 * 2  # epochs, sizes, runs of each: a GE is all N examples
    assert "40, 100, 200 training and 297 test examples" in plan_text(found)


def test_runs_of_unlike_sizes_and_choices_fill_one_table(tmp_path):
    """Each option is a column, empty where the run's own schedule has it not."""
    switch = {"name": "switch", "at": 1, "factor": 10}
    planned = plan(tiny(tmp_path, sweep={
        "axes": {"lr": [0.01], "train_size": [60, 100], "lr_schedule": ["constant", switch]},
        "include": [{"lr": 0.01, "optimizer": "adam", "loss": "mse", "init_scale": 0.5}]}))
    train(planned)
    rows = read(planned.folder, "runs").to_pandas().set_index("run_id")
    rows = rows.loc[ids(planned.runs)]
    assert rows["train_size"].tolist() == [60, 60, 100, 100, 100]
    assert rows["steps"].tolist() == [12, 12, 20, 20, 20]
    assert rows["config_train_lr_schedule_factor"].fillna(0).tolist() == [0, 10, 0, 10, 0]
    assert rows["config_train_optimizer_beta1"].fillna(0).tolist() == [0, 0, 0, 0, 0.9]
    assert rows["config_model_init_scale"].tolist() == [1, 1, 1, 1, 0.5]
    assert rows["config_train_loss"].tolist() == ["cross_entropy"] * 4 + ["mse"]
    lr = read(planned.folder, "snapshots").to_pandas().pivot_table(
        index="step", columns="run_id", values="lr")  # as it is at the last update
    assert lr.loc[20, ids(planned.runs)[2:4]].tolist() == pytest.approx([0.01, 0.1])


def test_sizes_change_the_hash_of_data_that_is_hashed_by_what_is_used(tmp_path):
    for part, count in (("train", 6), ("test", 2)):
        for label in "ab":
            (tmp_path / "d" / part / label).mkdir(parents=True)
            for i in range(count):
                image = np.full((8, 8, 3), 10 * i + (label == "b"), np.uint8)
                Image.fromarray(image).save(tmp_path / "d" / part / label / f"{i}.png")
    data = {"name": "imagefolder:d"}
    path = tiny(tmp_path, data=data, train={"epochs": 2, "batch_size": 4}, measure={},
                sweep={"axes": {"train_size": [8, 12], "lr": [0.1]}})
    found = plan(path)
    small = plan(path, overrides=["data.train_size=8", "sweep.axes.train_size="])
    whole = plan(path, overrides=["sweep.axes.train_size="])
    assert small.data.sha256 != whole.data.sha256
    assert ids(found.runs) == ids(small.runs) + ids(whole.runs)


def test_a_size_that_the_data_have_not(tmp_path):
    with pytest.raises(UserError) as caught:
        plan(tiny(tmp_path, sweep={"axes": {"train_size": [100, 5000], "lr": [0.1]}}))
    (problem,) = caught.value.problems
    assert problem.what == "data.train_size is 5000; the data has 1500 such examples"
    assert "(sweep.axes.train_size)" in problem.where


def test_a_copied_data_file_gives_the_same_runs(tmp_path):
    draw = np.random.default_rng(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    np.savez(tmp_path / "a" / "d.npz", x=draw.normal(size=(60, 5)), y=np.arange(60) % 3)
    (tmp_path / "b" / "e.npz").write_bytes((tmp_path / "a" / "d.npz").read_bytes())
    plans = [plan(tiny(tmp_path, data={"name": f"npz:{tmp_path}/{f}", "train_size": 40,
                                       "test_size": 20})) for f in ("a/d.npz", "b/e.npz")]
    assert ids(plans[0].runs) == ids(plans[1].runs)
    train(plans[0])
    check_unchanged(plans[1], resolved_tree(plans[0]))
    assert plan(tmp_path / "spec.yaml").packs == ()  # the file now names b/e.npz


@pytest.mark.parametrize("override", [
    "train.epochs=3", "train.momentum=0.5", "model={name: mlp}", "data.train_size=90",
    "measure.set_size=40", "train.label_noise=0.5", "data.seed=1",
])
def test_what_may_not_change(tmp_path, override):
    path = tiny(tmp_path)
    earlier = json.loads(json.dumps(resolved_tree(plan(path))))
    with pytest.raises(UserError) as caught:
        check_unchanged(plan(path, overrides=[override]), earlier)
    key = override.partition("=")[0]
    assert any(key in p.what and " was " in p.what and "choose another name" in p.fix
               for p in caught.value.problems)


@pytest.mark.parametrize("override", [
    "sweep.axes.lr=[7]", "save.weights=final", "compute.pack=2", "claims=[three_factors/ratio_law]",
    "sweep.axes.seed.count=2",
])
def test_what_may_change(tmp_path, override):
    path = tiny(tmp_path)
    check_unchanged(plan(path, overrides=[override]),
                    json.loads(json.dumps(resolved_tree(plan(path)))))


def test_very_many_runs_are_asked_for_twice(tmp_path, monkeypatch):
    path = tiny(tmp_path)
    grid = "sweep.axes.lr={linear: [0.1, 1], n: 1001}", "sweep.axes.seed.count=100"
    with pytest.raises(UserError, match="100,100 cells, more than 100,000"):
        plan(path, overrides=grid)
    monkeypatch.setattr(planner, "MOST_RUNS", 1)
    with pytest.raises(UserError, match="--yes"):
        plan(path)
    assert len(plan(path, yes=True).runs) == 2


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folder_of(spec(tmp_path)) == tmp_path / "sweeps" / "a"
    assert folder_of(spec(tmp_path, storage="~/x")) == tmp_path / "home" / "x" / "a"
    assert folder_of(spec(tmp_path, storage="s3://bucket/prefix/")) == "s3://bucket/prefix/a"


def test_a_model_that_cannot_be_built_is_told_of_the_spec(tmp_path):
    path = tiny(tmp_path, model={"name": "mine:net"})
    (tmp_path / "mine.py").write_text(
        "def net(input_shape, classes):\n    raise ValueError('no')\n")
    with pytest.raises(UserError) as caught:
        plan(path)
    (problem,) = caught.value.problems
    assert "no" in problem.what
    assert problem.where.startswith(path)
    assert "sweeps" not in {p.name for p in tmp_path.iterdir()}


def test_planning_leaves_a_sweep_as_it_was(tmp_path):
    path = tiny(tmp_path)
    train(plan(path))
    before = tree(tmp_path)
    plan(path, overrides=["sweep.axes.lr=[0.1, 0.3]"])
    assert tree(tmp_path) == before
