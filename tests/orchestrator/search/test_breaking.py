"""The break point's proposer, with tables judged by a break that is known."""

import math

import pytest

from analysis.collapse import Break, Step
from analysis.crossed import UNKNOWN
from orchestrator.search import proposer, section
from orchestrator.search.breaking import BreakPoint
from orchestrator.search.proposer import Outcome, Point, Setup
from orchestrator.stores import open_store
from trainables.errors import InputError

RATIOS = (1e-3, 4e-3, 1.6e-2)
TRUE = dict(zip(RATIOS, (300.0, 70.0, 20.0), strict=True))


class Tables:
    """What has been run, and what the analysis would say of it."""

    def __init__(self, yardstick=True, limit=math.inf, odd=()):
        """From η = ``limit`` on most seeds diverge; ``odd``: S that never coincide."""
        self.cells, self.yardstick, self.limit, self.odd = {}, yardstick, limit, odd

    def judge(self):
        """Without cells that diverged: they have no curve."""
        whole = {r: [s for s in sorted(sizes) if r * s < self.limit]
                 for r, sizes in self.cells.items()}
        return [Break("train_loss", r, "", sizes[0], 5, tuple(
            Step(s / sizes[0], s, r * s, 1.0, 1.0, 0,
                 s <= TRUE[r] and s not in self.odd if self.yardstick else None)
            for s in sizes[1:]), UNKNOWN)
            for r, sizes in whole.items() if len(sizes) > 1]

    def run(self, one, width=3, budget=100):
        runs = []
        while len(runs) < budget and (points := one.ask(width)):
            assert len({p.values["batch_size"] for p in points}) == 1
            for p in points:
                ratio, size = p.values["ratio"], p.values["batch_size"]
                self.cells.setdefault(ratio, set()).add(size)
                gone = ratio * size >= self.limit
                one.tell(p, Outcome("diverged", {}, 0.8) if gone else Outcome("finished"))
            runs += points
        return runs


def one(tables, high=512, **options):
    return BreakPoint(8, high, RATIOS, tables.judge, **options)


def test_every_break_is_bracketed_within_the_resolution():
    tables = Tables()
    search = one(tables)
    runs = tables.run(search)
    grid = len(RATIOS) * math.log(512 / 8) / math.log(1.1)
    assert len(runs) < grid / 3
    assert len(set(runs)) == len(runs)
    for found in search.edges:
        assert found.state == "found"
        assert found.last <= TRUE[found.ratio] < found.first
        assert found.first / found.last <= 1.1 or found.first == found.last + 1


def test_the_reference_comes_first_and_a_pack_takes_all_ratios_it_tells_of():
    search = one(Tables())
    assert [p.values for p in search.ask(3)] == [{"ratio": r, "batch_size": 8} for r in RATIOS]
    tables = Tables()
    assert len({p.values["batch_size"] for p in tables.run(one(tables))[3:6]}) == 1


def test_a_space_that_ends_before_the_break_says_so():
    tables = Tables()
    search = one(tables, high=64)
    tables.run(search)
    words = str(search.edges[0])
    assert words.startswith("η/S = 0.001: coincides with S = 8 up to S = 64, the end")
    assert search.edges[2].first < 64


@pytest.mark.parametrize("yardstick", [True, False])
def test_what_fails_or_cannot_be_compared_is_given_up(yardstick):
    tables = Tables(yardstick)
    search = one(tables)
    if yardstick:
        for p in search.ask(3):
            search.tell(p, Outcome("failed"))
    assert len(tables.run(search)) <= 6
    assert all(found.state == "given up" for found in search.edges)
    words = str(search.edges[0])
    assert words.endswith("up to S = 8; given up, since a cell failed or cannot be compared")
    assert search.ask(3) == []


def test_a_cell_that_diverged_closes_the_bracket():
    """The law breaks there at the latest: for each ratio before its curves would part."""
    tables = Tables(limit=0.2)
    search = one(tables)
    assert len(tables.run(search)) < 30
    for found in search.edges:
        assert (found.state, found.diverged) == ("found", True)
        assert found.last < 0.2 / found.ratio <= found.first
        assert found.first <= max(1.1 * found.last, found.last + 1)
        assert f"not at {found.first:g}, where most seeds diverge" in str(found)


def test_a_ratio_whose_reference_diverges_is_left():
    tables = Tables(limit=0.1)  # 0.016 · 8 > 0.1
    search = one(tables)
    runs = tables.run(search)
    assert [p.values["batch_size"] for p in runs if p.values["ratio"] == 1.6e-2] == [8]
    assert [e.state for e in search.edges] == ["found", "found", "no reference"]
    assert "most seeds diverge at S = 8 already" in str(search.edges[2])


def test_all_that_diverges_ends_the_search():
    tables = Tables(limit=0.0)
    search = one(tables)
    assert len(tables.run(search)) == len(RATIOS)
    assert all(e.state == "no reference" for e in search.edges)


def test_the_first_cell_that_parts_is_the_break_whatever_larger_ones_do():
    """As in the report. S = 36 stands apart below the break of 300: what is larger is not tried."""
    tables = Tables(odd=range(30, 41))
    search = one(tables)
    assert len(tables.run(search)) < 30
    tables.cells[RATIOS[0]] |= {36}
    search.tell(Point({"ratio": RATIOS[0], "batch_size": 36}), Outcome("finished"))
    tables.run(search)
    assert search.edges[0].first <= 36
    assert search.edges[0].state == "found"


def test_points_under_way_keep_their_ratio_busy():
    search = one(Tables())
    search.adopt([Point({"ratio": RATIOS[0], "batch_size": 8})])
    assert [p.values["ratio"] for p in search.ask(3)] == [*RATIOS[1:]]
    assert search.ask(3) == []


def test_it_is_built_from_a_section(tmp_path):
    full = section.complete({"sampler": "break_point", "runs": 100, "seeds": 5, "space": {
        "ratio": [*RATIOS], "batch_size": {"log": [8, 512]}}})
    built = proposer.build(Setup(section.read(full), frozenset({"batch_size"}), lambda _: True,
                                 open_store(tmp_path / "sweep"), ""))
    assert len(built.ask(8)) == 3


@pytest.mark.parametrize(("change", "words"), [
    ({"seeds": 1}, "has one seed"),
    ({"know": ["sweeps/other"]}, "cannot take runs of other sweeps as known"),  # no curves
    ({"space": {"lr": {"log": [0.1, 1]}, "batch_size": [8, 16]}}, "takes the names ratio and"),
    ({"space": {"ratio": [0.1], "batch_size": [8, 16]}}, "takes one range, and the space has 0"),
    ({"sampler": "boundary", "space": {"lr": {"linear": [0, 1]}, "batch_size": [8]}},
     "begins at 0"),
    ({"sampler": "law", "objectives": {"train_loss": "minimize"},
      "space": {"lr": {"log": [0.1, 1]}}}, "a law is one of lr and batch_size")])
def test_spaces_that_do_not_suit_are_refused(change, words):
    given = {"sampler": "break_point", "runs": 100, "seeds": 5, "space": {
        "ratio": [*RATIOS], "batch_size": {"log": [8, 512]}}}
    with pytest.raises(InputError, match=words):
        section.complete({**given, **change})
