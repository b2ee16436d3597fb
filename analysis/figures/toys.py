"""Subspaces, first-epoch errors and the toy of wedges."""

import pandas as pd

from analysis.figures import theme
from analysis.figures.cells import spaced
from analysis.figures.chart import Axis, Look, panel
from analysis.figures.probes import probe_curves
from analysis.figures.theme import DASHES, FAINT, INK, KINDS, Figure, Key
from analysis.frames import Sweep
from analysis.labels import capital, count, listed, number, significant

_SUBSPACE = (("subspace_train_loss", "loss", "training loss", True),
             ("subspace_test_accuracy", "accuracy", "test accuracy", False))
_NEAR = 0.9


def subspace_figure(sweep: Sweep) -> Figure | None:
    """Loss and accuracy after training in random subspaces against their dimension. None without
    such probes."""
    panels, keys, found = [], (), {}
    for quantity, name, tex, log in _SUBSPACE:
        rows = probe_curves(sweep, "subspace", quantity)
        if rows.empty:
            continue
        shown = spaced(sorted(rows["words"].unique()), 5)
        rows = rows[rows["words"].isin(shown)]
        frame = rows.assign(kind=rows["series"].where(rows["series"] == "run", "draw"))
        frame = frame.groupby(["words", "kind", "x"])["value"].agg(
            value="mean", low="min", high="max", draws="size").reset_index()
        found[name] = frame
        drawn = frame[frame["kind"] == "draw"]
        if drawn.empty:
            continue
        look = Look("words", dict(zip(shown, KINDS, strict=False)), str)
        keys = (*look.keys, Key("all parameters", INK, dash=DASHES[2]))
        whole = frame[frame["kind"] == "run"]

        def more(axes: object, whole: pd.DataFrame = whole, look: Look = look) -> None:
            for _, row in whole.iterrows():
                axes.axhline(row["value"], color=look.tones[row["words"]].light, linewidth=0.9,
                             linestyle=theme.dashed(DASHES[2]))

        ends = frame[["value", "low", "high"]]
        limits = theme.padded(ends[ends > 0].stack().tolist() or [1.0]) if log else None
        panels.append(panel(f"subspace-{name}", f"{tex} against the dimension of the subspace",
                            drawn, Axis("x", "dimension $d$", log=True),
                            Axis("value", tex, log=log, limits=limits), look, keys=keys,
                            more=more))
    if not panels:
        return None
    note = ("Training in θ₀ + Mz, M random and orthonormal (Li et al. 2018): means over draws of M,"
            " the bands their range; dashed, the run itself. Steps are fixed, so losses are upper "
            "bounds.")
    return Figure("subspace", "Training in random subspaces", _reached(found), tuple(panels), keys,
                  note)


def _reached(found: dict[str, pd.DataFrame]) -> str:
    frame = found.get("accuracy", found.get("loss"))
    name = "test accuracy" if "accuracy" in found else "training loss"
    first = frame[frame["words"] == frame["words"].iloc[0]]
    drawn, whole = (first[first["kind"] == k].sort_values("x") for k in ("draw", "run"))
    if drawn.empty:
        return "No dimension was trained in."
    ends = [f"{significant(drawn['value'].iloc[i])} at d = {number(drawn['x'].iloc[i])}"
            for i in (0, -1)]
    said = f"{name} goes from {listed(ends).replace(' and ', ' to ')}"
    if name == "test accuracy" and len(whole):
        near = drawn[drawn["value"] >= _NEAR * whole["value"].iloc[0]]
        size = whole["x"].iloc[0]
        if len(near):
            least = near["x"].iloc[0]
            said += (f"; {100 * _NEAR:.0f} % of the run's own is reached at d = {number(least)}, "
                     f"{number(100 * least / size, 2)} % of its parameters")
    return capital(f"{said}.")


