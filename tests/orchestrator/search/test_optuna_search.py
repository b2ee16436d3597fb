"""Optuna behind the protocol: states of trials, packs, and going on."""

from collections import Counter

import optuna
import pytest

from orchestrator.errors import UserError
from orchestrator.search import given, section
from orchestrator.search.optuna_search import build
from orchestrator.search.proposer import Outcome, Point, Setup
from orchestrator.stores import open_store

SPACE = {"lr": {"log": [1e-3, 1.0]}, "batch_size": [8, 16, 32], "momentum": {"linear": [0, 0.9]}}
ONE, TWO = {"a": "maximize"}, {"a": "maximize", "b": "minimize"}


def setup(folder, sampler="tpe", *, space=SPACE, objectives=ONE, inside=lambda _: True, **more):
    search = section.read(section.complete({
        "sampler": sampler, "runs": 64, "space": space, "objectives": objectives, **more}))
    return Setup(search, frozenset({"batch_size"} & space.keys()), inside, open_store(folder),
                 "one")


def study(folder):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "search" / "journal.log")))
    return optuna.load_study(study_name="one", storage=storage)


def states(folder):
    return dict(Counter(t.state.name for t in study(folder).trials))


def good(value):
    return Outcome("finished", {"a": value, "b": value})


@pytest.mark.parametrize(("sampler", "objectives", "diverged"), [
    ("tpe", ONE, {"PRUNED": 4}), ("tpe", TWO, {"PRUNED": 4}), ("nsga2", TWO, {"PRUNED": 4}),
    ("random", ONE, {"PRUNED": 4}), ("gp", ONE, {}),  # a GP sees values alone
])
def test_no_trial_is_left_running(tmp_path, sampler, objectives, diverged):
    """Whatever becomes of a pack; its points agree in what a pack shares."""
    proposer, asked = build(setup(tmp_path, sampler, objectives=objectives)), 0
    while asked < 16:
        points = proposer.ask(min(8, 16 - asked))
        assert len({p.values["batch_size"] for p in points}) == 1
        assert len({p.values["lr"] for p in points}) == len(points)
        for point in points:
            nan = Outcome("finished", {"a": float("nan")})
            told = [good(asked), nan, Outcome("diverged", {}, 1.0), Outcome("failed")][asked % 4]
            proposer.tell(point, told)
            asked += 1
    complete = 4 + (0 if diverged else 4)
    assert states(tmp_path) == {"COMPLETE": complete, "FAIL": 8, **diverged}


def test_a_gp_is_told_the_worst_of_what_diverged(tmp_path):
    proposer = build(setup(tmp_path, "gp"))
    one, two, three = proposer.ask(3)
    proposer.tell(one, good(0.5))
    proposer.tell(two, good(0.9))
    proposer.tell(three, Outcome("diverged", {}, 1.0))
    last = study(tmp_path).trials[2]
    assert last.values == [0.5]
    assert last.user_attrs == {"status": "diverged", "stands_for": "worse than any seen"}


def test_tpe_stays_away_from_where_runs_diverge(tmp_path):
    """The best finite values lie beside what diverges, at η ≥ 0.3.

    Over four seeds the share of late runs there was 0.16 to 0.53; told as failed, 0.94 to 1.
    """
    proposer = build(setup(tmp_path, space={"lr": SPACE["lr"], "momentum": SPACE["momentum"]}))
    late = []
    for i in range(8):
        for point in proposer.ask(8):
            lr = point.values["lr"]
            late += [lr >= 0.3] if i >= 4 else []
            proposer.tell(point, Outcome("diverged", {}, 1.0) if lr >= 0.3 else good(lr))
    assert sum(late) / len(late) < 0.7
    assert max(t.values[0] for t in study(tmp_path).trials if t.values) > 0.2


def test_what_is_under_way_is_adopted_and_the_rest_failed(tmp_path):
    one = build(setup(tmp_path))
    adopted, lost = one.ask(4)  # a first look: half of it
    two = build(setup(tmp_path))  # as after kill -9
    two.adopt([adopted])
    two.ask(1)
    trials = study(tmp_path).trials
    assert [t.state.name for t in trials] == ["RUNNING", "FAIL", "RUNNING"]
    two.tell(adopted, good(1.0))
    two.tell(adopted, good(1.0))  # told twice, as rows are found again
    assert study(tmp_path).trials[0].values == [1.0]
    two.tell(lost, good(2.0))     # its rows are there after all
    assert states(tmp_path) == {"COMPLETE": 2, "FAIL": 1, "RUNNING": 1}


