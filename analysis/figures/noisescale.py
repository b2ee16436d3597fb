"""The noise along training: noise scale, Fisher trace, and the steps that batches save."""

from analysis.figures import theme
from analysis.figures.cells import bands, path, some_cells
from analysis.figures.chart import Axis, Look, by_ratio, panel
from analysis.figures.theme import DASHES, INK, Figure, Key
from analysis.frames import Sweep
from analysis.labels import EPOCH, label, number, significant
from analysis.points import At, points

_SCALES = ("noise_scale_simple", "noise_scale")
_BY = ["ratio_group", "batch_size"]


def noise_scale_figure(sweep: Sweep) -> Figure | None:
    """Noise scales against epoch, one tone a ratio. None where they were not measured."""
    panels, said, keys = [], [], ()
    for quantity in _SCALES:
        rows = path(sweep, quantity)
        if rows.empty:
            continue
        frame = bands(some_cells(rows), quantity, _BY)
        batches = sorted(frame["batch_size"].unique())
        look = by_ratio(frame, dash="batch_size", dashes=batches, dash_words=lambda s: f"S = {s}")
        keys = keys or look.keys
        ends = frame.groupby(_BY)["middle"].agg(["first", "last"]).median()
        said.append(
            f"{label(quantity).plain} goes from {significant(ends['first'])} to "
            f"{significant(ends['last'])} examples in the median cell"
        )
        panels.append(panel(f"noise-scale-{('simple', 'full')[_SCALES.index(quantity)]}",
                            f"{label(quantity).plain} against epoch", frame,
                            Axis("epoch", EPOCH.tex, log=True),
                            Axis("middle", label(quantity).tex, log=True), look))
    if not panels:
        return None
    note = (
        "The batch size at which the gradient's noise equals the gradient (McCandlish et al. 2018):"
        " B_simple = Tr Σ/|G|², B_noise = Tr(HΣ)/GᵀHG. Geometric means over seeds, the bands their "
        "range; snapshots with a non-positive estimate are left out."
    )
    return Figure("noise-scale", "Noise scale along training", f"{' and '.join(said)}.",
                  tuple(panels), keys, note)


def fisher_figure(sweep: Sweep) -> Figure | None:
    """The trace of the Fisher information against epoch. None where it was not measured."""
    rows = path(sweep, "fisher_trace")
    if rows.empty:
        return None
    frame = bands(some_cells(rows, batches=1), "fisher_trace", _BY)
    look = by_ratio(frame)
    peaks = frame.loc[frame.groupby(_BY)["middle"].idxmax()]
    ratios = sorted(peaks["ratio_group"].unique())
    tops = peaks.groupby("ratio_group")["middle"].mean()
    span = (f"goes from {significant(tops[ratios[0]], 3)} at η/S = {number(ratios[0])} to "
            f"{significant(tops[ratios[-1]], 3)} at {number(ratios[-1])}"
            if len(ratios) > 1 else f"is {significant(tops[ratios[0]], 3)}")
    low, high = (number(of(peaks["epoch"]), 2) for of in (min, max))
    when = f"at epoch {low}" if low == high else f"between epochs {low} and {high}"
    caption = f"The peak of Tr F {span}, reached {when}."
    note = ("Labels drawn from the model. Step 0 is left out. Geometric means over seeds, the "
            "bands their range.")
    drawn = panel("fisher", "Tr F against epoch", frame, Axis("epoch", EPOCH.tex, log=True),
                  Axis("middle", label("fisher_trace").tex, log=True), look)
    return Figure("fisher", "Fisher information along training", caption, (drawn,), look.keys,
                  note)


def batch_figure(sweep: Sweep, level: float | None) -> Figure | None:
    """Steps to a training loss against batch size, at each η and at the best. None with fewer than
    three batch sizes that reach it."""
    if level is None or sweep.finished.empty:
        return None
    frame = points(sweep, "train_loss", At("loss", level)).frame
    frame = frame[frame["setting"] == frame["setting"].mode().iloc[0]] if len(frame) else frame
    frame = frame.assign(steps=frame["epoch"] * (frame["train_size"] // frame["batch_size"]))
    frame = frame[frame["steps"] > 0]
    if frame["batch_size"].nunique() < 3:
        return None
    cells = frame.groupby(["lr", "batch_size"])["steps"].agg(
        steps="median", low="min", high="max", seeds="size").reset_index()
    rates = sorted(cells["lr"].unique())
    tones = dict(zip(rates, theme.ramp(len(rates)), strict=True))
    look = Look("lr", tones, lambda lr: f"η = {number(lr)}", points=True)
    best = cells.loc[cells.groupby("batch_size")["steps"].idxmin()].sort_values("batch_size")
    first, last = best.iloc[0], best.iloc[-1]
    saved = first["steps"] / last["steps"]
    factor = last["batch_size"] / first["batch_size"]
    caption = (
        f"From S = {first['batch_size']:.0f} to {last['batch_size']:.0f}, {number(factor)} times "
        f"the batch, the best η needs {significant(saved)} times fewer steps to train loss "
        f"{number(level)}."
    )
    keys = (*(look.keys if len(rates) <= 8 else (look.keys[0], look.keys[-1])),
            Key("best η", INK, dash=""), Key("steps ∝ 1/S", INK, dash=DASHES[2]))

    def more(axes: object) -> None:
        axes.plot(best["batch_size"], best["steps"], color=INK.light, linewidth=1.2)
        ideal = first["steps"] * first["batch_size"] / best["batch_size"]
        axes.plot(best["batch_size"], ideal, color=INK.light, linewidth=0.9,
                  linestyle=theme.dashed(DASHES[2]))

    drawn = panel("batches", "Steps to a training loss against batch size", cells,
                  Axis("batch_size", "batch size $S$", log=True),
                  Axis("steps", f"steps to train loss {number(level)}", log=True), look, keys=keys,
                  more=more)
    note = "A point is a cell: the median over its seeds, the bar their range."
    return Figure("batches", "Steps to target against batch size", caption, (drawn,), keys, note)
