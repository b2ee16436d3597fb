"""Declarations: ours, and those of users' functions."""

import importlib
from pathlib import Path

import pytest

from trainables import monitors
from trainables.errors import InputError
from trainables.monitors import COLUMN, FAMILIES, Sizes, find, snapshot_cost

SIZES = Sizes(train=300, test=60, measure=100, batch=10)
HERE = Path(__file__).parent


@pytest.mark.parametrize("name", FAMILIES)
def test_ours_are_whole(name):
    """What the tables, the documents and a budget need of each."""
    monitor = find(name, HERE)
    assert monitor.name == name
    module, _, function = monitor.function.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert all(COLUMN.fullmatch(c) for c in monitor.columns)
    meanings = [*monitor.columns.values(), *monitor.spectra.values(), *monitor.curves.values()]
    assert meanings
    assert all(m and m == m.strip() and "\n" not in m for m in meanings)
    options = monitor.resolve({})
    assert options == monitor.resolve(options)
    assert monitor.cost(options, SIZES) >= 0
    steady = monitor.steady(options, SIZES) if monitor.steady else options
    assert steady == monitor.resolve(steady)


def mine(folder, attributes):
    (folder / "mine.py").write_text(
        "def mon(probe, options):\n    return {}\n\n\n" + "\n".join(
            f"mon.{n} = {v}" for n, v in attributes.items()))
    return find("mine:mon", folder)


def test_a_users_declaration(tmp_path):
    found = mine(tmp_path, {
        "columns": {"a": "nats"}, "spectra": {"op": "an operator"}, "curves": {"c": "a curve"},
        "options": {"count": 3, "q": 0.5, "word": "x", "flag": True, "any": None},
        "cost": "lambda options, sizes: options['count'] * sizes.batch / sizes.measure"})
    assert (found.columns, found.spectra, found.curves) == (
        {"a": "nats"}, {"op": "an operator"}, {"c": "a curve"})
    assert found.base_dir == tmp_path
    options = found.resolve({"q": 2, "any": [1]})
    assert options == {"count": 3, "q": 2.0, "word": "x", "flag": True, "any": [1]}
    assert isinstance(options["q"], float)
    assert found.cost(options, SIZES) == pytest.approx(0.3)
    # losses of train and test set, the gradient, and what it says itself
    assert snapshot_cost([("mine:mon", options)], SIZES, tmp_path) == pytest.approx(
        360 / 100 / 3 + 1 + 0.3)


def test_a_user_says_how_many_eigenpairs_it_takes(tmp_path):
    """As a number, or by its options; the search is paid for as one of ours."""
    for n, form in enumerate(("7", "lambda options: options['count']")):
        (tmp_path / str(n)).mkdir()
        found = mine(tmp_path / str(n), {"columns": {"a": "1"}, "options": {"count": 7},
                                         "eigenpairs": form})
        chosen = [("mine:mon", found.resolve({}))]
        assert found.eigenpairs(chosen[0][1]) == 7
        assert snapshot_cost(chosen, SIZES, tmp_path / str(n)) == pytest.approx(
            1 + 360 / 100 / 3 + find("spectrum", HERE).cost(
                find("spectrum", HERE).resolve({**SEARCH, "k": 7}), SIZES))


@pytest.mark.parametrize(("pairs", "what"), [
    ("2.5", "is 2.5"), ("-1", "is -1"), ("float('nan')", "is nan"), ("1001", "is 1001"),
    ("'all'", "raised ValueError"), ("lambda options: options['q']", "raised KeyError")])
def test_eigenpairs_that_are_none(tmp_path, pairs, what):
    found = mine(tmp_path, {"columns": {"a": "1"}, "eigenpairs": pairs})
    with pytest.raises(InputError, match=f"the number of eigenpairs of mine:mon {what}"):
        found.eigenpairs(found.resolve({}))


@pytest.mark.parametrize("given", [
    {"count": 2.5}, {"count": True}, {"q": "x"}, {"word": 3}, {"flag": 1}, {"flag": None},
])
def test_an_option_is_like_its_default(tmp_path, given):
    found = mine(tmp_path, {"columns": {"a": "1"}, "options": {
        "count": 3, "q": 0.5, "word": "x", "flag": True}})
    with pytest.raises(InputError, match=f"measure.monitors.mine:mon.{next(iter(given))} is"):
        found.resolve(given)


@pytest.mark.parametrize(("attributes", "what"), [
    ({}, "mine:mon does not say which columns it measures"),
    ({"columns": {}}, "mine:mon does not say which columns it measures"),
    ({"columns": {"a": 1}}, "mine:mon has columns that are {'a': 1}"),
    ({"columns": {3: "1"}}, "mine:mon has columns that are {3: '1'}"),
    ({"columns": {"time_a": "s"}}, "mine:mon declares the column 'time_a'"),
    ({"columns": {"A": "1"}}, "mine:mon declares the column 'A'"),
    ({"columns": {"a": "1"}, "options": ["q"]}, "mine:mon has options that are ['q']"),
    ({"columns": {"a": "1"}, "curves": "c"}, "mine:mon has curves that are 'c'"),
    ({"columns": {"a": "1"}, "spectra": {"s": None}}, "mine:mon has spectra that are {'s': None}"),
])
def test_declarations_that_are_none(tmp_path, attributes, what):
    shown = {n: repr(v) for n, v in attributes.items()}
    with pytest.raises(InputError) as caught:
        mine(tmp_path, shown)
    assert caught.value.what == what
    assert caught.value.fix


def test_families_are_found_by_their_files():
    declared = Path(monitors.__file__).parent / "declared"
    assert {f"{n}.py" for n in FAMILIES} == {
        p.name for p in declared.glob("*.py")} - {"__init__.py"}


SEARCH = {"lambda_min": False, "trace": False}


@pytest.mark.parametrize(("why", "chosen", "spectrum"), [
    ("nobody takes any", [("gradient_noise", {}), ("fisher", {})], None),
    ("one does", [("step_geometry", {"k": 7})], {**SEARCH, "k": 7}),
    ("fewer than spectrum's default", [("step_geometry", {"k": 2})], {**SEARCH, "k": 2}),
    ("two share them", [("step_geometry", {"k": 6}), ("gradient_noise", {"k": 9})],
     {**SEARCH, "k": 9}),
    ("spectrum has as many", [("spectrum", {"k": 6}), ("step_geometry", {"k": 6})], {"k": 6}),
    ("more than spectrum's", [("spectrum", {"k": 2}), ("step_geometry", {"k": 40})], {"k": 40}),
])
def test_eigenpairs_count_once(why, chosen, spectrum):
    chosen = [(n, find(n, HERE).resolve(o)) for n, o in chosen]
    own = sum(find(n, HERE).cost(o, SIZES) for n, o in chosen if n != "spectrum")
    shared = 0 if spectrum is None else find("spectrum", HERE).cost(
        find("spectrum", HERE).resolve(spectrum), SIZES)
    assert snapshot_cost(chosen, SIZES, HERE) == pytest.approx(1 + 360 / 100 / 3 + own + shared)


@pytest.mark.parametrize(("name", "options"), [
    ("fisher", {"exact": True}),
    ("memorization", {"sensitivity": True, "sensitivity_class": True})])
def test_costs_know_the_classes(name, options):
    """Linear in their number."""
    options = find(name, HERE).resolve(options)
    three, five, ten = (find(name, HERE).cost(options, Sizes(300, 60, 100, 10, c))
                        for c in (3, 5, 10))
    assert three < five < ten
    assert (ten - three) / 7 == pytest.approx((five - three) / 2)