def test_a_line_that_was_torn_by_a_kill(tmp_path):
    one = build(setup(tmp_path))
    (point,) = one.ask(1)
    one.tell(point, good(1.0))
    with (tmp_path / "search" / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    two = build(setup(tmp_path))
    (point,) = two.ask(1)
    two.tell(point, good(2.0))
    assert [t.values for t in study(tmp_path).trials] == [[1.0], [2.0]]


def test_what_is_known_from_elsewhere_is_added_once(tmp_path):
    known = Point({"lr": 0.1, "batch_size": 16, "momentum": 0.5})
    for _ in range(2):
        proposer = build(setup(tmp_path))
        proposer.tell(known, good(0.7))
        proposer.tell(Point({**known.values, "lr": 7.0}), good(0.9))      # not of the space
        proposer.tell(Point({**known.values, "batch_size": 5}), good(0.9))
    (trial,) = study(tmp_path).trials
    assert trial.values == [0.7]
    assert trial.user_attrs["known"]


def test_a_finite_space_is_asked_for_once(tmp_path):
    space = {"lr": [0.1, 0.2, 0.3], "momentum": [0.0, 0.5]}
    proposer = build(setup(tmp_path, space=space))
    asked = [*proposer.ask(4), *proposer.ask(4)]
    assert len({(p.values["lr"], p.values["momentum"]) for p in asked}) == len(asked) == 6
    assert proposer.ask(4) == []


def test_points_are_inside(tmp_path):
    proposer = build(setup(tmp_path, inside=lambda v: v["lr"] * v["batch_size"] < 1))
    points = [p for _ in range(3) for p in proposer.ask(8)]
    assert len(points) >= 12
    assert all(p.values["lr"] * p.values["batch_size"] < 1 for p in points)


def test_choices_may_be_maps(tmp_path):
    space = {"lr": SPACE["lr"], "lr_schedule": ["constant", {"name": "step", "every": 2}]}
    proposer = build(setup(tmp_path, space=space))
    seen = [p.values["lr_schedule"] for p in proposer.ask(12)]
    assert {"name": "step", "every": 2} in seen
    assert "constant" in seen


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "random"])
def test_first_packs_look_at_each_batch_size(tmp_path, sampler):
    """A pack has one of them; the model would stay with those that it happened to have."""
    proposer = build(setup(tmp_path, sampler, inside=lambda v: v["batch_size"] != 32))
    sizes = []
    for _ in range(2):
        points = proposer.ask(8)
        sizes += {p.values["batch_size"] for p in points}
        for point in points:
            proposer.tell(point, good(-abs(point.values["lr"] - 0.1)))
    assert sorted(sizes) == [8, 16]
    assert len(proposer.ask(8)) >= 4  # nothing inside has 32: the sampler chooses


class Drawing:
    """A sampler whose free draws are given."""

    def __init__(self, sizes):
        self.sizes = iter(sizes)

    def infer_relative_search_space(self, *_):
        return {}

    def sample_relative(self, *_):
        return {"batch_size": next(self.sizes), "lr": 0.1}


@pytest.mark.parametrize(("drawn", "width"), [
    ([16] * 7, 8), ([16, 8, 16, 16, 32, 16, 16], 6), ([8] * 7, 4), ([16] + [8] * 6, 4)])
def test_a_pack_of_tpe_is_as_wide_as_it_is_sure_of_what_the_pack_shares(tmp_path, drawn, width):
    """As many points as agree of eight that are drawn freely, and at least half a pack."""
    proposer = build(setup(tmp_path))
    assert proposer._narrowed(8, Drawing(drawn), {"batch_size": 16}, looking=False) == width


def test_first_looks_of_tpe_are_short(tmp_path):
    """Whole packs of random runs at each of three batch sizes would be a large part of a budget."""
    proposer, widths = build(setup(tmp_path)), []
    for _ in range(4):
        points = proposer.ask(8)
        widths.append(len(points))
        for p in points:
            proposer.tell(p, good(-abs(p.values["lr"] - 0.1)))
    assert widths[:3] == [4, 4, 4]
    assert 4 <= widths[3] <= 8
    free = build(setup(tmp_path / "free", space={"lr": SPACE["lr"]}))
    assert len(free.ask(8)) == 8  # nothing is shared
    assert len(build(setup(tmp_path / "gp", "gp")).ask(8)) == 8


def test_packs_of_nsga2_ask_for_what_single_runs_ask_for(tmp_path):
    """A generation is whole packs: no point hangs on others of its pack, so packs lose nothing."""
    space = {n: SPACE[n] for n in ("lr", "momentum")}
    asked = []
    for width in (1, 8):
        proposer, points = build(setup(tmp_path / str(width), "nsga2", space=space,
                                       objectives=TWO)), []
        while len(points) < 48:  # three generations of 16
            pack = proposer.ask(width)
            for point in pack:
                lr, momentum = point.values["lr"], point.values["momentum"]
                proposer.tell(point, Outcome("finished", {"a": lr, "b": lr**2 + momentum}))
            points += pack
        asked.append(points)
    assert asked[0] == asked[1]


def test_equal_seeds_ask_for_equal_points(tmp_path):
    first, again, other = (build(setup(tmp_path / n, seed=s)).ask(4)
                           for n, s in (("a", 3), ("b", 3), ("c", 4)))
    assert first == again != other


def test_an_optuna_without_the_private_names_is_refused(monkeypatch):
    """Else TPE would go on, but ask as if the values of the pack were not given."""
    given.check_private_names()
    kind = optuna.samplers.TPESampler

    class Renamed(kind):
        def __init__(self, **options):
            super().__init__(**options)
            del self._parzen_estimator_cls

    monkeypatch.setattr(optuna.samplers, "TPESampler", Renamed)
    with pytest.raises(UserError, match="optuna>=5,<6"):
        given.check_private_names()