def first_epoch_figure(sweep: Sweep) -> Figure | None:
    """How often each example is wrong after one epoch, sorted, against its Binomial null. None
    without such probes."""
    rows = probe_curves(sweep, "first_epoch", "first_epoch_error")
    null = probe_curves(sweep, "first_epoch", "first_epoch_null")
    if rows.empty:
        return None
    words = _kind(rows)
    first = rows.assign(words=words).groupby("words")["probe"].min()
    shown = spaced(list(first.index), 3)
    dispersion = probe_curves(sweep, "first_epoch", "first_epoch_dispersion")
    panels, said = [], []
    keys = (Key("share of seeds wrong", KINDS[0], dash=""),
            Key("Binomial: median, 5 and 95 %", INK, dash=DASHES[2]))
    for place, kind in enumerate(shown):
        frame = rows.loc[rows["probe"] == first[kind], ["probe", "x", "value"]].assign(kind=kind)
        own = null[null["probe"] == first[kind]]
        found = dispersion.loc[dispersion["probe"] == first[kind], "value"]
        if len(found):
            said.append(f"{significant(found.iloc[0])} for {kind}")

        def more(axes: object, own: pd.DataFrame = own) -> None:
            for series, line in own.groupby("series"):
                axes.plot(line["x"], line["value"], color=INK.light,
                          linewidth=1.1 if series == "q50" else 0.7,
                          linestyle=theme.dashed(DASHES[2]))

        look = Look("kind", {kind: KINDS[0]}, str)
        panels.append(panel(f"first-epoch-{place}", f"First-epoch errors: {kind}", frame,
                            Axis("x", "examples, sorted (share)", limits=(0, 1)),
                            Axis("value", "share of seeds wrong", limits=(-0.02, 1.02)), look,
                            keys=keys, panels=len(shown), heading=kind, more=more))
    caption = (f"Over-dispersion of first-epoch errors (1 if all examples were alike): "
               f"{listed(said)}." if said else "First-epoch errors of each example, sorted.")
    note = ("Each example's share of seeds that get it wrong after one epoch (Arpit et al. 2017, "
            "3.1), against draws in which all examples are equally hard.")
    return Figure("first-epoch", "Easy and hard examples after one epoch", caption, tuple(panels),
                  keys, note)


def _kind(rows: pd.DataFrame) -> list[str]:
    words = []
    for label, inputs in zip(rows["label_noise"], rows["input_noise"], strict=True):
        parts = [f"{n} noise {number(float(p))}" for n, p in (("label", label), ("input", inputs))
                 if p]
        words.append(", ".join(parts) or "no noise")
    return words


def wedge_figure(sweep: Sweep) -> Figure | None:
    """The toy of wedges: the least loss on a cut against its dimension. None without such a probe.
    """
    rows = probe_curves(sweep, "wedge", "wedge_loss")
    rows = rows[rows["series"].str.match(r"(least|found)_\d+$")]
    if rows.empty:
        return None
    rows = rows[rows["probe"] == min(rows["probe"])]
    parts = rows["series"].str.split("_")
    frame = rows[["probe", "x", "value"]].assign(
        how=parts.str[0], wedge=parts.str[1].astype(int)).reset_index(drop=True)
    wedges = sorted(frame["wedge"].unique())
    tones = dict(zip(wedges, theme.ramp(len(wedges)), strict=True))
    words = {"least": "least possible", "found": "found by descent"}
    look = Look("wedge", tones, lambda n: f"n = {n}", dash="how", dashes=list(words),
                dash_words=lambda h: words[str(h)])
    theory = probe_curves(sweep, "wedge", "wedge_threshold")
    theory = theory[(theory["probe"] == frame["probe"].iloc[0])]
    exact = theory[theory["series"] == "theory"].set_index("x")["value"]
    found = theory[theory["series"] == "found"].set_index("x")["value"]

    def more(axes: object) -> None:
        for n, d in exact.items():
            axes.axvline(d, color=FAINT.light if n not in tones else tones[n].light,
                         linewidth=0.8, linestyle=theme.dashed(DASHES[5]))

    said = [f"{number(found[n])} (theory {number(exact[n])})" for n in found.index if n in exact]
    caption = (f"Descent reaches zero loss from dimension {listed(said)} on, for "
               f"{listed([f'n = {n}' for n in wedges])}." if said else
               f"The least loss on cuts, for {count(len(wedges), 'wedge')}.")
    drawn = panel("wedge", "Wedges: loss on a random cut against its dimension", frame,
                  Axis("x", "dimension of the cut $d$"), Axis("value", "loss / loss at the start"),
                  look, more=more)
    note = "Means over draws; dotted, where a cut first meets an n-wedge: d = D − n."
    return Figure("wedge", "The toy of wedges", caption, (drawn,), look.keys, note)
