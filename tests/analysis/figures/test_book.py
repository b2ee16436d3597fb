"""Every figure that the tables have data for is there, and says the planted numbers."""

import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.figures import (
    breakeven,
    catapult,
    edges,
    landscape,
    memorization,
    noisescale,
    pareto,
    spectra,
    steering,
    steps,
    stiffness,
    toys,
)
from analysis.figures.book import sections
from analysis.figures.cells import spaced
from analysis.figures.chart import thinned
from analysis.figures.pareto import front
from analysis.study import study
from tests.analysis.figures.rows import RICH, full, noisy, rich, steered
from tests.analysis.planted import write

pytestmark = pytest.mark.filterwarnings("error:Glyph")  # all that is written can be drawn
FIGURES = {
    "rich": (breakeven.break_even_figure, edges.stochastic_figure, noisescale.noise_scale_figure,
             noisescale.fisher_figure, steps.sharpest_figure, steps.one_direction_figure,
             spectra.eigenvalue_figure, spectra.density_figure, stiffness.stiffness_figure,
             landscape.interpolation_figure, landscape.connector_figure, landscape.tunnel_figure,
             toys.subspace_figure, toys.first_epoch_figure, toys.wedge_figure,
             pareto.pareto_figure, lambda sweep: noisescale.batch_figure(sweep, 1.0)),
    "noisy": (memorization.noise_figure, memorization.memorization_figure),
    "steered": (steering.steering_figure,),
    "full": (edges.edge_figure, edges.adam_edge_figure, catapult.catapult_figure),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    base, found = tmp_path_factory.mktemp("book"), {}
    for name, sow in {"rich": rich, "noisy": noisy, "steered": steered, "full": full}.items():
        sweep = load(sow(base / name))
        figures = [draw(sweep) for draw in FIGURES[name]]
        found[name] = {figure.name: figure for figure in figures}
    return found


# sweep -> figure -> what its caption must say of the planted rows
SAID = {
    "rich": {
        "break-even": "peak of λ_max of K goes from 6.4 to 0.40",  # 0.01/(η/S)
        "stochastic-edge": "η × batch sharpness lies between 1.50 and 1.50",
        "noise-scale": "B_simple goes from 11 to 90 examples",
        "fisher": "from 640 at η/S = 0.00156 to 40.0 at 0.025, reached at epoch 2",
        "sharpest": "At η/S = 0.00156 the lowest of the points along e_1 lies at −1 steps",
        "one-direction": "changes the loss by 0, least at γ = 0.5 (−0.00025)",
        "eigenvalues": "λ_1 ends 3.0 times as large as λ_3",
        "density": "the spectrum reaches up to",
        "stiffness": "go from 0.80 to 0.40, between classes from −0.02 to −0.02; at the end those "
                     "within a class fall with the inputs' distance, by 0.40 per unit",
        "interpolation": "rises by 0.062 above",  # (1/4)² at the middle
        "connector": "on the straight path is 0.50, on the bent one 0.020",
        "tunnels": "rank correlation with η/S over 12 runs: 1.0",
        "subspace": "90 % of the run's own is reached at d = 100, 2 % of its parameters",
        "first-epoch": "12 for no noise",
        "wedge": "from dimension 6 (theory 6) on",
        "batches": "From S = 8 to 32, 4 times the batch",
        "pareto": "on the front",
    },
    "noisy": {
        "noise": "As label noise goes from 0 to 1, the critical sample ratio goes from 0 to 1.0 "
                 "and test accuracy goes from 1.0 to 0",
        "memorization": "At label noise 0.5 test accuracy is best",
    },
    "steered": {
        "steering": "With large η first, then small λ_max ends at 10.0 if switched at epoch 1 and "
                    "at 40.0 if at 4",
    },
    "full": {
        "edge": "η·λ_max of 4 runs is 1.00 to 1.50 in the mean by η",  # without Adam's
        "adam-edge": "η·λ_max(P⁻¹H) of 2 runs is 37.00 in the mean by η; Adam with a frozen "
                     "preconditioner is unstable above 38",
        "catapult": "Of 2 learning rates, 1 has η·λ₀ above 2: there the loss peaks at 4.0 "
                    "times that of the start, and η·λ_max ends at 1.5",
    },
}


@pytest.mark.parametrize(("sweep", "name"), [(s, n) for s, names in SAID.items() for n in names])
def test_a_figure_says_the_planted_numbers(drawn, sweep, name):
    assert SAID[sweep][name] in drawn[sweep][name].caption


def test_a_panel_comes_with_its_data_and_its_own_legend(drawn):
    for figure in drawn["rich"].values():
        for panel in figure.panels:
            data = pd.read_csv(io.BytesIO(panel.csv))
            assert len(data), panel.name
            assert panel.pdf.startswith(b"%PDF")
            assert b"own-legend" in panel.svg  # a paper has no page around it
            assert "own-legend" not in panel.inline  # the page has one legend for all panels
            ElementTree.fromstring(panel.inline)  # noqa: S314 - well formed without the legend
    names = [p.name for f in drawn["rich"].values() for p in f.panels]
    assert len(names) == len(set(names))  # they are file names


def test_every_batch_size_is_drawn_at_the_edge_of_stochastic_stability(drawn):
    data = pd.read_csv(io.BytesIO(drawn["rich"]["stochastic-edge"].panels[0].csv))
    cells = {(s, lr) for s, lr in zip(data["batch_size"], data["run_lr"], strict=True)}
    assert cells == {(s, lr) for s in (8, 16, 32) for lr in (0.05, 0.2)}


def test_there_is_no_catapult_below_its_threshold(tmp_path):
    rows = load(full(tmp_path))
    for few in (rows.snapshots["run_lr"] < 0.2, rows.snapshots["batch_size"] < 10):
        assert catapult.catapult_figure(replace(rows, snapshots=rows.snapshots[few])) is None


def test_the_data_beside_a_figure_are_what_it_shows(drawn):
    panel = next(p for p in drawn["noisy"]["noise"].panels if p.name == "noise-critical")
    data = pd.read_csv(io.BytesIO(panel.csv))
    np.testing.assert_allclose(data["value"], data["fraction"], atol=1e-12)


def test_what_was_not_measured_is_not_drawn(tmp_path, monkeypatch):
    folder = write(tmp_path, RICH.but(lr=(0.1,), batch_size=(8,), seeds=1))
    assert not any(draw(load(folder)) for name in FIGURES for draw in FIGURES[name])
    monkeypatch.setattr("analysis.study.judge_all", lambda *_: ())
    # one cell: its values at the end are all that there is to show
    assert [f.name for s in sections(study(folder)) for f in s.figures] == ["collapse"]


@pytest.mark.parametrize(("first", "second", "on"), [
    ([1, 2, 3], [3, 2, 1], [1, 1, 1]),  # none beats another
    ([1, 2, 3], [1, 2, 3], [0, 0, 1]),  # one beats all
    ([2, 2, 1], [1, 1, 1], [1, 1, 0]),  # twins stand together
    ([2, 2], [1, 3], [0, 1]),  # equal in one, better in the other
    ([], [], []),
])
def test_the_front_is_who_no_other_beats(first, second, on):
    assert front(np.array(first, float), np.array(second, float)).tolist() == [bool(b) for b in on]


def test_thinning_keeps_order_and_spread():
    assert spaced(range(10), 3) == [0, 4, 9]
    assert spaced([1, 2], 3) == [1, 2]
    frame = pd.DataFrame({"x": range(10_000)})
    assert len(thinned(frame, 3000)) <= 3000
    assert thinned(frame, 3000)["x"].is_monotonic_increasing
